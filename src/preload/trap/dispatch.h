// SPDX-License-Identifier: Apache-2.0
// A system call by its number, as syscall(3) and as a trapped instruction make it.
#pragma once

#include <span>

// The call through our functions: libc's result, and errno.
extern "C" [[gnu::visibility("hidden")]] long userfault_preload_syscall(long number, long a, long b, long c, long d,
                                                                        long e, long f);

namespace userfault::preload {

inline long preloaded_call(long number, long a, long b, long c, long d, long e, long f) {
  return userfault_preload_syscall(number, a, b, c, d, e, f);
}

// The numbers that are ours to look at.
[[nodiscard]] std::span<const int> taken_numbers() noexcept;

}  // namespace userfault::preload
