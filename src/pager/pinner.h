// SPDX-License-Identifier: Apache-2.0
// Pages that stay: fills them and keeps the evictors off. Threads: any; no lock of its own.
#pragma once

#include <chrono>

#include "pager/budget.h"
#include "pager/memory_supply.h"
#include "pager/page_filler.h"
#include "pager/region_use.h"

namespace userfault::pager {

class Pinner {
 public:
  Pinner(const PagerOptions& options, Budget& budget, MemorySupply& memory, PageFiller& filler) noexcept;

  // As Mapping::pin() and unpin().
  [[nodiscard]] Result<void> pin(const RegionUse& region, PageSpan span);
  [[nodiscard]] Result<void> unpin(Region& region, PageSpan span);

 private:
  [[nodiscard]] Result<void> fill_all(const RegionUse& region, PageSpan span);
  [[nodiscard]] bool fill_absent(const RegionUse& region, PageSpan span);

  const int attempts_;
  const std::chrono::nanoseconds memory_wait_;
  Budget& budget_;
  MemorySupply& memory_;
  PageFiller& filler_;
};

}  // namespace userfault::pager
