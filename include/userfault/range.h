// SPDX-License-Identifier: Apache-2.0
// A span of addresses in the memory that a userfaultfd serves.
//
// It is a plain value and checks nothing: the engine does, exactly as the kernel would (a start or
// length that is no multiple of the page size, zero or wrapping gives EINVAL).
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault {

struct PageRange {
  std::uintptr_t start = 0;  // bytes; a multiple of the page size
  std::size_t length = 0;    // bytes; a multiple of the page size

  [[nodiscard]] static PageRange of(const void* start, std::size_t length) noexcept {
    return {reinterpret_cast<std::uintptr_t>(start), length};
  }
  [[nodiscard]] std::uintptr_t end() const noexcept { return start + length; }
  [[nodiscard]] bool contains(std::uintptr_t address) const noexcept { return address - start < length; }
  [[nodiscard]] void* data() const noexcept { return reinterpret_cast<void*>(start); }
  // The part from `offset` to the end, or nothing when offset reaches it.
  [[nodiscard]] PageRange from(std::size_t offset) const noexcept {
    return offset < length ? PageRange{start + offset, length - offset} : PageRange{end(), 0};
  }
  friend bool operator==(const PageRange&, const PageRange&) = default;
};

}  // namespace userfault
