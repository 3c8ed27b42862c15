// SPDX-License-Identifier: Apache-2.0
#include "pager/page_filler.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "base/check.h"
#include "pager/sizes.h"
#include "pager/zero_runs.h"

namespace userfault::pager {
namespace {

// What the thread that runs brought along, while it is inside of a store's read(). The answer to any request may
// come on it there.
thread_local const FaultContext* asking = nullptr;

// Whether the pages are the one that a thread wants to write to: such a page is installed on its own.
bool is_written(const Region& region, const FillOrder& order, PageSpan span) {
  return region.writable() && order.write && order.demands_one_of(span);
}

}  // namespace

struct PageFiller::StoreRead {
  PageFiller* filler = nullptr;
  RegionUse region;
  FillOrder order;
  int attempt = 0;
  std::byte* staging = nullptr;
  StoreRequest request;
  bool asked = false;          // and not yet answered
  bool* would_wait = nullptr;  // where to note that the store refused to wait; on the asker's stack
};

PageFiller::PageFiller(const PagerOptions& options, ErrorLog& errors, Budget& budget, Evictor& evictor, unsigned reads)
    : attempts_(std::max(1, options.store_attempts)),
      pause_(options.store_pause),
      errors_(errors),
      budget_(budget),
      evictor_(evictor),
      memory_(base::OwnedMapping::anonymous(kStagingBytes * reads)),
      zeroes_(base::OwnedMapping::anonymous(kStagingBytes)) {
  if (!memory_.valid()) return;
  ::madvise(memory_.data(), memory_.length(), MADV_HUGEPAGE);
  for (unsigned i = 0; i < reads; ++i) {
    auto read = std::make_unique<StoreRead>();
    read->filler = this;
    read->staging = memory_.data() + i * kStagingBytes;
    free_.push_back(read.get());
    all_.push_back(std::move(read));
  }
}

// After the last StoreRead has come back no store calls into the filler any more.
PageFiller::~PageFiller() {
  const base::MutexLock lock(mutex_);
  while (free_.size() != all_.size()) returned_.wait(mutex_);
}

PageFiller::StoreRead* PageFiller::try_take_read() {
  const base::MutexLock lock(mutex_);
  if (free_.empty()) return nullptr;
  StoreRead* const read = free_.back();
  free_.pop_back();
  return read;
}

PageFiller::StoreRead* PageFiller::take_read(const FaultContext& context) {
  if (StoreRead* const read = try_take_read(); read != nullptr) return read;
  context.before_waiting();
  const base::MutexLock lock(mutex_);
  while (free_.empty()) returned_.wait(mutex_);
  StoreRead* const read = free_.back();
  free_.pop_back();
  return read;
}

void PageFiller::return_read(StoreRead* read) {
  USERFAULT_CHECK(!read->asked, "a buffer is returned that a store may still write to");
  if (read->order.ahead()) read->region->fetch_ends();
  read->region = {};
  const base::MutexLock lock(mutex_);
  USERFAULT_CHECK(free_.size() < all_.size(), "a buffer of the filler is returned twice");
  free_.push_back(read);
  // Under the lock: the destructor may be waiting, and then the filler is gone as soon as it is free.
  returned_.notify_all();
}

void PageFiller::fill(const RegionUse& region, const FillOrder& order, const FaultContext& context) {
  USERFAULT_CHECK(order.span.count != 0, "no page at all is to be filled");
  USERFAULT_CHECK(order.demanded == FillOrder::kNone || order.demands_one_of(order.span),
                  "the page that a thread waits for is not among those to be filled");
  const std::size_t most = std::max<std::size_t>(1, kFillBytes / region->page_size());
  PageSpan left = order.span;
  while (left.count != 0) {
    if (const std::size_t shown = order.may_map ? show_file(*region, order, left) : 0; shown != 0) {
      left = {left.first + shown, left.count - shown};
      continue;
    }
    // What was claimed to be mapped at once is too much to be copied for one fault.
    if (order.cause == Cause::kFault && left.count > most) {
      return_absent_and_wake(*region, {left.first + most, left.count - most});
      left.count = most;
    }
    const PageSpan piece = fill_piece(region, order, {left.first, std::min(left.count, most)}, context);
    left = {piece.end(), left.end() - piece.end()};
  }
}

// Fills the piece, or a part from its front; which part it was. It is filled when the call returns, or will be
// when the store answers.
PageSpan PageFiller::fill_piece(const RegionUse& region, const FillOrder& order, PageSpan piece,
                                const FaultContext& context) {
  const std::size_t page = region->page_size();
  const std::uint64_t offset = region->offset_of(piece.first);
  const std::size_t wanted = region->stored_bytes(piece);
  const StoreExtent extent = region->store().extent(offset, wanted);
  if (extent.length < wanted) piece.count = std::max<std::size_t>(1, static_cast<std::size_t>(extent.length) / page);
  const std::size_t bytes = region->stored_bytes(piece);
  const std::byte* view = nullptr;
  if (extent.zero && extent.length >= bytes && (region->can_zero() || region->writable())) {
    install_zeroes(*region, order, piece);
  } else if (bytes == piece.count * page && (view = region->store().view(offset, bytes)) != nullptr) {
    install_bytes(*region, order, piece, view);
  } else {
    StoreRead* const read = take_read(context);
    read->region = region.share();
    read->order = order;
    read->order.span = piece;
    read->attempt = 1;
    if (order.ahead()) region->fetch_begins();
    ask_store(read, context);
  }
  return piece;
}

// How many pages from the front of the span show the store's file from now on. They take nothing from
// the budget: the page cache has them, and takes them back when it has to.
std::size_t PageFiller::show_file(Region& region, const FillOrder& order, PageSpan span) {
  const PageSpan part{span.first, region.mappable(span)};
  const std::uint64_t bytes = part.count * region.page_size();
  USERFAULT_CHECK(part.count <= span.count, "more pages are to be shown than were claimed");
  if (bytes < kLeastMapped) return 0;
  {
    Reservation reservation(region.counters(), budget_,
                            {.cause = order.cause, .pages = part.count, .bytes = bytes, .mapped_pages = part.count});
    if (!region.map_file(part)) return 0;
    reservation.commit();
  }
  budget_.give_back(bytes);
  if (order.demands_one_of(part)) region.counters().service.add(now_ns() - order.since_ns);
  if (order.ahead()) populate_ahead(region, part);
  return part.count;
}

// Mapped pages, piece by piece, with the next ones on their way from the disk meanwhile.
void PageFiller::populate_ahead(Region& region, PageSpan span) {
  const std::size_t step = std::max<std::size_t>(1, kStagingBytes / region.page_size());
  constexpr std::size_t kDepth = 4;
  const auto piece_at = [&](std::size_t first) { return PageSpan{first, std::min(step, span.end() - first)}; };
  std::size_t fetched = span.first;
  for (std::size_t at = span.first; at < span.end() && !region.closing(); at += step) {
    for (; fetched < span.end() && fetched < at + kDepth * step; fetched += step) region.fetch_file(piece_at(fetched));
    if (region.populate_file(piece_at(at))) continue;
    region.counters().store_errors.add(1);
    errors_.add({region.range_of(piece_at(at)).start, region.offset_of(at), EIO, false});
  }
}

void PageFiller::ask_store(StoreRead* read, const FaultContext& context) {
  bool would_wait = false;
  const PageSpan span = read->order.span;
  read->would_wait = &would_wait;
  read->request = {.offset = read->region->offset_of(span.first),
                   .data = read->staging,
                   .length = read->region->stored_bytes(span),
                   .may_wait = context.may_wait(),
                   .done = &PageFiller::on_answer,
                   .context = read};
  USERFAULT_CHECK(!read->asked, "a buffer is handed to a store that another one writes to");
  USERFAULT_CHECK(read->request.length <= kStagingBytes, "a store is asked for more than the buffer holds");
  read->asked = true;
  Store& store = read->region->store();
  const FaultContext* const before = std::exchange(asking, &context);
  store.read({&read->request, 1});
  // Only a refusal to wait leaves the read here, and it comes before Store::read() returns.
  if (would_wait) {
    context.before_waiting();
    read->request.may_wait = true;
    store.read({&read->request, 1});
  }
  asking = before;
}

void PageFiller::on_answer(StoreRequest& request) {
  StoreRead* const read = static_cast<StoreRead*>(request.context);
  USERFAULT_CHECK(read->asked, "a store answers a read twice");
  if (request.code == EAGAIN && !request.may_wait) {
    *read->would_wait = true;
    return;
  }
  read->asked = false;
  read->filler->use_answer(read);
}

void PageFiller::use_answer(StoreRead* read) {
  Region& region = *read->region;
  // Nothing is said of the rest of a buffer that was another page's before.
  if (read->request.code == 0 && read->request.bytes < read->request.length) read->request.code = EIO;
  if (read->request.code != 0) {
    salvage(read);
    return;
  }
  const std::size_t bytes = read->order.span.count * region.page_size();
  region.counters().bytes_read.add(read->request.length);
  std::memset(read->staging + read->request.length, 0, bytes - read->request.length);
  install_bytes(region, read->order, read->order.span, read->staging);
  return_read(read);
}

// The store failed. What it did give is installed, what no thread waits for is returned to be filled
// when one does, and the page that a thread waits for is tried again on its own.
void PageFiller::salvage(StoreRead* read) {
  Region& region = *read->region;
  const PageSpan span = read->order.span;
  region.counters().store_errors.add(1);
  const std::size_t good = std::min(span.count, read->request.bytes / region.page_size());
  if (good != 0) {
    region.counters().bytes_read.add(good * region.page_size());
    install_bytes(region, read->order, {span.first, good}, read->staging);
  }
  bool demanded_left = false;
  for (std::size_t page = span.first + good; page < span.end(); ++page) {
    if (page == read->order.demanded) {
      demanded_left = true;
    } else if (return_absent(region, page)) {
      region.wake({page, 1});
    }
  }
  if (demanded_left) {
    retry_demanded(read);
  } else {
    return_read(read);
  }
}

void PageFiller::retry_demanded(StoreRead* read) {
  const std::size_t page = read->order.demanded;
  if (read->attempt >= attempts_) {
    poison(*read->region, page, read->request.code);
    return_read(read);
    return;
  }
  if (asking != nullptr) asking->before_waiting();
  std::this_thread::sleep_for(pause_ * (1 << std::min(read->attempt - 1, 10)));
  ++read->attempt;
  read->order.span = {page, 1};
  ask_store(read, FaultContext());
}

void PageFiller::install_bytes(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes) {
  while (span.count != 0) {
    const Alike run = region.can_zero() ? next_alike(bytes, span.count, region.page_size()) : Alike{span.count, false};
    const PageSpan part{span.first, run.pages};
    if (run.zero) {
      install_zeroes(region, order, part);
    } else {
      copy_bytes(region, order, part, bytes);
    }
    bytes += run.pages * region.page_size();
    span = {part.end(), span.count - run.pages};
  }
}

// The page that a thread wants to write to is not protected, the others of a writable region are.
void PageFiller::copy_bytes(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes) {
  const bool zeroes = bytes == zeroes_.data();
  while (span.count != 0) {
    PageSpan part = span;
    if (is_written(region, order, span)) part.count = std::max<std::size_t>(1, order.demanded - span.first);
    const bool protect = region.writable() && !is_written(region, order, part);
    reserve_and_install(region, order, part, zeroes, [&] { return region.install(part, bytes, protect); });
    if (!zeroes) bytes += part.count * region.page_size();
    span = {part.end(), span.count - part.count};
  }
}

void PageFiller::install_zeroes(Region& region, const FillOrder& order, PageSpan span) {
  if (region.can_zero()) {
    reserve_and_install(region, order, span, true, [&] { return region.install_zeroes(span); });
  } else {
    copy_bytes(region, order, span, zeroes_.data());
  }
}

template <typename Operation>
void PageFiller::reserve_and_install(Region& region, const FillOrder& order, PageSpan span, bool zeroes,
                                     Operation operation) {
  int code = 0;
  {
    const bool dirty = is_written(region, order, span);
    Reservation reservation(region.counters(), budget_,
                            {.cause = order.cause,
                             .pages = span.count,
                             .bytes = region.stored_bytes(span),
                             .zero_pages = zeroes ? span.count : 0,
                             .resident_bytes = span.count * region.page_size(),
                             .dirty_bytes = dirty ? region.page_size() : 0});
    if (const auto done = operation(); done) {
      reservation.commit();
    } else {
      code = done.error().code;
      USERFAULT_CHECK(code != 0, "an engine refuses without a reason");
    }
  }
  if (code == 0) {
    publish(region, order, span);
  } else {
    engine_refused(region, order, span, code);
  }
}

void PageFiller::publish(Region& region, const FillOrder& order, PageSpan span) {
  if (order.demands_one_of(span)) region.counters().service.add(now_ns() - order.since_ns);
  const bool dirty = is_written(region, order, span);
  USERFAULT_CHECK(!dirty || span.count == 1, "pages that no thread writes to become dirty");
  bool wanted = false;
  for (std::size_t page = span.first; page < span.end(); ++page)
    wanted |= region.states().finish(page, dirty ? PageState::kDirty : PageState::kResident);
  // The filling operation woke every thread that waited for these pages; but the program may have dropped
  // one again before it was marked resident, and a thread that came then waits for this wake.
  if (wanted) region.wake(span);
  evictor_.add(region, span);
}

// The engine refused. ESRCH: the process is ending. EAGAIN: a layout change does not end. Both leave
// the pages to the thread that touches them next; anything else would come back for ever.
void PageFiller::engine_refused(Region& region, const FillOrder& order, PageSpan span, int code) {
  for (std::size_t page = span.first; page < span.end(); ++page) {
    if (page == order.demanded && code != ESRCH && code != EAGAIN) {
      poison(region, page, code);
      continue;
    }
    if (page == order.demanded && order.in_place) {
      leave_as_it_was(region, page, order.write);
      continue;
    }
    const bool wanted = return_absent(region, page);
    if (wanted || page == order.demanded) region.wake({page, 1});
  }
}

// A page that could not be filled in place.
void PageFiller::leave_as_it_was(Region& region, std::size_t page, bool dirty) {
  add_resident(region.counters(), budget_, region.page_size());
  if (dirty) add_dirty(region.counters(), budget_, region.page_size());
  (void)region.states().finish(page, dirty ? PageState::kDirty : PageState::kResident);
  region.wake({page, 1});
}

// A page that was not filled, with its memory.
bool PageFiller::return_absent(Region& region, std::size_t page) {
  const bool wanted = region.states().finish(page, PageState::kAbsent);
  budget_.give_back(region.page_size());
  return wanted;
}

void PageFiller::return_absent_and_wake(Region& region, PageSpan span) {
  for (std::size_t page = span.first; page < span.end(); ++page)
    if (return_absent(region, page)) region.wake({page, 1});
}

// Marked after it is done, so that no thread that sees the state can still find the page missing.
void PageFiller::poison(Region& region, std::size_t page, int code) {
  USERFAULT_CHECK(code != 0, "a page is poisoned without a reason");
  errors_.add({region.range_of({page, 1}).start, region.offset_of(page), code, false});
  region.counters().pages_poisoned.add(1);
  if (region.managed()) (void)region.drop({page, 1});  // parts of it may be there
  region.poison(page);
  if (region.states().finish(page, PageState::kPoisoned)) region.wake({page, 1});
  budget_.give_back(region.page_size());
}

}  // namespace userfault::pager
