// SPDX-License-Identifier: Apache-2.0
// Which pages go when memory is needed, and how.
//
// Every page that is in memory stands in exactly one of two queues, in spans as they were filled.
// Only evictors take spans out, so a fault costs nothing here. With kClock the first queue's spans
// are hidden before they come to the second: their memory stays, the next touch is a minor fault,
// which shows the page again at the price of a fault without a store. What was not touched by the
// time its turn comes in the second queue goes; what was, goes back to the end of the first. The
// kernel tells nobody without privileges which pages were read; this way a page tells itself.
//
// A dirty page is protected, written to the store, and then dropped; a thread that touches it
// meanwhile waits until it can come back from the store. When the store does not take it, it stays.
//
// Threads: any number at once. The queues' lock is a leaf; nothing is done to pages under it.
#pragma once

#include <deque>
#include <functional>
#include <random>
#include <vector>

#include "base/mutex.h"
#include "pager/budget.h"
#include "pager/region.h"
#include "pager/write_back.h"

namespace userfault::pager {

class Evictor {
 public:
  Evictor(const PagerOptions& options, Budget& budget, WriteBack& write_back, UseEnded& use_ended)
      : policy_(options.eviction), budget_(budget), write_back_(write_back), use_ended_(use_ended) {}

  // These pages are in memory now.
  void add(Region& region, PageSpan span);
  // Takes all of a region's spans out. True when nobody can come with new ones: it has no users.
  [[nodiscard]] bool forget(const Region& region);

  // Evicts until `bytes` are given back or nothing more can be found with reasonable trouble; how
  // many were. `before_waiting` is called before a store is written to.
  std::uint64_t make_room(std::uint64_t bytes, const std::function<void()>& before_waiting);

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
  [[nodiscard]] std::vector<Picked> pick(Queue queue, std::uint64_t bytes) USERFAULT_REQUIRES(mutex_);
  [[nodiscard]] std::vector<Picked> pick_hidden(std::uint64_t bytes);
  void hide_some(std::uint64_t bytes);
  void put_back(Queue queue, Region& region, PageSpan span);
  void hide(Picked& picked);
  void hide_run(Run& run);
  void claim(Picked& picked, std::vector<Run>& runs);
  [[nodiscard]] bool may_go(PageState state) const noexcept;
  [[nodiscard]] std::uint64_t evict(std::span<Run> runs, const std::function<void()>& before_waiting);
  [[nodiscard]] std::uint64_t drop(Run& run);
  void keep(Run& run, PageState state);

  const Eviction policy_;
  Budget& budget_;
  WriteBack& write_back_;
  UseEnded& use_ended_;
  base::Mutex mutex_;
  std::deque<Entry> shown_ USERFAULT_GUARDED_BY(mutex_);
  std::deque<Entry> hidden_ USERFAULT_GUARDED_BY(mutex_);
  std::uint64_t hidden_bytes_ USERFAULT_GUARDED_BY(mutex_) = 0;
  std::minstd_rand random_ USERFAULT_GUARDED_BY(mutex_);
};

}  // namespace userfault::pager
