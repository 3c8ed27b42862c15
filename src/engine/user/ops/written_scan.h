// SPDX-License-Identifier: Apache-2.0
// PAGEMAP_SCAN over memory that the user engine serves.
#pragma once

#include <cstdint>

#include "userfault/abi.h"

namespace userfault::engine::user {

// The count of regions written, or -errno. A range without served memory goes to the kernel.
[[nodiscard]] long scan(userfault_scan* request) noexcept;
// Whether the page at `address` is write-protected by the engine: bit 57 of /proc/PID/pagemap.
[[nodiscard]] bool is_write_protected(std::uintptr_t address) noexcept;

}  // namespace userfault::engine::user
