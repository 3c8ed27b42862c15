// SPDX-License-Identifier: Apache-2.0
// What a test does when a page that cannot be had is touched.
//
// The handler is installed before any engine: the user engine hands a SIGBUS on to the handler that
// was there before it. Without a hook the process ends as it would without the handler.
#pragma once

#include <setjmp.h>
#include <signal.h>

#include <atomic>
#include <cstddef>
#include <optional>

namespace userfault::test {

inline std::atomic<void (*)()> bus_hook{nullptr};

[[maybe_unused]] inline const bool bus_handler_installed = [] {
  struct sigaction action {};
  action.sa_flags = SA_NODEFER;
  action.sa_handler = [](int number) {
    if (void (*const hook)() = bus_hook.load(); hook != nullptr) hook();
    ::signal(number, SIG_DFL);
    ::raise(number);
  };
  return ::sigaction(SIGBUS, &action, nullptr) == 0;
}();

inline thread_local sigjmp_buf bus_resume;
inline thread_local void (*volatile bus_expected)() = nullptr;

// Runs `access`. False: it was SIGBUS. In a child that ends soon only: whatever stood between the access and the
// handler is left as it is. Any thread of it; the hook is one for all.
template <typename Access>
[[nodiscard]] bool or_bus(Access access) {
  bus_hook = [] {
    if (bus_expected != nullptr) bus_expected();
  };
  bus_expected = [] { siglongjmp(bus_resume, 1); };
  if (sigsetjmp(bus_resume, 1) != 0) {
    bus_expected = nullptr;
    return false;
  }
  access();
  bus_expected = nullptr;
  return true;
}

// The byte, or nothing where touching it is SIGBUS.
[[nodiscard]] inline std::optional<std::byte> read_or_bus(const std::byte* at) {
  std::byte value{};
  const bool read = or_bus([&] { value = *const_cast<const volatile std::byte*>(at); });
  return read ? std::optional(value) : std::nullopt;
}

// Whether the byte could be written.
[[nodiscard]] inline bool write_or_bus(std::byte* at, std::byte value) {
  return or_bus([=] { *const_cast<volatile std::byte*>(at) = value; });
}

}  // namespace userfault::test
