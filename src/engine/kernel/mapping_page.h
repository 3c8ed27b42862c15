// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::kernel {

// The page size in bytes of the mapping at `address`, from "KernelPageSize" in /proc/self/smaps; the
// system's where that cannot be read.
[[nodiscard]] std::size_t mapping_page_size(std::uintptr_t address) noexcept;

}  // namespace userfault::engine::kernel
