// SPDX-License-Identifier: Apache-2.0
// How many threads are at work on a region, and how its closer waits until there is none.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/check.h"

namespace userfault::pager {

// Tells the thread that closes a region that a use of some region has ended. It outlives all regions, so
// the last user of a region touches nothing that its closer may have freed already.
class UseEnded {
 public:
  void notify() noexcept {
    count_.fetch_add(1, std::memory_order_release);
    count_.notify_all();
  }
  [[nodiscard]] std::uint32_t seen() const noexcept { return count_.load(std::memory_order_acquire); }
  void wait(std::uint32_t seen_before) const noexcept { count_.wait(seen_before, std::memory_order_acquire); }

 private:
  std::atomic<std::uint32_t> count_{0};
};

class UseCount {
 public:
  explicit UseCount(UseEnded& ended) noexcept : ended_(ended) {}

  // Relaxed: the lock under which the region was found orders it before the close that would wait for it.
  void begin() noexcept { users_.fetch_add(1, std::memory_order_relaxed); }
  // Release, pairs with the acquire in any(): the user's work is done before the unmap.
  void end() noexcept {
    UseEnded& ended = ended_;
    const std::uint32_t before = users_.fetch_sub(1, std::memory_order_release);
    USERFAULT_CHECK(before != 0, "the use of a region ends that never began");
    if (before == 1) ended.notify();
  }
  [[nodiscard]] bool any() const noexcept { return users_.load(std::memory_order_acquire) != 0; }

 private:
  UseEnded& ended_;
  std::atomic<std::uint32_t> users_{0};
};

}  // namespace userfault::pager
