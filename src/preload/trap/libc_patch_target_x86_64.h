// SPDX-License-Identifier: Apache-2.0
// The first instructions of libc's short system call functions, and a jump in their place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace userfault::preload {

// mov $number, %eax; syscall. Five bytes, as the jump has.
inline bool makes_call(const unsigned char* code, int number) noexcept {
  std::uint32_t loaded;
  std::memcpy(&loaded, code + 1, sizeof loaded);
  // All in eight bytes that are written at once.
  return reinterpret_cast<std::uintptr_t>(code) % 8 == 0 && code[0] == 0xb8 &&
         loaded == static_cast<std::uint32_t>(number) && code[5] == 0x0f && code[6] == 0x05;
}

struct Jump {
  unsigned char bytes[8];
};

inline bool jump_from(const unsigned char* from, const void* to, Jump* jump) noexcept {
  constexpr int kLength = 5;
  const auto distance = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(to) -
                                                  (reinterpret_cast<std::uintptr_t>(from) + kLength));
  const auto near = static_cast<std::int32_t>(distance);
  if (near != distance) return false;
  std::memcpy(jump->bytes, from, sizeof jump->bytes);
  jump->bytes[0] = 0xe9;
  std::memcpy(jump->bytes + 1, &near, sizeof near);
  return true;
}

// Release, in one store: another thread runs the old instruction or the new one.
inline void put(unsigned char* code, const Jump& jump) noexcept {
  std::uint64_t word;
  std::memcpy(&word, jump.bytes, sizeof word);
  __atomic_store_n(reinterpret_cast<std::uint64_t*>(code), word, __ATOMIC_RELEASE);
}

}  // namespace userfault::preload
