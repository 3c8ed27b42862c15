// SPDX-License-Identifier: Apache-2.0
// Memory for pages to be filled.
//
// Whoever needs memory and finds none evicts: the price is paid by who causes it, and without a
// hand-over. The evictors keep some free ahead of that. A fault that finds nothing to evict (all is
// on its way, pinned, or cannot be written) does not hold its worker up, which others need to come
// to what is there: it waits in a queue, and an evictor fills its page. Faults go before prefetch:
// while one waits nobody else gets memory.
#include <algorithm>
#include <cerrno>

#include "pager/core.h"

namespace userfault::pager {
namespace {

constexpr std::uint64_t kFirstPauseNs = 200'000;
constexpr std::uint64_t kLongestPauseNs = 50'000'000;
// Evicted together at most: one look at the queues, one batch to the store. Of a small budget no more
// than its slack, or what was just hidden goes before it had time to be touched again.
constexpr std::uint64_t kEvictBytes = std::uint64_t{256} << 10;

std::uint64_t batch_of(const Budget& budget) { return std::min(kEvictBytes, budget.slack()); }

}  // namespace

// At least one page, or none at all when there is nothing to evict just now, or somebody waits for memory
// already: what comes free is his, or a small page could keep a large one waiting for ever.
std::size_t Core::take_memory(const Region& region, std::size_t most, const std::function<void()>& before_waiting) {
  if (waiting_count_ != 0) {
    want_evictors();
    return 0;
  }
  const std::size_t page = region.page_size();
  std::size_t taken = budget_.try_take(most, page);
  // A little more than is needed: so that not every fault has to.
  const std::uint64_t wanted = std::max<std::uint64_t>(most * page, batch_of(budget_));
  if (taken == 0 && evictor_.make_room(wanted, before_waiting) != 0) taken = budget_.try_take(most, page);
  if (budget_.scarce()) want_evictors();
  return taken;
}

void Core::want_evictors() {
  if (room_wanted_.exchange(true)) return;
  const base::MutexLock lock(room_mutex_);
  room_changed_.notify_one();
}

// The caller owns the order's one page. Nobody does while it waits: it may become somebody else's,
// and a flush() does not wait for it.
void Core::wait_for_memory(const RegionUse& region, const FillOrder& order) {
  region->counters().memory_waits.add(1);
  (void)region->states().finish(order.demanded, PageState::kAbsent);
  const auto wait = static_cast<std::uint64_t>(memory_wait_.count());
  {
    const base::MutexLock lock(room_mutex_);
    if (!region->closing()) {
      waiting_.push_back({region.share(), order, wait == 0 ? UINT64_MAX : now_ns() + wait});
      waiting_count_ = waiting_.size();
      room_wanted_ = true;
      room_changed_.notify_one();
      return;
    }
  }
  region->wake(order.span);
}

// Faults of a region that is being closed.
void Core::drop_waiting(const Region& region) {
  std::vector<WaitingFault> dropped;
  {
    const base::MutexLock lock(room_mutex_);
    for (WaitingFault& fault : waiting_)
      if (&*fault.region == &region) dropped.push_back(std::move(fault));
    std::erase_if(waiting_, [](const WaitingFault& fault) { return !fault.region; });
    waiting_count_ = waiting_.size();
  }
  for (const WaitingFault& fault : dropped) fault.region->wake(fault.order.span);
}

// False: the page has become somebody else's meanwhile, and the thread may try again.
bool Core::claim_again(const WaitingFault& fault) {
  if (fault.region->states().claim(fault.order.demanded)) return true;
  fault.region->wake(fault.order.span);
  return false;
}

// An evictor.
void Core::keep_room() {
  std::uint64_t pause_ns = 0;
  bool progress = true;
  while (wait_until_wanted(progress, pause_ns)) {
    progress = serve_waiting();
    progress |= make_room();
    progress |= serve_waiting();
    progress |= write_back();
    give_up_waiting();
  }
}

// False: the pager ends. Where nothing could be done and there is still something to do, it is tried
// again after a pause that doubles.
bool Core::wait_until_wanted(bool progress, std::uint64_t& pause_ns) {
  const base::MutexLock lock(room_mutex_);
  const bool more = !waiting_.empty() || budget_.too_dirty();
  if (progress) pause_ns = kFirstPauseNs;
  if (more && !progress) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(pause_ns);
    pause_ns = std::min(pause_ns * 2, kLongestPauseNs);
    while (!stopping_ && !room_wanted_ && room_changed_.wait_until(room_mutex_, until)) {
    }
  } else if (!more) {
    while (!stopping_ && !room_wanted_) room_changed_.wait(room_mutex_);
  }
  room_wanted_ = false;
  return !stopping_;
}

bool Core::make_room() {
  bool progress = false;
  while (!stopping_ && (budget_.scarce() || waiting_count_ != 0)) {
    const std::uint64_t freed = evictor_.make_room(batch_of(budget_), {});
    if (freed == 0) break;
    progress = true;
    if (waiting_count_ != 0) break;
  }
  return progress;
}

// Fills the pages of waiting faults as far as there is memory.
bool Core::serve_waiting() {
  bool progress = false;
  for (;;) {
    WaitingFault fault;
    {
      const base::MutexLock lock(room_mutex_);
      if (waiting_.empty() || budget_.try_take(1, waiting_.front().region->page_size()) == 0) return progress;
      fault = std::move(waiting_.front());
      waiting_.pop_front();
      waiting_count_ = waiting_.size();
    }
    if (claim_again(fault)) {
      filler_.fill(fault.region, fault.order, {});
    } else {
      budget_.give(fault.region->page_size());
    }
    progress = true;
  }
}

void Core::give_up_waiting() {
  for (;;) {
    WaitingFault fault;
    {
      const base::MutexLock lock(room_mutex_);
      if (waiting_.empty() || now_ns() < waiting_.front().deadline_ns) return;
      fault = std::move(waiting_.front());
      waiting_.pop_front();
      waiting_count_ = waiting_.size();
    }
    if (!claim_again(fault)) continue;
    // Poisoning gives memory back that this fault never got.
    budget_.owe(fault.region->page_size());
    filler_.poison(*fault.region, fault.order.demanded, ENOMEM);
  }
}

// The dirtiest are not looked for: regions take turns. No region is held longer than one turn: it may be
// about to be closed.
bool Core::write_back() {
  if (!budget_.too_dirty()) return false;
  bool progress = false;
  for (bool some = true; some && budget_.still_dirty() && !stopping_ && waiting_count_ == 0;) {
    some = false;
    for (RegionUse region = next_dirty(0); region; region = next_dirty(region->range().end()))
      some |= flusher_.write_some(region) != 0;
    progress |= some;
  }
  return progress;
}

// The first region from `address` on that has something to write.
RegionUse Core::next_dirty(std::uintptr_t address) {
  const std::shared_lock lock(regions_mutex_);
  for (const auto& region : regions_)
    if (region->start() >= address && !region->closing() && region->counters().dirty_bytes.get() != 0)
      return RegionUse(*region, use_ended_);
  return {};
}

}  // namespace userfault::pager
