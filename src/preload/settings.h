// SPDX-License-Identifier: Apache-2.0
// What the environment asks of the preload library. Read once; any thread.
#pragma once

#include <cstdint>

namespace userfault::preload {

enum class Choice : std::uint8_t { kAutomatic, kUser, kKernel };

struct Settings {
  Choice choice = Choice::kAutomatic;
  bool trap = true;           // system calls that go past libc are to be seen (trap.h)
  const char* log = nullptr;  // a path, "-" for standard error, null for none
};

[[nodiscard]] const Settings& settings() noexcept;

// One line, cut at 400 bytes, in the log if there is one. Signal-safe; keeps errno.
[[gnu::format(printf, 1, 2)]] void log_line(const char* format, ...) noexcept;

}  // namespace userfault::preload
