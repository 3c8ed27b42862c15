// SPDX-License-Identifier: Apache-2.0
// The threads that fill ahead of faults. Faults go first: between two chunks a prefetcher waits until the
// workers have answered what they have read.
//
// Threads: any. Lock order: the queue's lock is a leaf, but for page states.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/thread.h"
#include "pager/budget.h"
#include "pager/faults_in_service.h"
#include "pager/fill_order.h"
#include "pager/memory_supply.h"
#include "pager/memory_waiters.h"
#include "pager/page_filler.h"
#include "pager/region_use.h"

namespace userfault::pager {

class Prefetcher {
 public:
  struct Walk {
    PageSpan left;  // its first page, and how many
    std::ptrdiff_t stride = 1;
  };

  Prefetcher(const PagerOptions& options, Budget& budget, MemorySupply& memory, MemoryWaiters& waiters,
             PageFiller& filler, const FaultsInService& faults) noexcept
      : threads_wanted_(options.prefetchers),
        most_queued_(options.prefetch_queue),
        budget_(budget),
        memory_(memory),
        waiters_(waiters),
        filler_(filler),
        faults_(faults) {}
  // Stops the threads and waits for them.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // 0 or a positive errno as pthread_create(3) gives it.
  [[nodiscard]] int start();

  // What the program asks for: in its turn, and no more than the budget holds.
  void prefetch(Region& region, std::span<const PageSpan> spans);
  // What a walking thread will come to: before all else.
  void fetch_next(Region& region, Walk walk) { enqueue(region, walk, true); }
  // Returns when nothing that was asked for is left to be filled.
  void wait_until_fetched(Region& region);
  // Takes a region that is closing out of the queue.
  void forget(const Region& region);

 private:
  struct Item {
    Region* region;
    Walk walk;
  };
  // Pages that a prefetcher has claimed.
  struct Chunk {
    RegionUse region;
    FillOrder order;
  };

  void run();
  void enqueue(Region& region, Walk walk, bool first);
  [[nodiscard]] std::optional<Chunk> next_chunk();
  [[nodiscard]] static PageSpan claim_next(Region& region, Walk& walk);
  [[nodiscard]] bool take_memory(Chunk& chunk);
  void finished(const Region* region);

  const unsigned threads_wanted_;
  const std::size_t most_queued_;
  Budget& budget_;
  MemorySupply& memory_;
  MemoryWaiters& waiters_;
  PageFiller& filler_;
  const FaultsInService& faults_;

  base::Mutex mutex_;
  base::Condition changed_;  // what is below
  bool stopping_ USERFAULT_GUARDED_BY(mutex_) = false;
  std::deque<Item> queue_ USERFAULT_GUARDED_BY(mutex_);
  std::vector<const Region*> filling_ USERFAULT_GUARDED_BY(mutex_);  // one entry a chunk
  std::vector<base::Thread> threads_;                                // last: joined before the rest goes
};

}  // namespace userfault::pager
