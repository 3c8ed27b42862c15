// SPDX-License-Identifier: Apache-2.0
// Which pages of a buffer hold zeroes only: they need no copy.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace userfault::pager {

// A run of zero pages inside other data is worth an operation of its own from here on.
inline constexpr std::size_t kShortestZeroRun = 4;

// memcmp of the bytes with themselves, one later: as fast as the C library, and most pages differ in
// the first word.
[[nodiscard]] inline bool all_zero(const std::byte* bytes, std::size_t length) {
  std::uint64_t first;
  std::memcpy(&first, bytes, sizeof first);
  return first == 0 && std::memcmp(bytes, bytes + sizeof first, length - sizeof first) == 0;
}

struct Alike {
  std::size_t pages;
  bool zero;
};

// The longest run of one kind that `bytes` begins with. Short runs of zero pages count as data.
[[nodiscard]] inline Alike next_alike(const std::byte* bytes, std::size_t pages, std::size_t page_size) {
  USERFAULT_CHECK(pages != 0 && page_size > sizeof(std::uint64_t), "no page at all is looked at");
  const auto zero_at = [&](std::size_t i) { return all_zero(bytes + i * page_size, page_size); };
  std::size_t zeroes = 0;
  while (zeroes < pages && zero_at(zeroes)) ++zeroes;
  if (zeroes >= std::min(kShortestZeroRun, pages)) return {zeroes, true};
  std::size_t tail = 0;
  for (std::size_t i = zeroes; i < pages; ++i) {
    tail = zero_at(i) ? tail + 1 : 0;
    if (tail == kShortestZeroRun) return {i + 1 - tail, false};
  }
  return {pages, false};
}

}  // namespace userfault::pager
