// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "base/check.h"
#include "pager/region.h"

namespace userfault::pager {

// Keeps a region from being unmapped. Move-only. Made under a lock that the region's closer takes before it
// waits: that of the table, of the prefetcher's queue, of the evictor's; or by the owner of the Mapping.
class RegionUse {
 public:
  RegionUse() = default;
  explicit RegionUse(Region& region) noexcept : region_(&region) { region_->uses().begin(); }
  RegionUse(RegionUse&& other) noexcept : region_(std::exchange(other.region_, nullptr)) {}
  RegionUse& operator=(RegionUse&& other) noexcept {
    if (this != &other) {
      release();
      region_ = std::exchange(other.region_, nullptr);
    }
    return *this;
  }
  RegionUse(const RegionUse&) = delete;
  RegionUse& operator=(const RegionUse&) = delete;
  ~RegionUse() { release(); }

  [[nodiscard]] RegionUse share() const noexcept { return RegionUse(**this); }
  [[nodiscard]] explicit operator bool() const noexcept { return region_ != nullptr; }
  [[nodiscard]] Region* operator->() const noexcept { return &**this; }
  [[nodiscard]] Region& operator*() const noexcept {
    USERFAULT_CHECK(region_ != nullptr, "a region is used after its use has ended");
    return *region_;
  }

 private:
  void release() noexcept {
    if (region_ == nullptr) return;
    region_->uses().end();
    region_ = nullptr;
  }
  Region* region_ = nullptr;
};

}  // namespace userfault::pager
