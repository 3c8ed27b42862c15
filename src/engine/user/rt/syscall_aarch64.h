// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace userfault::engine::user {

// Where user space ends: 48 bits of address.
inline constexpr std::uint64_t kTaskSize = 0x1000000000000;

inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) noexcept {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
  return x0;
}

}  // namespace userfault::engine::user
