// SPDX-License-Identifier: Apache-2.0
// /proc/self/pagemap as the program would see it with the kernel's userfaultfd: bit 57 and
// PAGEMAP_SCAN tell the user engine's write protection (Documentation/admin-guide/mm/pagemap.rst).
//
// A descriptor of it is known by its link in /proc/self/fd, asked for only while the user engine is
// active, for numbers that are marked (numbers.h) and for reads of whole entries. For another process's
// pagemap the kernel's answer stands.
#pragma once

#include <sys/types.h>

namespace userfault::preload {

// Mends `bytes` of entries that were read at `offset` of `fd`, or at its position before it moved.
void mend_pagemap(int fd, void* entries, ssize_t bytes, off_t offset) noexcept;
inline constexpr off_t kAtPosition = -1;

[[nodiscard]] bool is_own_pagemap(int fd) noexcept;

}  // namespace userfault::preload
