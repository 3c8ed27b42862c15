// SPDX-License-Identifier: Apache-2.0
// What a test does when a page that cannot be had is touched.
//
// The handler is installed before any engine: the user engine hands a SIGBUS on to the handler that
// was there before it. Without a hook the process ends as it would without the handler.
#pragma once

#include <setjmp.h>
#include <signal.h>

#include <cstddef>
#include <optional>

namespace userfault::test {

inline void (*volatile bus_hook)() = nullptr;

[[maybe_unused]] inline const bool bus_handler_installed = [] {
  struct sigaction action {};
  action.sa_flags = SA_NODEFER;
  action.sa_handler = [](int number) {
    if (bus_hook != nullptr) bus_hook();
    ::signal(number, SIG_DFL);
    ::raise(number);
  };
  return ::sigaction(SIGBUS, &action, nullptr) == 0;
}();

inline sigjmp_buf bus_resume;

// The byte, or nothing where touching it is SIGBUS. One thread of a process at a time, and only in a
// child that ends soon: whatever stood between the access and the handler is left as it is.
[[nodiscard]] inline std::optional<std::byte> read_or_bus(const std::byte* at) {
  bus_hook = [] { siglongjmp(bus_resume, 1); };
  if (sigsetjmp(bus_resume, 1) != 0) {
    bus_hook = nullptr;
    return std::nullopt;
  }
  const std::byte value = *const_cast<const volatile std::byte*>(at);
  bus_hook = nullptr;
  return value;
}

}  // namespace userfault::test
