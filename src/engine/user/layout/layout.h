// SPDX-License-Identifier: Apache-2.0
// Layout changes: munmap, mmap over, mremap, madvise, mprotect, as the contract has them. Each does
// the system call and keeps areas, states and events right around it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user::layout {

[[nodiscard]] std::intptr_t mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd,
                                 off_t offset) noexcept;
[[nodiscard]] int munmap(std::uintptr_t start, std::size_t length) noexcept;
[[nodiscard]] std::intptr_t mremap(std::uintptr_t from, std::size_t old_length, std::size_t new_length, int flags,
                                   std::uintptr_t to) noexcept;
[[nodiscard]] int madvise(std::uintptr_t start, std::size_t length, int advice) noexcept;
[[nodiscard]] int mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept;

// Takes what was unmapped, [start, end), out of the table, and its memory from our objects. Under the
// exclusive lock; it was cut at both ends.
void forget_areas(std::uintptr_t start, std::uintptr_t end) noexcept;

}  // namespace userfault::engine::user::layout
