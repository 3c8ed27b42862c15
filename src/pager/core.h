// SPDX-License-Identifier: Apache-2.0
// The threads of a pager, and the regions they serve.
//
// Lock order: leader_ before everything; then regions_mutex_; then prefetch_mutex_; then those of
// Filler and Streams, which are leaves. No lock is held while the store is asked, except leader_
// where the store promised to answer at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "base/thread.h"
#include "pager/counters.h"
#include "pager/fill.h"
#include "pager/region.h"
#include "userfault/pager.h"

namespace userfault::pager {

class Core {
 public:
  [[nodiscard]] static Result<std::shared_ptr<Core>> create(const PagerOptions& options);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  [[nodiscard]] Result<std::shared_ptr<Region>> map(std::shared_ptr<Store> store, const MapOptions& options);
  void close(Region& region);

  void prefetch(Region& region, PageSpan span);
  void wait_for_prefetch(Region& region);

  [[nodiscard]] EngineKind engine() const noexcept { return descriptor_.engine(); }
  [[nodiscard]] Statistics statistics() const;
  [[nodiscard]] std::vector<PageError> errors() const { return filler_.errors(); }

 private:
  Core(const PagerOptions& options, Descriptor descriptor);
  [[nodiscard]] int start(const PagerOptions& options);

  // Faults: workers.cc
  void work();
  void serve(const Message& message, const std::function<void()>& before_waiting);
  void serve_fault(const RegionUse& region, std::uintptr_t address, const std::function<void()>& before_waiting);
  void fill_for_fault(const RegionUse& region, std::size_t page, const std::function<void()>& before_waiting);
  [[nodiscard]] PageSpan claim_around(Region& region, std::size_t page);
  [[nodiscard]] RegionUse find(std::uintptr_t address);
  void ring();

  // Prefetch: prefetch.cc
  struct PrefetchItem {
    Region* region;
    PageSpan left;
  };
  void fetch_ahead();
  void enqueue(Region& region, PageSpan span, bool urgent);
  [[nodiscard]] bool next_order(RegionUse& region, FillOrder& order);
  void let_faults_go_first();

  Counters counters_;
  const Descriptor descriptor_;
  const unsigned workers_count_;
  const unsigned prefetchers_count_;
  Filler filler_;

  std::atomic<bool> stopping_{false};  // nothing is fetched ahead any more
  std::atomic<bool> rung_{false};      // the workers shall end
  std::atomic<std::uint32_t> faults_in_service_{0};
  base::OwnedMapping doorbell_;

  std::mutex leader_;  // whoever holds it reads messages

  std::shared_mutex regions_mutex_;
  std::vector<std::shared_ptr<Region>> regions_;  // sorted by address
  UseEnded use_ended_;

  std::mutex prefetch_mutex_;
  std::condition_variable prefetch_changed_;  // the queue, what is being filled, stopping
  std::deque<PrefetchItem> prefetch_queue_;
  std::vector<Region*> prefetching_;  // one entry a chunk that is being filled

  std::vector<base::Thread> threads_;  // last: joined before the rest goes
};

}  // namespace userfault::pager
