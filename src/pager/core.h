// SPDX-License-Identifier: Apache-2.0
// The threads of a pager, and the regions they serve.
//
// Lock order: leader_ before everything; then regions_mutex_; then prefetch_mutex_ or room_mutex_;
// then those of PageFiller, Evictor, WriteBack, Streams and Pins, which are leaves. No lock is held while
// the store is asked, except leader_ where the store promised to answer at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "base/mutex.h"
#include "base/thread.h"
#include "pager/budget.h"
#include "pager/busy_poll.h"
#include "pager/counters.h"
#include "pager/error_log.h"
#include "pager/evictor.h"
#include "pager/flusher.h"
#include "pager/page_filler.h"
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

  void prefetch(Region& region, std::span<const PageSpan> spans);
  void wait_for_prefetch(Region& region);

  [[nodiscard]] Result<void> flush(Region& region) { return flusher_.flush(RegionUse(region, use_ended_)); }
  [[nodiscard]] Result<void> pin(Region& region, PageSpan span);
  [[nodiscard]] Result<void> unpin(Region& region, PageSpan span);

  [[nodiscard]] EngineKind engine() const noexcept { return descriptor_.engine(); }
  [[nodiscard]] WriteTracking write_tracking() const noexcept {
    return scans_ ? WriteTracking::kScan : WriteTracking::kFaults;
  }
  [[nodiscard]] Statistics statistics();
  [[nodiscard]] std::vector<PageError> errors() const { return errors_.all(); }

 private:
  Core(const PagerOptions& options, Descriptor descriptor);
  [[nodiscard]] int start(const PagerOptions& options);

  // Faults: workers.cc
  void work();
  [[nodiscard]] Result<std::span<Message>> look_before_sleeping(std::span<Message> room);
  void serve(const Message& message, const std::function<void()>& before_waiting);
  void serve_fault(const RegionUse& region, const Fault& fault, const std::function<void()>& before_waiting);
  void fill_for_fault(const RegionUse& region, std::size_t page, bool write,
                      const std::function<void()>& before_waiting);
  void refill(const RegionUse& region, std::size_t page, bool write, const std::function<void()>& before_waiting);
  static void count_hits(Region& region, std::size_t pages);
  [[nodiscard]] PageSpan claim_around(Region& region, std::size_t page, std::size_t most);
  [[nodiscard]] RegionUse find(std::uintptr_t address);
  void ring();

  // Pages that are in memory: revive.cc
  void revive(const RegionUse& region, std::size_t page, PageState was, const Fault& fault,
              const std::function<void()>& before_waiting);
  void note_dirty(Region& region);
  void mend(const RegionUse& region, std::size_t page, bool dirty, PageState was,
            const std::function<void()>& before_waiting);
  void forget_content(Region& region, PageState was);

  // Memory: room.cc
  struct WaitingFault {
    RegionUse region;
    FillOrder order;
    std::uint64_t deadline_ns;
  };
  [[nodiscard]] std::size_t take_memory(const Region& region, std::size_t most,
                                        const std::function<void()>& before_waiting);
  void wait_for_memory(const RegionUse& region, const FillOrder& order);
  void drop_waiting(const Region& region);
  [[nodiscard]] static bool claim_again(const WaitingFault& fault);
  void keep_room();
  [[nodiscard]] bool wait_until_wanted(bool progress, std::uint64_t& pause_ns);
  [[nodiscard]] bool make_room();
  [[nodiscard]] bool write_back();
  [[nodiscard]] RegionUse next_dirty(std::uintptr_t address);
  [[nodiscard]] bool serve_waiting();
  void give_up_waiting();
  void want_evictors();

  // Pins: pin.cc
  [[nodiscard]] bool fill_now(const RegionUse& region, PageSpan span);

  // Prefetch: prefetch.cc
  struct Walk {
    PageSpan left;  // its first page, and how many
    std::ptrdiff_t stride = 1;
  };
  struct PrefetchItem {
    Region* region;
    Walk walk;
  };
  void fetch_ahead();
  void enqueue(Region& region, Walk walk, bool urgent);
  [[nodiscard]] static std::size_t claim_next(Region& region, Walk& walk, PageSpan& claimed);
  [[nodiscard]] bool claim_memory(const RegionUse& region, FillOrder& order);
  [[nodiscard]] bool next_order(RegionUse& region, FillOrder& order);
  void let_faults_go_first();

  const Descriptor descriptor_;
  const bool scans_;
  const unsigned workers_count_;
  const unsigned prefetchers_count_;
  const unsigned evictors_count_;
  const std::size_t most_queued_;
  const std::chrono::nanoseconds memory_wait_;
  ErrorLog errors_;
  Budget budget_;
  std::atomic<std::size_t> largest_page_{0};  // of all regions that there have been
  UseEnded use_ended_;
  WriteBack write_back_;
  Evictor evictor_;
  Flusher flusher_;
  PageFiller filler_;

  std::atomic<bool> stopping_{false};  // nothing is fetched ahead any more
  std::atomic<bool> rung_{false};      // the workers shall end
  std::atomic<std::uint32_t> faults_in_service_{0};
  base::OwnedMapping doorbell_;

  std::mutex leader_;  // whoever holds it reads messages
  BusyPoll poll_;      // the leader's

  std::shared_mutex regions_mutex_;
  std::vector<std::shared_ptr<Region>> regions_;  // sorted by address
  std::vector<const Region*> closing_;            // no longer found, and not yet in past_
  Statistics past_;                               // of the regions that are gone

  std::mutex prefetch_mutex_;
  std::condition_variable prefetch_changed_;  // the queue, what is being filled, stopping
  std::deque<PrefetchItem> prefetch_queue_;
  std::vector<Region*> prefetching_;  // one entry a chunk that is being filled

  base::Mutex room_mutex_;
  base::Condition room_changed_;
  std::atomic<bool> room_wanted_{false};       // the evictors have been told
  std::atomic<std::size_t> waiting_count_{0};  // of waiting_, to look at without the lock
  std::deque<WaitingFault> waiting_ USERFAULT_GUARDED_BY(room_mutex_);

  std::vector<base::Thread> threads_;  // last: joined before the rest goes
};

}  // namespace userfault::pager
