// SPDX-License-Identifier: Apache-2.0
// Address space for a table that grows: its memory is taken page by page, when it is first written.
#pragma once

#include <sys/mman.h>

#include <cstddef>

#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

// Zeroes; null when there is no room.
[[nodiscard]] inline void* reserve_memory(std::size_t bytes) noexcept {
  const long at = sys::mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return is_error(at) ? nullptr : reinterpret_cast<void*>(at);
}

}  // namespace userfault::engine::user
