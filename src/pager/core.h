// SPDX-License-Identifier: Apache-2.0
// A pager: owns its parts and wires them, and opens and closes regions. README.md has the map.
//
// Lock order: FaultWorkers' lead; then RegionTable's lock; then those of the parts, Prefetcher, MemoryWaiters,
// ReclaimBell, Evictor, PageFiller, WriteBack, ErrorLog, and of a region, Streams and Pins and its mapped
// runs, which are leaves. No lock is held while a store is asked, except the lead where the store promised to
// answer at once.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <memory>
#include <span>
#include <vector>

#include "pager/budget.h"
#include "pager/error_log.h"
#include "pager/evictor.h"
#include "pager/fault_service.h"
#include "pager/fault_workers.h"
#include "pager/faults_in_service.h"
#include "pager/flusher.h"
#include "pager/memory_supply.h"
#include "pager/memory_waiters.h"
#include "pager/page_filler.h"
#include "pager/pinner.h"
#include "pager/prefetcher.h"
#include "pager/reclaim_bell.h"
#include "pager/reclaimer.h"
#include "pager/refault.h"
#include "pager/region.h"
#include "pager/region_table.h"
#include "pager/use_count.h"
#include "pager/write_back.h"
#include "userfault/pager.h"

namespace userfault::pager {

class Core {
 public:
  [[nodiscard]] static Result<std::shared_ptr<Core>> create(const PagerOptions& options);
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  [[nodiscard]] Result<std::shared_ptr<Region>> map(std::shared_ptr<Store> store, const MapOptions& options);
  void close(Region& region);

  void prefetch(Region& region, std::span<const PageSpan> spans) { prefetcher_.prefetch(region, spans); }
  void wait_for_prefetch(Region& region) { prefetcher_.wait_until_fetched(region); }
  [[nodiscard]] Result<void> flush(Region& region) { return flusher_.flush(RegionUse(region)); }
  [[nodiscard]] Result<void> pin(Region& region, PageSpan span) { return pinner_.pin(RegionUse(region), span); }
  [[nodiscard]] Result<void> unpin(Region& region, PageSpan span) { return pinner_.unpin(region, span); }

  // Whether this process is a copy of the one that made the pager (fork(2)). None of its threads is here, its memory is
  // not, and what they held when the copy was made they hold for ever: a lock, a page, a region. So nothing is done in
  // such a process but to close descriptors.
  [[nodiscard]] bool in_copy() const noexcept { return ::getpid() != process_; }
  void close_descriptor_in_copy() noexcept;

  [[nodiscard]] EngineKind engine() const noexcept { return engine_; }
  [[nodiscard]] WriteTracking write_tracking() const noexcept;
  [[nodiscard]] Statistics statistics();
  [[nodiscard]] std::vector<PageError> errors() const { return errors_.all(); }

 private:
  Core(const PagerOptions& options, Descriptor descriptor);
  [[nodiscard]] Result<void> start(const PagerOptions& options);
  [[nodiscard]] RegionLimits limits() const noexcept;
  void settle_accounts(Region& region);

  // Each part uses those above it only, and is gone before they are.
  const pid_t process_ = ::getpid();
  Descriptor descriptor_;
  const EngineKind engine_;
  const bool scans_;
  ErrorLog errors_;
  Budget budget_;
  UseEnded use_ended_;
  RegionTable regions_;
  WriteBack write_back_;
  Flusher flusher_;
  Evictor evictor_;
  PageFiller filler_;
  ReclaimBell reclaim_bell_;
  MemoryWaiters waiters_;
  MemorySupply memory_;
  Pinner pinner_;
  RefaultHandler refaults_;
  FaultsInService faults_in_service_;
  Reclaimer reclaimer_;
  Prefetcher prefetcher_;
  FaultService fault_service_;
  FaultWorkers workers_;
};

}  // namespace userfault::pager
