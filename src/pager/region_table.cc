// SPDX-License-Identifier: Apache-2.0
#include "pager/region_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace userfault::pager {

void RegionTable::add(std::shared_ptr<Region> region) {
  const base::WriterLock lock(mutex_);
  const auto start = [](const auto& r) { return r->start(); };
  const auto place = std::ranges::upper_bound(regions_, region->start(), {}, start);
  USERFAULT_CHECK(place == regions_.end() || region->range().end() <= (*place)->start(), "two regions overlap");
  regions_.insert(place, std::move(region));
}

void RegionTable::begin_close(const Region& region) {
  const base::WriterLock lock(mutex_);
  // The Mapping that closes it has a reference of its own.
  const auto erased = std::erase_if(regions_, [&](const auto& other) { return other.get() == &region; });
  USERFAULT_CHECK(erased == 1, "a region is closed twice");
  closing_.push_back(&region);
}

void RegionTable::end_close(const Region& region) {
  const base::WriterLock lock(mutex_);
  USERFAULT_CHECK(std::erase(closing_, &region) == 1, "a region ends that was not closing");
  region.counters().add_to(past_);
}

RegionUse RegionTable::find(std::uintptr_t address) {
  const base::ReaderLock lock(mutex_);
  auto place = std::ranges::upper_bound(regions_, address, {}, [](const auto& r) { return r->start(); });
  if (place == regions_.begin()) return {};
  Region& region = **--place;
  if (!region.range().contains(address)) return {};
  return RegionUse(region);
}

RegionUse RegionTable::next_dirty(std::uintptr_t address) {
  const base::ReaderLock lock(mutex_);
  for (const auto& region : regions_)
    if (region->start() >= address && !region->closing() && region->counters().dirty_bytes.get() != 0)
      return RegionUse(*region);
  return {};
}

Statistics RegionTable::statistics() {
  const base::ReaderLock lock(mutex_);
  Statistics sum = past_;
  for (const auto& region : regions_) region->counters().add_to(sum);
  for (const Region* region : closing_) region->counters().add_to(sum);
  return sum;
}

}  // namespace userfault::pager
