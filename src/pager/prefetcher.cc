// SPDX-License-Identifier: Apache-2.0
#include "pager/prefetcher.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"
#include "pager/sizes.h"

namespace userfault::pager {

Prefetcher::~Prefetcher() {
  const base::MutexLock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

int Prefetcher::start() {
  USERFAULT_CHECK(threads_.empty(), "the prefetchers are started twice");
  threads_.resize(threads_wanted_);
  for (base::Thread& thread : threads_)
    if (const int code = thread.start("uf-prefetch", [this] { run(); }); code != 0) return code;
  return 0;
}

void Prefetcher::prefetch(Region& region, std::span<const PageSpan> spans) {
  std::size_t left = budget_.limited() ? static_cast<std::size_t>(budget_.limit() / region.page_size()) : SIZE_MAX;
  for (PageSpan span : spans) {
    span.count = std::min(span.count, left);
    left -= span.count;
    enqueue(region, {span}, false);
  }
}

void Prefetcher::enqueue(Region& region, Walk walk, bool first) {
  USERFAULT_CHECK(walk.stride != 0, "a walk stands still");
  PageSpan& span = walk.left;
  if (threads_wanted_ == 0 || span.first >= region.pages()) return;
  // Downwards to the first page, upwards to the last one.
  const std::size_t room = walk.stride < 0 ? span.first : region.pages() - span.first - 1;
  span.count = std::min(span.count, room / static_cast<std::size_t>(std::abs(walk.stride)) + 1);
  if (span.count == 0) return;
  const base::MutexLock lock(mutex_);
  if (region.closing()) return;
  if (queue_.size() >= most_queued_) {
    region.counters().prefetch_dropped.add(1);
    return;
  }
  if (first) {
    queue_.push_front({&region, walk});
  } else {
    queue_.push_back({&region, walk});
  }
  changed_.notify_all();
}

void Prefetcher::wait_until_fetched(Region& region) {
  {
    const base::MutexLock lock(mutex_);
    const auto its = [&](const Item& item) { return item.region == &region; };
    while (std::ranges::any_of(queue_, its) || std::ranges::find(filling_, &region) != filling_.end())
      changed_.wait(mutex_);
  }
  // A store may answer long after it was asked.
  region.wait_for_fetches();
}

void Prefetcher::forget(const Region& region) {
  USERFAULT_CHECK(region.closing(), "the queue forgets a region that goes on");
  const base::MutexLock lock(mutex_);
  std::erase_if(queue_, [&](const Item& item) { return item.region == &region; });
  changed_.notify_all();
}

void Prefetcher::run() {
  for (;;) {
    faults_.let_go_first();
    std::optional<Chunk> chunk = next_chunk();
    if (!chunk) return;
    if (take_memory(*chunk)) filler_.fill(chunk->region, chunk->order, FaultContext());
    const Region* const region = &*chunk->region;
    chunk.reset();
    finished(region);
  }
}

// The region may be gone by now: its address alone is used.
void Prefetcher::finished(const Region* region) {
  const base::MutexLock lock(mutex_);
  const auto found = std::ranges::find(filling_, region);
  USERFAULT_CHECK(found != filling_.end(), "a prefetcher ends a chunk that it has not begun");
  filling_.erase(found);
  changed_.notify_all();
}

// The next pages that no thread has claimed yet; none when the pager is ending.
std::optional<Prefetcher::Chunk> Prefetcher::next_chunk() {
  const base::MutexLock lock(mutex_);
  for (;;) {
    while (!stopping_ && queue_.empty()) changed_.wait(mutex_);
    if (stopping_) return std::nullopt;
    Item& item = queue_.front();
    Region& region = *item.region;
    const PageSpan claimed = claim_next(region, item.walk);
    if (item.walk.left.count == 0) queue_.pop_front();
    if (claimed.count != 0) {
      filling_.push_back(&region);
      return Chunk{RegionUse(region), {.span = claimed, .cause = Cause::kPrefetch}};
    }
    changed_.notify_all();
  }
}

// Claims the next pages of a walk that no thread owns, as many as one fill can hold; one at a time where
// they do not lie side by side.
PageSpan Prefetcher::claim_next(Region& region, Walk& walk) {
  PageSpan& left = walk.left;
  const auto step = [&](std::size_t pages) {
    left.first += static_cast<std::size_t>(walk.stride) * pages;  // modulo 2^64, also downwards
    left.count -= pages;
  };
  while (left.count != 0 && region.states().get(left.first) != PageState::kAbsent) step(1);
  if (left.count == 0) return {};
  const std::size_t bytes = region.maps() ? kMapBytes : kFillBytes;
  const std::size_t most = walk.stride == 1 ? std::max<std::size_t>(1, bytes / region.page_size()) : 1;
  const PageSpan claimed{left.first, region.claim_upwards(left.first, std::min(most, left.count))};
  step(std::max<std::size_t>(claimed.count, 1));
  return claimed;
}

// Memory for the chunk's pages, or for some from the front; the rest is returned. While faults
// wait for memory there is none.
bool Prefetcher::take_memory(Chunk& chunk) {
  if (!budget_.limited()) return true;
  Region& region = *chunk.region;
  PageSpan& span = chunk.order.span;
  const std::size_t taken = waiters_.any() ? 0 : memory_.take(region, span.count, FaultContext());
  for (std::size_t page = span.first + taken; page < span.end(); ++page)
    if (region.states().finish(page, PageState::kAbsent)) region.wake({page, 1});
  if (taken < span.count) region.counters().prefetch_dropped.add(1);
  span.count = taken;
  return taken != 0;
}

}  // namespace userfault::pager
