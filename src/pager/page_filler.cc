// SPDX-License-Identifier: Apache-2.0
#include "pager/page_filler.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

namespace userfault::pager {
namespace {

// A run of zero pages inside other data is worth an operation of its own from here on.
constexpr std::size_t kShortestZeroRun = 4;

// memcmp of the bytes with themselves, one later: as fast as the C library, and most pages differ in
// the first word.
bool all_zero(const std::byte* bytes, std::size_t length) {
  std::uint64_t first;
  std::memcpy(&first, bytes, sizeof first);
  return first == 0 && std::memcmp(bytes, bytes + sizeof first, length - sizeof first) == 0;
}

struct Alike {
  std::size_t pages;
  bool zero;
};

// The longest run of one kind that `bytes` begins with. Short runs of zero pages count as data.
Alike next_run(const std::byte* bytes, std::size_t pages, std::size_t page_size) {
  const auto zero_at = [&](std::size_t i) { return all_zero(bytes + i * page_size, page_size); };
  std::size_t zeroes = 0;
  while (zeroes < pages && zero_at(zeroes)) ++zeroes;
  if (zeroes >= std::min(kShortestZeroRun, pages)) return {zeroes, true};
  std::size_t tail = 0;
  for (std::size_t i = zeroes; i < pages; ++i) {
    tail = zero_at(i) ? tail + 1 : 0;
    if (tail == kShortestZeroRun) return {i + 1 - tail, false};
  }
  return {pages, false};
}

// Such a page is installed on its own.
bool is_written(const Region& region, const FillOrder& order, PageSpan span) {
  return region.writable() && order.write && order.demanded - span.first < span.count;
}

}  // namespace

struct PageFiller::Fill {
  PageFiller* filler = nullptr;
  RegionUse region;
  FillOrder order;
  int attempt = 0;
  std::byte* staging = nullptr;
  StoreRequest request;
  bool* would_wait = nullptr;  // where to note that the store refused to wait; on the asker's stack
};

PageFiller::PageFiller(const PagerOptions& options, ErrorLog& errors, Budget& budget, Evictor& evictor, unsigned fills)
    : attempts_(std::max(1, options.store_attempts)),
      pause_(options.store_pause),
      errors_(errors),
      budget_(budget),
      evictor_(evictor),
      memory_(base::OwnedMapping::anonymous(kStagingBytes * fills)),
      zeroes_(base::OwnedMapping::anonymous(kStagingBytes)) {
  if (!memory_.valid()) return;
  ::madvise(memory_.data(), memory_.length(), MADV_HUGEPAGE);
  for (unsigned i = 0; i < fills; ++i) {
    auto fill = std::make_unique<Fill>();
    fill->filler = this;
    fill->staging = memory_.data() + i * kStagingBytes;
    free_.push_back(fill.get());
    all_.push_back(std::move(fill));
  }
}

// Every Fill has come back by then, so no store calls us any more.
PageFiller::~PageFiller() {
  std::unique_lock lock(pool_mutex_);
  pool_changed_.wait(lock, [this] { return free_.size() == all_.size(); });
}

PageFiller::Fill* PageFiller::take(const std::function<void()>& before_waiting) {
  std::unique_lock lock(pool_mutex_);
  if (free_.empty() && before_waiting) {
    lock.unlock();
    before_waiting();
    lock.lock();
  }
  pool_changed_.wait(lock, [this] { return !free_.empty(); });
  Fill* const fill = free_.back();
  free_.pop_back();
  return fill;
}

void PageFiller::give(Fill* fill) {
  if (fill->order.cause == Cause::kPrefetch) fill->region->fetch_ends();
  fill->region = {};
  const std::lock_guard lock(pool_mutex_);
  free_.push_back(fill);
  // Under the lock: the destructor may be waiting, and then we are gone as soon as it is free.
  pool_changed_.notify_all();
}

void PageFiller::fill(const RegionUse& region, const FillOrder& order, const std::function<void()>& before_waiting) {
  const std::size_t page = region->page_size();
  const std::size_t most = std::max<std::size_t>(1, kFillBytes / page);
  PageSpan left = order.span;
  while (left.count != 0) {
    if (const std::size_t mapped = order.may_map ? map(*region, order, left) : 0; mapped != 0) {
      left = {left.first + mapped, left.count - mapped};
      continue;
    }
    // What was claimed to be mapped at once is too much to be copied for one fault.
    if (order.cause == Cause::kFault && left.count > most) {
      for (std::size_t at = left.first + most; at < left.end(); ++at)
        if (abandon(*region, at)) region->wake({at, 1});
      left.count = most;
    }
    PageSpan piece{left.first, std::min(left.count, most)};
    const std::size_t bytes = region->stored_bytes(piece);
    const std::uint64_t offset = region->offset_of(piece.first);
    const StoreExtent extent = region->store().extent(offset, bytes);
    if (extent.length < bytes) piece.count = std::max<std::size_t>(1, static_cast<std::size_t>(extent.length) / page);
    const std::size_t piece_bytes = region->stored_bytes(piece);
    const std::byte* view = nullptr;
    if (extent.zero && extent.length >= piece_bytes && (region->can_zero() || region->writable())) {
      install_zeroes(*region, order, piece);
    } else if (piece_bytes == piece.count * page && (view = region->store().view(offset, piece_bytes)) != nullptr) {
      install(*region, order, piece, view);
    } else {
      Fill* const fill = take(before_waiting);
      fill->region = region.share();
      fill->order = order;
      fill->order.span = piece;
      fill->attempt = 1;
      if (order.cause == Cause::kPrefetch) region->fetch_begins();
      read(fill, before_waiting);
    }
    left = {piece.end(), left.end() - piece.end()};
  }
}

// How many pages from the front of the span show the store's file from now on. They take nothing from
// the budget: the page cache has them, and takes them back when it has to.
std::size_t PageFiller::map(Region& region, const FillOrder& order, PageSpan span) {
  const PageSpan part{span.first, region.mappable(span)};
  const std::uint64_t bytes = part.count * region.page_size();
  if (bytes < kLeastMapped) return 0;
  const bool ahead = order.cause == Cause::kPrefetch;
  Counters& counters = region.counters();
  Counter& pages = ahead ? counters.pages_by_prefetch : counters.pages_by_fault;
  Counter& all_bytes = ahead ? counters.bytes_by_prefetch : counters.bytes_by_fault;
  counters.mapped_pages.add(part.count), pages.add(part.count), all_bytes.add(bytes);
  if (!region.map_file(part)) {
    counters.mapped_pages.subtract(part.count), pages.subtract(part.count), all_bytes.subtract(bytes);
    return 0;
  }
  budget_.give(bytes);
  if (order.demanded - part.first < part.count) counters.service.add(now_ns() - order.since_ns);
  if (ahead) bring(region, part);
  return part.count;
}

// Mapped pages, piece by piece, with the next ones on their way from the disk meanwhile.
void PageFiller::bring(Region& region, PageSpan span) {
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

void PageFiller::read(Fill* fill, const std::function<void()>& before_waiting) {
  bool would_wait = false;
  const PageSpan span = fill->order.span;
  fill->would_wait = &would_wait;
  fill->request = {.offset = fill->region->offset_of(span.first),
                   .data = fill->staging,
                   .length = fill->region->stored_bytes(span),
                   .may_wait = !before_waiting,
                   .done = &PageFiller::on_answer,
                   .context = fill};
  Store& store = fill->region->store();
  store.read({&fill->request, 1});
  // Only a refusal to wait leaves the Fill with us, and it comes before read() returns.
  if (!would_wait) return;
  before_waiting();
  fill->request.may_wait = true;
  store.read({&fill->request, 1});
}

void PageFiller::on_answer(StoreRequest& request) {
  Fill* const fill = static_cast<Fill*>(request.context);
  if (request.code == EAGAIN && !request.may_wait) {
    *fill->would_wait = true;
    return;
  }
  fill->filler->complete(fill);
}

void PageFiller::complete(Fill* fill) {
  Region& region = *fill->region;
  // Nothing is said of the rest of a buffer that was another page's before.
  if (fill->request.code == 0 && fill->request.bytes < fill->request.length) fill->request.code = EIO;
  if (fill->request.code != 0) {
    recover(fill);
    return;
  }
  const std::size_t bytes = fill->order.span.count * region.page_size();
  region.counters().bytes_read.add(fill->request.length);
  std::memset(fill->staging + fill->request.length, 0, bytes - fill->request.length);
  install(region, fill->order, fill->order.span, fill->staging);
  give(fill);
}

// The store failed. What it did give is installed, what nobody waits for is given back to be tried
// when somebody does, and the page that a thread waits for is tried again on its own.
void PageFiller::recover(Fill* fill) {
  Region& region = *fill->region;
  const PageSpan span = fill->order.span;
  region.counters().store_errors.add(1);
  const std::size_t good = std::min(span.count, fill->request.bytes / region.page_size());
  if (good != 0) {
    region.counters().bytes_read.add(good * region.page_size());
    install(region, fill->order, {span.first, good}, fill->staging);
  }
  bool demanded_left = false;
  for (std::size_t page = span.first + good; page < span.end(); ++page) {
    if (page == fill->order.demanded) {
      demanded_left = true;
    } else if (abandon(region, page)) {
      region.wake({page, 1});
    }
  }
  if (demanded_left) {
    retry_demanded(fill);
  } else {
    give(fill);
  }
}

void PageFiller::retry_demanded(Fill* fill) {
  const std::size_t page = fill->order.demanded;
  if (fill->attempt >= attempts_) {
    poison(*fill->region, page, fill->request.code);
    give(fill);
    return;
  }
  std::this_thread::sleep_for(pause_ * (1 << std::min(fill->attempt - 1, 10)));
  ++fill->attempt;
  fill->order.span = {page, 1};
  read(fill, {});
}

void PageFiller::install(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes) {
  while (span.count != 0) {
    const Alike run = region.can_zero() ? next_run(bytes, span.count, region.page_size()) : Alike{span.count, false};
    const PageSpan part{span.first, run.pages};
    if (run.zero) {
      install_zeroes(region, order, part);
    } else {
      install_data(region, order, part, bytes);
    }
    bytes += run.pages * region.page_size();
    span = {part.end(), span.count - run.pages};
  }
}

// The page that a thread wants to write to is not protected, the others of a writable region are.
void PageFiller::install_data(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes) {
  while (span.count != 0) {
    PageSpan part = span;
    const std::size_t demanded = order.demanded - span.first;
    const bool split = region.writable() && order.write && demanded < span.count;
    if (split) part.count = demanded == 0 ? 1 : demanded;
    const bool protect = region.writable() && !(split && demanded == 0);
    count(region, order, part, bytes == zeroes_.data(), false);
    installed(region, order, part, region.install(part, bytes, protect), bytes == zeroes_.data());
    if (bytes != zeroes_.data()) bytes += part.count * region.page_size();
    span = {part.end(), span.count - part.count};
  }
}

void PageFiller::install_zeroes(Region& region, const FillOrder& order, PageSpan span) {
  if (!region.can_zero()) {
    install_data(region, order, span, zeroes_.data());
    return;
  }
  count(region, order, span, true, false);
  installed(region, order, span, region.install_zeroes(span), true);
}

// Before the pages are filled, and taken back when that fails: so whoever reads a page finds it
// counted.
void PageFiller::count(Region& region, const FillOrder& order, PageSpan span, bool zeroes, bool back) {
  const auto add = [back](Counter& counter, std::uint64_t n) { back ? counter.subtract(n) : counter.add(n); };
  const bool by_fault = order.cause == Cause::kFault;
  Counters& counters = region.counters();
  add(by_fault ? counters.pages_by_fault : counters.pages_by_prefetch, span.count);
  add(by_fault ? counters.bytes_by_fault : counters.bytes_by_prefetch, region.stored_bytes(span));
  const std::uint64_t bytes = span.count * region.page_size();
  add(counters.resident_bytes, bytes);
  back ? budget_.subtract_resident(bytes) : budget_.add_resident(bytes);
  if (zeroes) add(counters.zero_pages, span.count);
  if (!is_written(region, order, span)) return;
  add(counters.dirty_bytes, region.page_size());
  back ? budget_.subtract_dirty(region.page_size()) : budget_.add_dirty(region.page_size());
}

void PageFiller::installed(Region& region, const FillOrder& order, PageSpan span, const Result<void>& result,
                           bool zeroes) {
  if (!result) {
    count(region, order, span, zeroes, true);
    give_up(region, order, span, result.error().code);
    return;
  }
  const bool demanded = order.demanded - span.first < span.count;
  if (demanded) region.counters().service.add(now_ns() - order.since_ns);
  const bool dirty = is_written(region, order, span);
  bool wanted = false;
  for (std::size_t page = span.first; page < span.end(); ++page)
    wanted |= region.states().finish(page, dirty ? PageState::kDirty : PageState::kResident);
  // The filling operation woke whoever waited for these pages; but the program may have dropped
  // one again before it was marked resident, and a thread that came then waits for us.
  if (wanted) region.wake(span);
  evictor_.add(region, span);
}

// The engine refused. ESRCH: the process is ending. EAGAIN: a layout change does not end. Both leave
// the pages to whoever touches them next; anything else would come back for ever.
void PageFiller::give_up(Region& region, const FillOrder& order, PageSpan span, int code) {
  for (std::size_t page = span.first; page < span.end(); ++page) {
    if (page == order.demanded && code != ESRCH && code != EAGAIN) {
      poison(region, page, code);
      continue;
    }
    if (page == order.demanded && order.mends) {
      keep(region, page, order.write);
      continue;
    }
    const bool wanted = abandon(region, page);
    if (wanted || page == order.demanded) region.wake({page, 1});
  }
}

// A page that could not be mended is as it was.
void PageFiller::keep(Region& region, std::size_t page, bool dirty) {
  region.counters().resident_bytes.add(region.page_size());
  budget_.add_resident(region.page_size());
  if (dirty) {
    region.counters().dirty_bytes.add(region.page_size());
    budget_.add_dirty(region.page_size());
  }
  (void)region.states().finish(page, dirty ? PageState::kDirty : PageState::kResident);
  region.wake({page, 1});
}

bool PageFiller::abandon(Region& region, std::size_t page) {
  const bool wanted = region.states().finish(page, PageState::kAbsent);
  budget_.give(region.page_size());
  return wanted;
}

// Marked after it is done, so that nobody who sees the state can still find the page missing.
void PageFiller::poison(Region& region, std::size_t page, int code) {
  errors_.add({region.range_of({page, 1}).start, region.offset_of(page), code, false});
  region.counters().pages_poisoned.add(1);
  if (region.managed()) (void)region.drop({page, 1});  // parts of it may be there
  region.poison(page);
  if (region.states().finish(page, PageState::kPoisoned)) region.wake({page, 1});
  budget_.give(region.page_size());
}

}  // namespace userfault::pager
