// SPDX-License-Identifier: Apache-2.0
#include "pager/core.h"

#include <algorithm>
#include <cerrno>

#include "base/page_size.h"
#include "userfault/memory.h"

namespace userfault::pager {
namespace {

// Enough for every thread of ours, and so many more that can be with a store that answers later.
constexpr unsigned kFillsInFlight = 16;

std::unexpected<Error> open_error(int code) {
  return std::unexpected(Error{.operation = Operation::kOpen, .code = code, .refused_by = Refuser::kLimit});
}

}  // namespace

Core::Core(const PagerOptions& options, Descriptor descriptor)
    : descriptor_(std::move(descriptor)),
      workers_count_(std::max(1u, options.workers)),
      prefetchers_count_(options.prefetchers),
      filler_(options, counters_, workers_count_ + prefetchers_count_ + kFillsInFlight),
      doorbell_(base::OwnedMapping::anonymous(base::page_size())) {}

// A blocking descriptor: one system call a fault, where poll(2) would add a second.
Result<std::shared_ptr<Core>> Core::create(const PagerOptions& options) {
  auto descriptor = Descriptor::open({.engine = options.engine,
                                      .wanted = feature::kPoison | feature::kMissingHugetlbfs | feature::kMissingShmem,
                                      .nonblocking = false});
  if (!descriptor) return std::unexpected(descriptor.error());
  std::shared_ptr<Core> core(new Core(options, std::move(*descriptor)));
  if (!core->filler_.valid() || !core->doorbell_.valid()) return open_error(ENOMEM);
  const PageRange bell = PageRange::of(core->doorbell_.data(), core->doorbell_.length());
  if (const auto registered = core->descriptor_.register_range(bell, mode::kMissing); !registered)
    return std::unexpected(registered.error());
  if (const int code = core->start(options); code != 0) return open_error(code);
  return core;
}

int Core::start(const PagerOptions& options) {
  threads_.resize(workers_count_ + options.prefetchers);
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    const bool worker = i < workers_count_;
    const int code = threads_[i].start(worker ? "uf-fault" : "uf-prefetch", [this, worker] {
      if (worker) {
        work();
      } else {
        fetch_ahead();
      }
    });
    if (code != 0) return code;
  }
  return 0;
}

Core::~Core() {
  {
    const std::lock_guard lock(prefetch_mutex_);
    stopping_ = true;
    prefetch_changed_.notify_all();
  }
  ring();
  threads_.clear();
  // The user engine has to hear of it before the address can belong to somebody else.
  const std::size_t length = doorbell_.length();
  if (doorbell_.valid()) (void)memory::unmap(PageRange::of(doorbell_.release(), length));
}

Result<std::shared_ptr<Region>> Core::map(std::shared_ptr<Store> store, const MapOptions& options) {
  auto region = Region::map(descriptor_, std::move(store), options, kFillBytes);
  if (!region) return region;
  const std::unique_lock lock(regions_mutex_);
  const auto place =
      std::ranges::upper_bound(regions_, (*region)->start(), {}, [](const auto& r) { return r->start(); });
  regions_.insert(place, *region);
  return region;
}

// Out of the table first, so that nobody new comes; then the prefetch queue; then whoever is still
// at work; only then the memory goes. A thread that faults meanwhile is told to try again until it
// finds the memory gone.
void Core::close(Region& region) {
  {
    const std::unique_lock lock(regions_mutex_);
    std::erase_if(regions_, [&](const auto& other) { return other.get() == &region; });
  }
  {
    const std::lock_guard lock(prefetch_mutex_);
    region.set_closing();
    std::erase_if(prefetch_queue_, [&](const PrefetchItem& item) { return item.region == &region; });
    prefetch_changed_.notify_all();
  }
  for (;;) {
    const std::uint32_t seen = use_ended_.seen();
    if (!region.in_use()) break;
    use_ended_.wait(seen);
  }
  counters_.resident_bytes.subtract(region.resident().get());
  region.unmap();
}

RegionUse Core::find(std::uintptr_t address) {
  const std::shared_lock lock(regions_mutex_);
  auto place = std::ranges::upper_bound(regions_, address, {}, [](const auto& r) { return r->start(); });
  if (place == regions_.begin()) return {};
  Region& region = **--place;
  if (!region.range().contains(address)) return {};
  return RegionUse(region, use_ended_);
}

Statistics Core::statistics() const {
  return {.faults = counters_.faults.get(),
          .repeated = counters_.repeated.get(),
          .pages_by_fault = counters_.pages_by_fault.get(),
          .pages_by_prefetch = counters_.pages_by_prefetch.get(),
          .zero_pages = counters_.zero_pages.get(),
          .bytes_by_fault = counters_.bytes_by_fault.get(),
          .bytes_by_prefetch = counters_.bytes_by_prefetch.get(),
          .bytes_read = counters_.bytes_read.get(),
          .pages_poisoned = counters_.pages_poisoned.get(),
          .store_errors = counters_.store_errors.get(),
          .resident_bytes = counters_.resident_bytes.get(),
          .service = counters_.service.snapshot()};
}

}  // namespace userfault::pager
