// SPDX-License-Identifier: Apache-2.0
// Which pages go when memory is needed, and how.
//
// Every page that is in memory stands in exactly one of two queues, in spans as they were filled.
// Only evictors take spans out, so a fault costs nothing here. With kClock the first queue's spans
// are hidden before they come to the second: their memory stays, the next touch is a minor fault,
// which shows the page again at the price of a fault without a store. What was not touched by the
// time its turn comes in the second queue goes; what was, goes back to the end of the first. The
// kernel tells no unprivileged process which pages were read; this way a page tells by itself.
//
// A dirty page is protected, written to the store, and then dropped; a thread that touches it
// meanwhile waits until it can come back from the store. When the store does not take it, it stays.
//
// Threads: any number at once. The queues' lock is a leaf; nothing is done to pages under it.
#pragma once

#include <deque>
#include <random>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "pager/budget.h"
#include "pager/fault_context.h"
#include "pager/page_run.h"
#include "pager/write_back.h"
#include "userfault/pager.h"

namespace userfault::pager {

class Evictor {
 public:
  Evictor(const PagerOptions& options, Budget& budget, WriteBack& write_back)
      : policy_(options.eviction), budget_(budget), write_back_(write_back) {}

  // These pages are in memory now.
  void add(Region& region, PageSpan span);
  // Takes all of a region's spans out. True when no thread can come with new ones: it has no users.
  [[nodiscard]] bool forget(Region& region);

  // Evicts until `bytes` are given back or nothing more can be found with reasonable trouble; how
  // many were.
  std::uint64_t evict(std::uint64_t bytes, const FaultContext& context);
  // What is worth being evicted together: one look at the queues, one batch to the store.
  [[nodiscard]] std::uint64_t batch_bytes() const noexcept;

 private:
  struct Entry {
    Region* region;
    PageSpan span;
  };
  // A span that was taken out, and the right to work on it.
  struct Picked {
    RegionUse region;
    PageSpan span;
  };
  enum class Queue : std::uint8_t { kShown, kHidden };

  [[nodiscard]] std::deque<Entry>& at(Queue queue) USERFAULT_REQUIRES(mutex_) {
    return queue == Queue::kShown ? shown_ : hidden_;
  }
  void count_unhidden(const Region& region, PageSpan span) USERFAULT_REQUIRES(mutex_);
  [[nodiscard]] std::vector<Picked> pick(Queue queue, std::uint64_t bytes) USERFAULT_REQUIRES(mutex_);
  [[nodiscard]] std::vector<Picked> pick_next_to_go(std::uint64_t bytes);
  void enqueue(Queue queue, Region& region, PageSpan span);

  void hide_some(std::uint64_t bytes);
  void hide_span(const Picked& picked);
  void hide_run(PageRun& run);

  [[nodiscard]] bool may_go(PageState state) const noexcept;
  void claim_what_may_go(const Picked& picked, std::vector<PageRun>& runs);
  [[nodiscard]] std::vector<PageRun> hold_writers_off(std::span<PageRun> runs);
  [[nodiscard]] std::uint64_t write_and_drop(std::span<PageRun> runs, const FaultContext& context);
  [[nodiscard]] std::uint64_t drop_run(const PageRun& run);
  void retain(const PageRun& run, PageState state);

  const Eviction policy_;
  Budget& budget_;
  WriteBack& write_back_;
  base::Mutex mutex_;
  std::deque<Entry> shown_ USERFAULT_GUARDED_BY(mutex_);
  std::deque<Entry> hidden_ USERFAULT_GUARDED_BY(mutex_);
  std::uint64_t hidden_bytes_ USERFAULT_GUARDED_BY(mutex_) = 0;
  std::minstd_rand random_ USERFAULT_GUARDED_BY(mutex_);
};

}  // namespace userfault::pager
