// SPDX-License-Identifier: Apache-2.0
// Filling ahead of faults. Faults go first: between two chunks a prefetcher waits until the workers
// have answered what they have read, and chunks are small while there are faults at all.
#include <algorithm>

#include "pager/core.h"

namespace userfault::pager {

void Core::prefetch(Region& region, std::span<const PageSpan> spans) {
  std::size_t left = budget_.limited() ? static_cast<std::size_t>(budget_.limit() / region.page_size()) : SIZE_MAX;
  for (PageSpan span : spans) {
    span.count = std::min(span.count, left);
    left -= span.count;
    enqueue(region, span, false);
  }
}

void Core::enqueue(Region& region, PageSpan span, bool urgent) {
  if (prefetchers_count_ == 0 || span.first >= region.pages()) return;
  span.count = std::min(span.count, region.pages() - span.first);
  if (span.count == 0) return;
  const std::lock_guard lock(prefetch_mutex_);
  if (region.closing()) return;
  if (prefetch_queue_.size() >= most_queued_) {
    region.counters().prefetch_dropped.add(1);
    return;
  }
  if (urgent) {
    prefetch_queue_.push_front({&region, span});
  } else {
    prefetch_queue_.push_back({&region, span});
  }
  prefetch_changed_.notify_all();
}

void Core::wait_for_prefetch(Region& region) {
  std::unique_lock lock(prefetch_mutex_);
  prefetch_changed_.wait(lock, [&] {
    const auto queued = [&](const PrefetchItem& item) { return item.region == &region; };
    return std::ranges::none_of(prefetch_queue_, queued) &&
           std::ranges::find(prefetching_, &region) == prefetching_.end();
  });
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
    const std::size_t most = std::max<std::size_t>(1, kFillBytes / from.page_size());
    while (item.left.count != 0 && from.states().get(item.left.first) != PageState::kAbsent) {
      ++item.left.first;
      --item.left.count;
    }
    const std::size_t claimed = from.claim_upwards(item.left.first, std::min(most, item.left.count));
    if (claimed != 0) {
      order = {.span = {item.left.first, claimed}, .cause = Cause::kPrefetch};
      region = RegionUse(from, use_ended_);
      prefetching_.push_back(&from);
    }
    item.left = {item.left.first + claimed, item.left.count - claimed};
    if (item.left.count == 0) prefetch_queue_.pop_front();
    if (claimed != 0) return true;
    prefetch_changed_.notify_all();
  }
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
