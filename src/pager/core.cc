// SPDX-License-Identifier: Apache-2.0
#include "pager/core.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "pager/sizes.h"

namespace userfault::pager {
namespace {

// How far ahead of a walking thread pages are fetched at once: enough that the pause at its end
// costs nothing, little enough that a wrong guess does not either.
constexpr std::size_t kAheadBytes = std::size_t{16} << 20;

Unexpected<Error> open_error(int code) {
  return Unexpected(Error{.operation = Operation::kOpen, .code = code, .refused_by = Refuser::kLimit});
}

// At least one worker and one evictor.
PagerOptions completed(PagerOptions options) {
  options.workers = std::max(1u, options.workers);
  options.most_workers = std::max(options.workers, options.most_workers);
  options.evictors = std::max(1u, options.evictors);
  return options;
}

unsigned threads_of(const PagerOptions& options) {
  return options.most_workers + options.prefetchers + options.evictors;
}

}  // namespace

// Beside the threads of the pager, those of the program write, in flush(): they share one buffer. Buffers that are
// not used take address space only.
Core::Core(const PagerOptions& options, Descriptor descriptor)
    : descriptor_(std::move(descriptor)),
      engine_(descriptor_.engine()),
      scans_(descriptor_.features().has(feature::kWpAsync)),
      budget_(options.budget, options.write_back_at),
      write_back_(options, errors_, threads_of(options) + 1),
      flusher_(budget_, write_back_),
      evictor_(options, budget_, write_back_),
      filler_(options, errors_, budget_, evictor_, threads_of(options) + std::max(1u, options.fills_in_flight)),
      waiters_(options.memory_wait),
      memory_(budget_, evictor_, waiters_, reclaim_bell_),
      pinner_(options, budget_, memory_, filler_),
      refaults_(budget_, filler_, reclaim_bell_),
      reclaimer_(budget_, regions_, evictor_, flusher_, filler_, waiters_, reclaim_bell_),
      prefetcher_(options, budget_, memory_, waiters_, filler_, faults_in_service_),
      fault_service_(memory_, filler_, prefetcher_, refaults_),
      workers_(descriptor_, options.workers, options.most_workers, regions_, fault_service_, faults_in_service_) {}

// A blocking descriptor: one system call a fault, where poll(2) would add a second.
Result<std::shared_ptr<Core>> Core::create(const PagerOptions& wished) {
  const PagerOptions options = completed(wished);
  const bool scan = options.write_tracking == WriteTracking::kScan;
  auto descriptor =
      Descriptor::open({.engine = options.engine,
                        .wanted = (scan ? feature::kWpAsync : Features{}) | feature::kPoison |
                                  feature::kMissingHugetlbfs | feature::kMissingShmem | feature::kMinorHugetlbfs |
                                  feature::kMinorShmem | feature::kPagefaultFlagWp | feature::kWpHugetlbfsShmem,
                        .nonblocking = false});
  if (!descriptor) return Unexpected(descriptor.error());
  std::shared_ptr<Core> core(new Core(options, std::move(*descriptor)));
  if (!core->filler_.valid() || !core->write_back_.valid()) return open_error(ENOMEM);
  if (const auto started = core->start(options); !started) return Unexpected(started.error());
  return core;
}

Result<void> Core::start(const PagerOptions& options) {
  if (auto started = workers_.start(); !started) return started;
  if (const int code = prefetcher_.start(); code != 0) return open_error(code);
  if (const int code = reclaimer_.start(options.evictors); code != 0) return open_error(code);
  return {};
}

WriteTracking Core::write_tracking() const noexcept { return scans_ ? WriteTracking::kScan : WriteTracking::kFaults; }

RegionLimits Core::limits() const noexcept {
  const std::uint64_t most = budget_.limited() ? budget_.limit() / 8 : UINT64_MAX;
  const auto at_most = [most](std::size_t bytes) {
    return static_cast<std::size_t>(std::min<std::uint64_t>(bytes, most));
  };
  return {.window = at_most(kFillBytes),
          .ahead = at_most(kAheadBytes),
          .leap = at_most(kMapBytes),
          .managed = budget_.limited(),
          .scans = scans_};
}

Result<std::shared_ptr<Region>> Core::map(std::shared_ptr<Store> store, const MapOptions& options) {
  auto region = Region::map(descriptor_, std::move(store), options, limits(), use_ended_);
  if (!region) return region;
  if (const int code = budget_.admit((*region)->page_size()); code != 0)
    return Unexpected(Error{.operation = Operation::kMap, .code = code});
  regions_.add(*region);
  return region;
}

// Out of the table first, so that no thread finds it any more; then out of the queues; then its users are waited
// for; only then the memory goes. A thread that faults meanwhile is told to try again until it finds the
// memory gone.
void Core::close(Region& region) {
  regions_.begin_close(region);
  region.set_closing();
  prefetcher_.forget(region);
  waiters_.drop(region);
  for (;;) {
    const std::uint32_t seen = use_ended_.seen();
    if (evictor_.forget(region)) break;
    use_ended_.wait(seen);
  }
  region.unmap();
  settle_accounts(region);
  regions_.end_close(region);
  if (waiters_.any()) reclaim_bell_.hint();
}

// What the region has taken of what all share.
void Core::settle_accounts(Region& region) {
  USERFAULT_CHECK(!region.in_use(), "the accounts of a region are settled while a thread works on it");
  Counters& counters = region.counters();
  const std::uint64_t resident = counters.resident_bytes.get();
  subtract_resident(counters, budget_, resident);
  budget_.give_back(resident);
  budget_.unpin(region.pins().pages() * region.page_size());
  subtract_dirty(counters, budget_, counters.dirty_bytes.get());
}

void Core::close_descriptor_in_copy() noexcept {
  USERFAULT_CHECK(in_copy(), "the descriptor of a pager is closed while it works");
  descriptor_.close();
}

Statistics Core::statistics() {
  Statistics sum = regions_.statistics();
  sum.resident_bytes = budget_.resident();
  return sum;
}

}  // namespace userfault::pager
