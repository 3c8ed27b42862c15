// SPDX-License-Identifier: Apache-2.0
// /proc/self/pagemap: what this process's page table has at an address
// (Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/user/rt/page_size.h"

namespace userfault::engine::user {

// Bits of an entry.
inline constexpr std::uint64_t kEntryPresent = std::uint64_t{1} << 63;
inline constexpr std::uint64_t kEntrySwapped = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kEntryOfFile = std::uint64_t{1} << 61;
inline constexpr std::uint64_t kEntryGuard = std::uint64_t{1} << 58;           // since Linux 6.15, beside kEntrySwapped
inline constexpr std::uint64_t kEntryWriteProtected = std::uint64_t{1} << 57;  // by userfaultfd
inline constexpr std::uint64_t kEntryExclusive = std::uint64_t{1} << 56;       // no other mapping shows the page

// A page, or one that was swapped out.
[[nodiscard]] constexpr bool entry_has_content(std::uint64_t entry) noexcept {
  return (entry & (kEntryPresent | kEntrySwapped)) != 0 && (entry & kEntryGuard) == 0;
}

// Stands for an entry that cannot be read: what may be there is never overwritten.
inline constexpr std::uint64_t kUnknownEntry = kEntryPresent;

struct PopulatedRun {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
};

// The file, open.
class Pagemap {
 public:
  Pagemap() noexcept;
  ~Pagemap();
  Pagemap(const Pagemap&) = delete;
  Pagemap& operator=(const Pagemap&) = delete;

  // -errno when the file could not be opened; then nothing can be read.
  [[nodiscard]] long error() const noexcept { return fd_ < 0 ? fd_ : 0; }
  // The entries of the pages from `start` on, as many as could be read. `base_page` is the kernel's page size.
  [[nodiscard]] std::size_t read(std::uintptr_t start, std::uint64_t* entries, std::size_t count,
                                 std::size_t base_page = kPageSize) const noexcept;
  // The next run of pages from `*at` on that have content. False when there is none before `end`. `page_size`: of the
  // mapping.
  [[nodiscard]] bool next_populated(std::uintptr_t* at, std::uintptr_t end, std::size_t page_size,
                                    PopulatedRun* run) const noexcept;

 private:
  int fd_;
};

// kUnknownEntry when it cannot be read.
[[nodiscard]] std::uint64_t pagemap_entry(std::uintptr_t address) noexcept;

// Whether this process's page table has something at `address`: a page, or one that was swapped out.
[[nodiscard]] bool is_populated(std::uintptr_t address) noexcept;

}  // namespace userfault::engine::user
