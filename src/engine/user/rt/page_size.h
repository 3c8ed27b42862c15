// SPDX-License-Identifier: Apache-2.0
// The size of a small page. userfaultfd and the page table's formats that the engine reads count in these, and the
// engine runs where the kernel's base page has this size.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user {

inline constexpr unsigned kPageShift = 12;
inline constexpr std::size_t kPageSize = std::size_t{1} << kPageShift;

[[nodiscard]] constexpr std::uintptr_t page_offset(std::uintptr_t address) noexcept { return address % kPageSize; }
[[nodiscard]] constexpr bool is_page_aligned(std::uintptr_t address) noexcept { return page_offset(address) == 0; }
// Wraps to 0 behind the last page.
[[nodiscard]] constexpr std::uintptr_t round_up_to_page(std::uintptr_t value) noexcept {
  return (value + kPageSize - 1) & ~(kPageSize - 1);
}

}  // namespace userfault::engine::user
