// SPDX-License-Identifier: Apache-2.0
// /proc/self/pagemap: what this process's page table has at an address.
#pragma once

#include <cstdint>

namespace userfault::engine::user {

// What an entry of /proc/self/pagemap says: bit 63, a page; bit 62, one that was swapped out; but a
// guard page, bit 58 since Linux 6.15, sets bit 62 too (Documentation/admin-guide/mm/pagemap.rst).
[[nodiscard]] constexpr bool entry_has_content(std::uint64_t entry) noexcept {
  return (entry >> 62) != 0 && (entry & (std::uint64_t{1} << 58)) == 0;
}

// Counts as a page: what may be there is never overwritten.
inline constexpr std::uint64_t kUnknownEntry = std::uint64_t{1} << 63;
// kUnknownEntry when it cannot be read.
[[nodiscard]] std::uint64_t pagemap_entry(std::uintptr_t address) noexcept;

// Whether this process's page table has something at `address`: a page, or one that was swapped out.
[[nodiscard]] bool is_populated(std::uintptr_t address) noexcept;

}  // namespace userfault::engine::user
