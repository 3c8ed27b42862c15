// SPDX-License-Identifier: Apache-2.0
// The threads that keep some memory free ahead of need, write back what is dirty, and fill the pages of faults
// that wait for memory.
//
// Lock order: none of its own; it calls into the table of regions, the waiters and the evictor with nothing
// locked.
#pragma once

#include <chrono>
#include <vector>

#include "base/thread.h"
#include "pager/evictor.h"
#include "pager/flusher.h"
#include "pager/memory_waiters.h"
#include "pager/page_filler.h"
#include "pager/reclaim_bell.h"
#include "pager/region_table.h"

namespace userfault::pager {

class Reclaimer {
 public:
  Reclaimer(Budget& budget, RegionTable& regions, Evictor& evictor, Flusher& flusher, PageFiller& filler,
            MemoryWaiters& waiters, ReclaimBell& bell) noexcept
      : budget_(budget),
        regions_(regions),
        evictor_(evictor),
        flusher_(flusher),
        filler_(filler),
        waiters_(waiters),
        bell_(bell) {}
  // Stops the threads and waits for them.
  ~Reclaimer() { bell_.stop(); }
  Reclaimer(const Reclaimer&) = delete;
  Reclaimer& operator=(const Reclaimer&) = delete;

  // 0 or a positive errno as pthread_create(3) gives it.
  [[nodiscard]] int start(unsigned threads);

 private:
  void run();
  [[nodiscard]] bool wait_until_wanted(bool progress, std::chrono::nanoseconds& pause);
  [[nodiscard]] bool fill_waiting();
  [[nodiscard]] bool evict_ahead();
  [[nodiscard]] bool write_back();
  void poison_overdue();

  Budget& budget_;
  RegionTable& regions_;
  Evictor& evictor_;
  Flusher& flusher_;
  PageFiller& filler_;
  MemoryWaiters& waiters_;
  ReclaimBell& bell_;
  std::vector<base::Thread> threads_;  // last: joined before the rest goes
};

}  // namespace userfault::pager
