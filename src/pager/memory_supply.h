// SPDX-License-Identifier: Apache-2.0
// Memory for pages to be filled.
//
// A thread that needs memory and finds none evicts: the price is paid by the thread that causes it, and
// without a hand-over. The reclaimers keep some free ahead of that. Faults go before prefetching: while one
// waits (memory_waiters.h) no other thread gets memory.
//
// Threads: any; no lock of its own.
#pragma once

#include <cstddef>

#include "pager/budget.h"
#include "pager/evictor.h"
#include "pager/fault_context.h"
#include "pager/memory_waiters.h"
#include "pager/reclaim_bell.h"

namespace userfault::pager {

class MemorySupply {
 public:
  MemorySupply(Budget& budget, Evictor& evictor, MemoryWaiters& waiters, ReclaimBell& bell) noexcept
      : budget_(budget), evictor_(evictor), waiters_(waiters), bell_(bell) {}

  // Memory for pages of the region: at least one and `most` at most, or none at all when there is nothing to
  // evict just now, or a fault waits for memory already.
  [[nodiscard]] std::size_t take(const Region& region, std::size_t most, const FaultContext& context);
  void give_back(const Region& region, std::size_t pages) noexcept { budget_.give_back(pages * region.page_size()); }
  // The caller owns the order's one page and could take no memory. It gives the page up: while the fault
  // waits no thread owns it, it may become another's, and a flush() does not wait for it.
  void wait_in_queue(const RegionUse& region, const FillOrder& order);

 private:
  Budget& budget_;
  Evictor& evictor_;
  MemoryWaiters& waiters_;
  ReclaimBell& bell_;
};

}  // namespace userfault::pager
