// SPDX-License-Identifier: Apache-2.0
// Filling ahead of faults. Faults go first: between two chunks a prefetcher waits until the workers
// have answered what they have read, and chunks are small while there are faults at all.
#include <algorithm>
#include <cstdlib>

#include "pager/core.h"

namespace userfault::pager {

void Core::prefetch(Region& region, std::span<const PageSpan> spans) {
  std::size_t left = budget_.limited() ? static_cast<std::size_t>(budget_.limit() / region.page_size()) : SIZE_MAX;
  for (PageSpan span : spans) {
    span.count = std::min(span.count, left);
    left -= span.count;
    enqueue(region, {span}, false);
  }
}

void Core::enqueue(Region& region, Walk walk, bool urgent) {
  PageSpan& span = walk.left;
  if (prefetchers_count_ == 0 || span.first >= region.pages()) return;
  // Downwards to the first page, upwards to the last one.
  const std::size_t room = walk.stride < 0 ? span.first : region.pages() - span.first - 1;
  span.count = std::min(span.count, room / static_cast<std::size_t>(std::abs(walk.stride)) + 1);
  if (span.count == 0) return;
  const std::lock_guard lock(prefetch_mutex_);
  if (region.closing()) return;
  if (prefetch_queue_.size() >= most_queued_) {
    region.counters().prefetch_dropped.add(1);
    return;
  }
  if (urgent) {
    prefetch_queue_.push_front({&region, walk});
  } else {
    prefetch_queue_.push_back({&region, walk});
  }
  prefetch_changed_.notify_all();
}

void Core::wait_for_prefetch(Region& region) {
  {
    std::unique_lock lock(prefetch_mutex_);
    prefetch_changed_.wait(lock, [&] {
      const auto queued = [&](const PrefetchItem& item) { return item.region == &region; };
      return std::ranges::none_of(prefetch_queue_, queued) &&
             std::ranges::find(prefetching_, &region) == prefetching_.end();
    });
  }
  // A store may answer long after it was asked.
  region.wait_for_fetches();
}

void Core::fetch_ahead() {
  for (;;) {
    RegionUse region;
    FillOrder order;
    let_faults_go_first();
    if (!next_order(region, order)) return;
    if (claim_memory(region, order)) filler_.fill(region, order, {});
    Region* const done = &*region;
    region = {};
    const std::lock_guard lock(prefetch_mutex_);
    prefetching_.erase(std::ranges::find(prefetching_, done));
    prefetch_changed_.notify_all();
  }
}

// Takes the next chunk of pages that nobody has claimed yet; false when the pager is ending.
bool Core::next_order(RegionUse& region, FillOrder& order) {
  std::unique_lock lock(prefetch_mutex_);
  for (;;) {
    prefetch_changed_.wait(lock, [this] { return stopping_ || !prefetch_queue_.empty(); });
    if (stopping_) return false;
    PrefetchItem& item = prefetch_queue_.front();
    Region& from = *item.region;
    order = {.span = {}, .cause = Cause::kPrefetch};
    const std::size_t claimed = claim_next(from, item.walk, order.span);
    if (claimed != 0) {
      region = RegionUse(from, use_ended_);
      prefetching_.push_back(&from);
    }
    if (item.walk.left.count == 0) prefetch_queue_.pop_front();
    if (claimed != 0) return true;
    prefetch_changed_.notify_all();
  }
}

// Claims the next pages of a walk that nobody has, as many as one fill can hold; one at a time where
// they do not lie side by side.
std::size_t Core::claim_next(Region& region, Walk& walk, PageSpan& claimed) {
  PageSpan& left = walk.left;
  const auto step = [&](std::size_t pages) {
    left.first += static_cast<std::size_t>(walk.stride) * pages;  // modulo 2^64, also downwards
    left.count -= pages;
  };
  while (left.count != 0 && region.states().get(left.first) != PageState::kAbsent) step(1);
  if (left.count == 0) return 0;
  const std::size_t bytes = region.maps() ? kMapBytes : kFillBytes;
  const std::size_t most = walk.stride == 1 ? std::max<std::size_t>(1, bytes / region.page_size()) : 1;
  claimed = {left.first, region.claim_upwards(left.first, std::min(most, left.count))};
  step(std::max<std::size_t>(claimed.count, 1));
  return claimed.count;
}

// Memory for the order's pages, or for some from the front; the rest is given back. While faults
// wait for memory there is none.
bool Core::claim_memory(const RegionUse& region, FillOrder& order) {
  if (!budget_.limited()) return true;
  const std::size_t taken = waiting_count_ != 0 ? 0 : take_memory(*region, order.span.count, {});
  for (std::size_t page = order.span.first + taken; page < order.span.end(); ++page)
    if (region->states().finish(page, PageState::kAbsent)) region->wake({page, 1});
  if (taken < order.span.count) region->counters().prefetch_dropped.add(1);
  order.span.count = taken;
  return taken != 0;
}

// At most one wait a chunk: a program that faults without a pause must not stop prefetching for ever.
void Core::let_faults_go_first() {
  if (const std::uint32_t busy = faults_in_service_.load(); busy != 0) faults_in_service_.wait(busy);
}

}  // namespace userfault::pager
