// SPDX-License-Identifier: Apache-2.0
#include "pager/core.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/page_size.h"
#include "userfault/memory.h"

namespace userfault::pager {
namespace {

constexpr std::size_t kLeastPages = 4;  // x86's movs may touch four at once, and nothing more
// How far ahead of a walking thread pages are fetched at once: enough that the pause at its end
// costs nothing, little enough that a wrong guess does not either.
constexpr std::size_t kAheadBytes = std::size_t{16} << 20;

// Where nothing is ever evicted or written nobody has to see to it.
unsigned evictors_for(const PagerOptions& options) { return std::max(1u, options.evictors); }

Unexpected<Error> open_error(int code) {
  return Unexpected(Error{.operation = Operation::kOpen, .code = code, .refused_by = Refuser::kLimit});
}

}  // namespace

Core::Core(const PagerOptions& options, Descriptor descriptor)
    : descriptor_(std::move(descriptor)),
      scans_(descriptor_.features().has(feature::kWpAsync)),
      workers_count_(std::max(1u, options.workers)),
      prefetchers_count_(options.prefetchers),
      evictors_count_(evictors_for(options)),
      most_queued_(options.prefetch_queue),
      memory_wait_(options.memory_wait),
      budget_(options.budget, options.write_back_at),
      write_back_(options, errors_, workers_count_ + prefetchers_count_ + evictors_count_ + 1),
      evictor_(options, budget_, write_back_, use_ended_),
      flusher_(budget_, write_back_),
      filler_(options, errors_, budget_, evictor_,
              workers_count_ + prefetchers_count_ + evictors_count_ + std::max(1u, options.fills_in_flight)),
      doorbell_(base::OwnedMapping::anonymous(base::page_size())) {}

// A blocking descriptor: one system call a fault, where poll(2) would add a second.
Result<std::shared_ptr<Core>> Core::create(const PagerOptions& options) {
  const bool scan = options.write_tracking == WriteTracking::kScan;
  auto descriptor =
      Descriptor::open({.engine = options.engine,
                        .wanted = (scan ? feature::kWpAsync : Features{}) | feature::kPoison |
                                  feature::kMissingHugetlbfs | feature::kMissingShmem | feature::kMinorHugetlbfs |
                                  feature::kMinorShmem | feature::kPagefaultFlagWp | feature::kWpHugetlbfsShmem,
                        .nonblocking = false});
  if (!descriptor) return Unexpected(descriptor.error());
  std::shared_ptr<Core> core(new Core(options, std::move(*descriptor)));
  if (!core->filler_.valid() || !core->write_back_.valid() || !core->doorbell_.valid()) return open_error(ENOMEM);
  const PageRange bell = PageRange::of(core->doorbell_.data(), core->doorbell_.length());
  if (const auto registered = core->descriptor_.register_range(bell, mode::kMissing); !registered)
    return Unexpected(registered.error());
  // Under mlockall(MCL_FUTURE) it is there already, and could not ring.
  (void)::munlock(core->doorbell_.data(), core->doorbell_.length());
  if (const auto emptied = memory::advise(bell, MADV_DONTNEED); !emptied) return Unexpected(emptied.error());
  if (const int code = core->start(options); code != 0) return open_error(code);
  return core;
}

int Core::start(const PagerOptions& options) {
  threads_.resize(workers_count_ + options.prefetchers + evictors_count_);
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    const bool worker = i < workers_count_;
    const bool prefetcher = !worker && i < workers_count_ + options.prefetchers;
    const char* const name = worker ? "uf-fault" : prefetcher ? "uf-prefetch" : "uf-evict";
    const auto body = worker ? &Core::work : prefetcher ? &Core::fetch_ahead : &Core::keep_room;
    if (const int code = threads_[i].start(name, [this, body] { (this->*body)(); }); code != 0) return code;
  }
  return 0;
}

Core::~Core() {
  {
    const std::lock_guard lock(prefetch_mutex_);
    stopping_ = true;
    prefetch_changed_.notify_all();
  }
  {
    const base::MutexLock lock(room_mutex_);
    room_changed_.notify_all();
  }
  ring();
  threads_.clear();
  // The user engine has to hear of it before the address can belong to somebody else.
  const std::size_t length = doorbell_.length();
  if (doorbell_.valid()) (void)memory::unmap(PageRange::of(doorbell_.release(), length));
}

Result<std::shared_ptr<Region>> Core::map(std::shared_ptr<Store> store, const MapOptions& options) {
  RegionLimits limits{
      .window = kFillBytes, .ahead = kAheadBytes, .leap = kMapBytes, .managed = budget_.limited(), .scans = scans_};
  if (budget_.limited()) {
    limits.window = static_cast<std::size_t>(std::min<std::uint64_t>(limits.window, budget_.limit() / 8));
    limits.ahead = static_cast<std::size_t>(std::min<std::uint64_t>(limits.ahead, budget_.limit() / 8));
    limits.leap = static_cast<std::size_t>(std::min<std::uint64_t>(limits.leap, budget_.limit() / 8));
  }
  auto region = Region::map(descriptor_, std::move(store), options, limits);
  if (!region) return region;
  if (budget_.limited() && budget_.limit() < kLeastPages * (*region)->page_size())
    return Unexpected(Error{.operation = Operation::kMap, .code = EINVAL});
  if (!budget_.leaves(kLeastPages * (*region)->page_size()))
    return Unexpected(Error{.operation = Operation::kMap, .code = ENOMEM});
  for (std::size_t largest = largest_page_; largest < (*region)->page_size();)
    if (largest_page_.compare_exchange_weak(largest, (*region)->page_size())) break;
  const std::unique_lock lock(regions_mutex_);
  const auto place =
      std::ranges::upper_bound(regions_, (*region)->start(), {}, [](const auto& r) { return r->start(); });
  regions_.insert(place, *region);
  return region;
}

// Out of the table first, so that nobody new comes; then the queues; then whoever is still at work;
// only then the memory goes. A thread that faults meanwhile is told to try again until it finds the
// memory gone.
void Core::close(Region& region) {
  {
    const std::unique_lock lock(regions_mutex_);
    std::erase_if(regions_, [&](const auto& other) { return other.get() == &region; });
    closing_.push_back(&region);
  }
  {
    const std::lock_guard lock(prefetch_mutex_);
    region.set_closing();
    std::erase_if(prefetch_queue_, [&](const PrefetchItem& item) { return item.region == &region; });
    prefetch_changed_.notify_all();
  }
  drop_waiting(region);
  for (;;) {
    const std::uint32_t seen = use_ended_.seen();
    if (evictor_.forget(region)) break;
    use_ended_.wait(seen);
  }
  region.unmap();
  Counters& counters = region.counters();
  const std::uint64_t resident = counters.resident_bytes.get();
  counters.resident_bytes.subtract(resident);
  budget_.subtract_resident(resident);
  budget_.give(resident);
  budget_.unpin(region.pins().pages() * region.page_size());
  budget_.subtract_dirty(counters.dirty_bytes.get());
  counters.dirty_bytes.subtract(counters.dirty_bytes.get());
  const std::unique_lock lock(regions_mutex_);
  std::erase(closing_, &region);
  counters.add_to(past_);
  if (waiting_count_ != 0) want_evictors();
}

RegionUse Core::find(std::uintptr_t address) {
  const std::shared_lock lock(regions_mutex_);
  auto place = std::ranges::upper_bound(regions_, address, {}, [](const auto& r) { return r->start(); });
  if (place == regions_.begin()) return {};
  Region& region = **--place;
  if (!region.range().contains(address)) return {};
  return RegionUse(region, use_ended_);
}

Statistics Core::statistics() {
  const std::shared_lock lock(regions_mutex_);
  Statistics sum = past_;
  for (const auto& region : regions_) region->counters().add_to(sum);
  for (const Region* region : closing_) region->counters().add_to(sum);
  sum.resident_bytes = budget_.resident();
  return sum;
}

}  // namespace userfault::pager
