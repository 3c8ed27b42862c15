// SPDX-License-Identifier: Apache-2.0
// /proc/self/pagemap as the program would see it with the kernel's userfaultfd: bit 57 and
// PAGEMAP_SCAN tell the user engine's write protection (Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace userfault::preload {

// PAGEMAP_SCAN on `fd`: 0 or more, or -errno.
[[nodiscard]] int scan_pagemap(int fd, void* argument) noexcept;

}  // namespace userfault::preload
