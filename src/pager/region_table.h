// SPDX-License-Identifier: Apache-2.0
// The regions of a pager, and what is counted of those that are gone.
//
// Threads: any. One lock, which workers take to read for every message. Before it only the lead may be held,
// and nothing is locked under it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "pager/region.h"
#include "pager/region_use.h"
#include "userfault/pager.h"

namespace userfault::pager {

class RegionTable {
 public:
  void add(std::shared_ptr<Region> region);
  // From now on no look-up finds the region; it is still counted.
  void begin_close(const Region& region);
  // It is gone, and what it counted is kept.
  void end_close(const Region& region);

  // The region that has the address, or none.
  [[nodiscard]] RegionUse find(std::uintptr_t address);
  // The first region from `address` on that has something to write, or none.
  [[nodiscard]] RegionUse next_dirty(std::uintptr_t address);
  // The sum over all regions that there have been.
  [[nodiscard]] Statistics statistics();

 private:
  base::SharedMutex mutex_;
  std::vector<std::shared_ptr<Region>> regions_ USERFAULT_GUARDED_BY(mutex_);  // sorted by address
  std::vector<const Region*> closing_ USERFAULT_GUARDED_BY(mutex_);            // not found, and not yet in past_
  Statistics past_ USERFAULT_GUARDED_BY(mutex_);
};

}  // namespace userfault::pager
