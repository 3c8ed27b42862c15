// SPDX-License-Identifier: Apache-2.0
// Faults that found no memory and nothing to evict.
//
// Such a fault does not hold its worker up, which others need to come to what is there: it waits here, and
// a reclaimer fills its page. While one waits no other thread gets memory: what comes free is for the first
// in the queue, or small pages could keep a large one waiting for ever.
//
// Threads: any. A leaf lock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "base/mutex.h"
#include "pager/budget.h"
#include "pager/fill_order.h"
#include "pager/region_use.h"

namespace userfault::pager {

struct WaitingFault {
  RegionUse region;
  FillOrder order;  // of one page, which no thread owns meanwhile
  std::uint64_t deadline_ns;

  // False: the page has become another thread's meanwhile; the fault is over, and the faulting thread woken.
  [[nodiscard]] bool claim_again() const;
};

class MemoryWaiters {
 public:
  // How long a fault waits; 0: for ever.
  explicit MemoryWaiters(std::chrono::nanoseconds longest) noexcept : longest_(longest) {}

  // Costs a load.
  [[nodiscard]] bool any() const noexcept { return count_ != 0; }
  // The caller gave the page up. False: the region is being closed, and no fault of it waits any more.
  [[nodiscard]] bool add(const RegionUse& region, const FillOrder& order);
  // The faults of a region that is being closed: their threads are woken.
  void drop(const Region& region);
  // Takes the first one out, with memory for its page; none when there is no memory for it, or none waits.
  [[nodiscard]] std::optional<WaitingFault> next_with_memory(Budget& budget);
  // Takes the first one out that has waited for too long.
  [[nodiscard]] std::optional<WaitingFault> next_overdue();

 private:
  [[nodiscard]] WaitingFault take_first() USERFAULT_REQUIRES(mutex_);

  const std::chrono::nanoseconds longest_;
  base::Mutex mutex_;
  std::deque<WaitingFault> waiting_ USERFAULT_GUARDED_BY(mutex_);
  std::atomic<std::size_t> count_{0};  // of waiting_, to look at without the lock
};

}  // namespace userfault::pager
