// SPDX-License-Identifier: Apache-2.0
#include "pager/memory_waiters.h"

#include <utility>
#include <vector>

#include "base/check.h"

namespace userfault::pager {

bool WaitingFault::claim_again() const {
  if (region->states().claim(order.demanded)) return true;
  region->wake(order.span);
  return false;
}

bool MemoryWaiters::add(const RegionUse& region, const FillOrder& order) {
  USERFAULT_CHECK(order.span.count == 1 && order.demanded == order.span.first, "a fault waits for several pages");
  const auto longest = static_cast<std::uint64_t>(longest_.count());
  const std::uint64_t deadline_ns = longest == 0 ? UINT64_MAX : now_ns() + longest;
  const base::MutexLock lock(mutex_);
  if (region->closing()) return false;
  waiting_.push_back({region.share(), order, deadline_ns});
  count_ = waiting_.size();
  return true;
}

void MemoryWaiters::drop(const Region& region) {
  USERFAULT_CHECK(region.closing(), "waiting faults are dropped of a region that goes on");
  std::vector<WaitingFault> dropped;
  {
    const base::MutexLock lock(mutex_);
    for (WaitingFault& fault : waiting_)
      if (&*fault.region == &region) dropped.push_back(std::move(fault));
    std::erase_if(waiting_, [](const WaitingFault& fault) { return !fault.region; });
    count_ = waiting_.size();
  }
  for (const WaitingFault& fault : dropped) fault.region->wake(fault.order.span);
}

std::optional<WaitingFault> MemoryWaiters::next_with_memory(Budget& budget) {
  const base::MutexLock lock(mutex_);
  if (waiting_.empty() || budget.try_take(1, waiting_.front().region->page_size()) == 0) return std::nullopt;
  return take_first();
}

std::optional<WaitingFault> MemoryWaiters::next_overdue() {
  const base::MutexLock lock(mutex_);
  if (waiting_.empty() || now_ns() < waiting_.front().deadline_ns) return std::nullopt;
  return take_first();
}

WaitingFault MemoryWaiters::take_first() {
  USERFAULT_CHECK(count_ == waiting_.size(), "the faults that wait for memory are miscounted");
  WaitingFault fault = std::move(waiting_.front());
  waiting_.pop_front();
  count_ = waiting_.size();
  return fault;
}

}  // namespace userfault::pager
