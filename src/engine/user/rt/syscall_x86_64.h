// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace userfault::engine::user {

// Where user space ends: TASK_SIZE_MAX with four levels of page tables, above which the kernel gives nothing
// out that was not asked for.
inline constexpr std::uint64_t kTaskSize = 0x7ffffffff000;

inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) noexcept {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

}  // namespace userfault::engine::user
