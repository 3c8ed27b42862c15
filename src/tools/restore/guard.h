// SPDX-License-Identifier: Apache-2.0
// Reading memory that may answer with SIGBUS.
//
// While a BusGuard lives, SIGBUS inside guarded_load() or guarded_compare() makes them return
// nothing instead of ending the process. Any thread; one BusGuard at a time.
#pragma once

#include <signal.h>

#include <cstddef>
#include <optional>

namespace userfault::tools::restore {

class BusGuard {
 public:
  BusGuard();
  ~BusGuard();
  BusGuard(const BusGuard&) = delete;
  BusGuard& operator=(const BusGuard&) = delete;

 private:
  struct sigaction before_ {};
};

// One byte, or nothing.
[[nodiscard]] std::optional<std::byte> guarded_load(const std::byte* at);
// Inverts one byte; false when it could not be reached.
[[nodiscard]] bool guarded_invert(std::byte* at);
// memcmp(3) == 0, or nothing.
[[nodiscard]] std::optional<bool> guarded_equal(const std::byte* memory, const std::byte* expected, std::size_t length);

}  // namespace userfault::tools::restore
