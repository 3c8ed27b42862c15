// SPDX-License-Identifier: Apache-2.0
// PAGEMAP_SCAN over memory that the user engine serves.
#pragma once

#include "userfault/abi.h"

namespace userfault::engine::user {

// The count of regions written, or -errno. A range without served memory goes to the kernel.
[[nodiscard]] long scan(userfault_scan* request) noexcept;

}  // namespace userfault::engine::user
