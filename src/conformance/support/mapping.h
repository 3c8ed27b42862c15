// SPDX-License-Identifier: Apache-2.0
// Memory under test, and what it holds.
//
// A Mapping is never unmapped by its destructor: the process of the test ends soon, and memory that
// an engine watches is only changed through the userfault_* calls, by the test itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "support/context.h"

namespace userfault::conformance {

// A piece of memory as the operations take it.
struct Range {
  std::uintptr_t start;
  std::size_t length;

  friend bool operator==(const Range&, const Range&) = default;
};

class Mapping {
 public:
  // `pages` pages of the context's backing, none of them populated. Throws Skip when the machine
  // has no such memory for this user (huge pages), Broken when it should have.
  Mapping(const Context& context, std::size_t pages);

  [[nodiscard]] std::size_t page_size() const { return page_size_; }
  [[nodiscard]] std::size_t pages() const { return pages_; }
  [[nodiscard]] std::size_t size() const { return pages_ * page_size_; }
  [[nodiscard]] char* page(std::size_t index) const { return view_ + index * page_size_; }
  [[nodiscard]] Range all() const { return range(0, pages_); }
  [[nodiscard]] Range range(std::size_t first, std::size_t count) const {
    return {reinterpret_cast<std::uintptr_t>(page(first)), count * page_size_};
  }
  // The same page in a second view of the same memory; only of shared backings.
  [[nodiscard]] char* alias(std::size_t index) const;
  // The file that backs it, or -1 (anonymous, System V).
  [[nodiscard]] int file() const { return file_; }

 private:
  void map(const Context& context);

  std::size_t page_size_;
  std::size_t pages_;
  char* view_ = nullptr;
  char* alias_ = nullptr;
  int file_ = -1;
};

// Reproducible content that differs in every word: `seed` tells pages apart.
[[nodiscard]] std::uint64_t pattern_word(std::uint64_t seed, std::size_t index);
void fill_pattern(void* memory, std::size_t bytes, std::uint64_t seed);
// A buffer, aligned to a page, that holds the pattern.
[[nodiscard]] std::vector<std::uint64_t> pattern(std::size_t bytes, std::uint64_t seed);
// Compares every word; the first one that differs is a failure of the test. The memory must be
// present: a read of a missing page would wait.
void expect_pattern(const void* memory, std::size_t bytes, std::uint64_t seed);
void expect_zero(const void* memory, std::size_t bytes);

}  // namespace userfault::conformance
