// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "pager/counters.h"

namespace userfault::pager {

// After a store refused a write it is left in peace for a moment, except by flush(). Any thread.
class WriteHold {
 public:
  // How many refusals in a row that makes.
  int refused() noexcept {
    until_ns_ = now_ns() + kPauseNs;
    return ++refusals_;
  }
  void accepted() noexcept {
    if (refusals_ != 0) refusals_ = 0;
  }
  [[nodiscard]] bool active() const noexcept { return refusals_ != 0 && now_ns() < until_ns_; }

 private:
  static constexpr std::uint64_t kPauseNs = 10'000'000;
  std::atomic<int> refusals_{0};
  std::atomic<std::uint64_t> until_ns_{0};
};

}  // namespace userfault::pager
