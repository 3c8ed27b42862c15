// SPDX-License-Identifier: Apache-2.0
#include "pager/fill.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

namespace userfault::pager {
namespace {

constexpr std::size_t kMostErrors = 1024;
// A run of zero pages inside other data is worth an operation of its own from here on.
constexpr std::size_t kShortestZeroRun = 4;

// memcmp of the bytes with themselves, one later: as fast as the C library, and most pages differ in
// the first word.
bool all_zero(const std::byte* bytes, std::size_t length) {
  std::uint64_t first;
  std::memcpy(&first, bytes, sizeof first);
  return first == 0 && std::memcmp(bytes, bytes + sizeof first, length - sizeof first) == 0;
}

struct Run {
  std::size_t pages;
  bool zero;
};

// The longest run of one kind that `bytes` begins with. Short runs of zero pages count as data.
Run next_run(const std::byte* bytes, std::size_t pages, std::size_t page_size) {
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

}  // namespace

struct Filler::Fill {
  Filler* filler = nullptr;
  RegionUse region;
  FillOrder order;
  int attempt = 0;
  std::byte* staging = nullptr;
  StoreRequest request;
  bool* would_wait = nullptr;  // where to note that the store refused to wait; on the asker's stack
};

Filler::Filler(const PagerOptions& options, Counters& counters, unsigned fills)
    : attempts_(std::max(1, options.store_attempts)),
      pause_(options.store_pause),
      counters_(counters),
      memory_(base::OwnedMapping::anonymous(kStagingBytes * fills)) {
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
Filler::~Filler() {
  std::unique_lock lock(pool_mutex_);
  pool_changed_.wait(lock, [this] { return free_.size() == all_.size(); });
}

Filler::Fill* Filler::take(const std::function<void()>& before_waiting) {
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

void Filler::give(Fill* fill) {
  fill->region = {};
  const std::lock_guard lock(pool_mutex_);
  free_.push_back(fill);
  // Under the lock: the destructor may be waiting, and then we are gone as soon as it is free.
  pool_changed_.notify_all();
}

void Filler::fill(const RegionUse& region, const FillOrder& order, const std::function<void()>& before_waiting) {
  const std::size_t page = region->page_size();
  const std::size_t most = std::max<std::size_t>(1, kFillBytes / page);
  PageSpan left = order.span;
  while (left.count != 0) {
    PageSpan piece{left.first, std::min(left.count, most)};
    const std::size_t bytes = region->stored_bytes(piece);
    const std::uint64_t offset = region->offset_of(piece.first);
    const StoreExtent extent = region->store().extent(offset, bytes);
    if (extent.length < bytes) piece.count = std::max<std::size_t>(1, static_cast<std::size_t>(extent.length) / page);
    const std::size_t piece_bytes = region->stored_bytes(piece);
    const std::byte* view = nullptr;
    if (extent.zero && extent.length >= piece_bytes && region->can_zero()) {
      install_zeroes(*region, order, piece);
    } else if (piece_bytes == piece.count * page && (view = region->store().view(offset, piece_bytes)) != nullptr) {
      install(*region, order, piece, view);
    } else {
      Fill* const fill = take(before_waiting);
      fill->region = region.share();
      fill->order = order;
      fill->order.span = piece;
      fill->attempt = 1;
      read(fill, before_waiting);
    }
    left = {piece.end(), left.end() - piece.end()};
  }
}

void Filler::read(Fill* fill, const std::function<void()>& before_waiting) {
  bool would_wait = false;
  const PageSpan span = fill->order.span;
  fill->would_wait = &would_wait;
  fill->request = {.offset = fill->region->offset_of(span.first),
                   .data = fill->staging,
                   .length = fill->region->stored_bytes(span),
                   .may_wait = !before_waiting,
                   .done = &Filler::on_answer,
                   .context = fill};
  Store& store = fill->region->store();
  store.read({&fill->request, 1});
  // Only a refusal to wait leaves the Fill with us, and it comes before read() returns.
  if (!would_wait) return;
  before_waiting();
  fill->request.may_wait = true;
  store.read({&fill->request, 1});
}

void Filler::on_answer(StoreRequest& request) {
  Fill* const fill = static_cast<Fill*>(request.context);
  if (request.code == EAGAIN && !request.may_wait) {
    *fill->would_wait = true;
    return;
  }
  fill->filler->complete(fill);
}

void Filler::complete(Fill* fill) {
  Region& region = *fill->region;
  if (fill->request.code != 0) {
    recover(fill);
    return;
  }
  const std::size_t bytes = fill->order.span.count * region.page_size();
  counters_.bytes_read.add(fill->request.length);
  std::memset(fill->staging + fill->request.length, 0, bytes - fill->request.length);
  install(region, fill->order, fill->order.span, fill->staging);
  give(fill);
}

// The store failed. What it did give is installed, what nobody waits for is given back to be tried
// when somebody does, and the page that a thread waits for is tried again on its own.
void Filler::recover(Fill* fill) {
  Region& region = *fill->region;
  const PageSpan span = fill->order.span;
  counters_.store_errors.add(1);
  const std::size_t good = std::min(span.count, fill->request.bytes / region.page_size());
  if (good != 0) {
    counters_.bytes_read.add(good * region.page_size());
    install(region, fill->order, {span.first, good}, fill->staging);
  }
  bool demanded_left = false;
  for (std::size_t page = span.first + good; page < span.end(); ++page) {
    if (page == fill->order.demanded) {
      demanded_left = true;
    } else if (region.states().finish(page, PageState::kAbsent)) {
      region.wake({page, 1});
    }
  }
  if (demanded_left) {
    retry_demanded(fill);
  } else {
    give(fill);
  }
}

void Filler::retry_demanded(Fill* fill) {
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

void Filler::install(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes) {
  while (span.count != 0) {
    const Run run = region.can_zero() ? next_run(bytes, span.count, region.page_size()) : Run{span.count, false};
    const PageSpan part{span.first, run.pages};
    if (run.zero) {
      install_zeroes(region, order, part);
    } else {
      count(region, order, part, false, false);
      installed(region, order, part, region.install(part, bytes), false);
    }
    bytes += run.pages * region.page_size();
    span = {part.end(), span.count - run.pages};
  }
}

void Filler::install_zeroes(Region& region, const FillOrder& order, PageSpan span) {
  count(region, order, span, true, false);
  installed(region, order, span, region.install_zeroes(span), true);
}

// Before the pages are filled, and taken back when that fails: so whoever reads a page finds it
// counted.
void Filler::count(Region& region, const FillOrder& order, PageSpan span, bool zeroes, bool back) {
  const auto add = [back](Counter& counter, std::uint64_t n) { back ? counter.subtract(n) : counter.add(n); };
  const bool by_fault = order.cause == Cause::kFault;
  const std::uint64_t memory = span.count * region.page_size();
  add(by_fault ? counters_.pages_by_fault : counters_.pages_by_prefetch, span.count);
  add(by_fault ? counters_.bytes_by_fault : counters_.bytes_by_prefetch, region.stored_bytes(span));
  add(counters_.resident_bytes, memory);
  add(region.resident(), memory);
  if (zeroes) add(counters_.zero_pages, span.count);
}

void Filler::installed(Region& region, const FillOrder& order, PageSpan span, const Result<void>& result, bool zeroes) {
  if (!result) {
    count(region, order, span, zeroes, true);
    give_up(region, order, span, result.error().code);
    return;
  }
  if (order.demanded - span.first < span.count) counters_.service.add(now_ns() - order.since_ns);
  bool wanted = false;
  for (std::size_t page = span.first; page < span.end(); ++page)
    wanted |= region.states().finish(page, PageState::kResident);
  // The filling operation woke whoever waited for these pages; but the program may have dropped
  // one again before it was marked resident, and a thread that came then waits for us.
  if (wanted) region.wake(span);
}

// The engine refused. ESRCH: the process is ending. EAGAIN: a layout change does not end. Both leave
// the pages to whoever touches them next; anything else would come back for ever.
void Filler::give_up(Region& region, const FillOrder& order, PageSpan span, int code) {
  for (std::size_t page = span.first; page < span.end(); ++page) {
    if (page == order.demanded && code != ESRCH && code != EAGAIN) {
      poison(region, page, code);
      continue;
    }
    const bool wanted = region.states().finish(page, PageState::kAbsent);
    if (wanted || page == order.demanded) region.wake({page, 1});
  }
}

// Marked after it is done, so that nobody who sees the state can still find the page missing.
void Filler::poison(Region& region, std::size_t page, int code) {
  {
    const std::lock_guard lock(errors_mutex_);
    if (errors_.size() < kMostErrors)
      errors_.push_back({region.range_of({page, 1}).start, region.offset_of(page), code});
  }
  counters_.pages_poisoned.add(1);
  region.poison(page);
  if (region.states().finish(page, PageState::kPoisoned)) region.wake({page, 1});
}

std::vector<PageError> Filler::errors() const {
  const std::lock_guard lock(errors_mutex_);
  return errors_;
}

}  // namespace userfault::pager
