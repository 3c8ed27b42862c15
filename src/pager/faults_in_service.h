// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "base/check.h"

namespace userfault::pager {

// Messages that workers have read and not yet answered. Any thread.
class FaultsInService {
 public:
  void begin(std::uint32_t count) noexcept { count_ += count; }
  void end(std::uint32_t count) noexcept {
    const std::uint32_t before = count_.fetch_sub(count);
    USERFAULT_CHECK(before >= count, "more faults are answered than were read");
    if (before == count) count_.notify_all();
  }
  // At most one wait: a program that faults without a pause must not stop the caller for ever.
  void let_go_first() const noexcept {
    if (const std::uint32_t busy = count_.load(); busy != 0) count_.wait(busy);
  }

 private:
  std::atomic<std::uint32_t> count_{0};
};

}  // namespace userfault::pager
