// SPDX-License-Identifier: Apache-2.0
// An Extent: a run of pages with a state byte each, and where their content lives. Areas (address_space.h) show it.
//
// Threads: an extent is made, held and dropped under Space::lock exclusive, and read under it shared. Lock order:
// Space::lock, then Extent::protection, then Extent::chunks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "engine/user/memory/memfd_pool.h"
#include "engine/user/memory/page_state.h"
#include "engine/user/rt/lock.h"
#include "engine/user/rt/page_size.h"

namespace userfault::engine::user {

enum class Kind : std::uint8_t {
  kNative,         // private anonymous, registered for write-protect only: stays what it was
  kConverted,      // private anonymous, replaced by a shared memfd of the engine's
  kShared,         // shared memory of the program (shmem of every kind)
  kHugeConverted,  // private hugetlb, replaced by a hugetlb memfd
  kHugeShared,     // shared hugetlb
  kFile,           // any other mapping, under FEATURE_WP_ASYNC
};

struct Extent : MemfdPlace {
  AtomicPageState* states = nullptr;
  std::size_t pages = 0;
  unsigned page_shift = kPageShift;
  Kind kind = Kind::kNative;
  std::atomic<bool> guards{false};  // guard pages work on it
  bool seekable = false;            // `fd` has a file position that the program does not share
  std::uintptr_t alias = 0;         // page 0 seen through a second mapping that is always open; or 0
  std::uint64_t device = 0;         // of the backing file, to know two mappings of one file
  std::uint64_t inode = 0;
  std::size_t chunk_pages = 512;
  Mutex chunks;                                   // held while closed pages are opened
  Mutex protection;                               // held while write protection changes
  std::atomic<std::uint32_t> busy_generation{0};  // a futex: counts how often busy pages were finished
  std::atomic<std::uint32_t> busy_waiters{0};     // threads that sleep on it
  int references = 0;

  [[nodiscard]] bool huge() const noexcept { return kind == Kind::kHugeConverted || kind == Kind::kHugeShared; }
  [[nodiscard]] bool shared() const noexcept { return kind == Kind::kShared || kind == Kind::kHugeShared; }
  [[nodiscard]] bool converted() const noexcept { return kind == Kind::kConverted || kind == Kind::kHugeConverted; }
  [[nodiscard]] std::size_t page_size() const noexcept { return std::size_t{1} << page_shift; }
  [[nodiscard]] std::size_t bytes() const noexcept { return pages << page_shift; }
  [[nodiscard]] std::uintptr_t alias_of(std::size_t page) const noexcept { return alias + (page << page_shift); }
  [[nodiscard]] long offset_of(std::size_t page) const noexcept {
    return fd_offset + static_cast<long>(page << page_shift);
  }
};

// Pages [first, first + count) of an extent.
struct PageRun {
  std::size_t first = 0;
  std::size_t count = 0;

  [[nodiscard]] std::size_t end() const noexcept { return first + count; }
};

// The backing file loses these pages, or these bytes from page 0 on. Of a file without a descriptor it is asked through
// the alias. -errno.
long punch_hole(const Extent& extent, PageRun run) noexcept;
long punch_hole(const Extent& extent, std::size_t at, std::size_t bytes) noexcept;

// An extent with all states zero; null when memory is short. Its first hold() makes it live.
[[nodiscard]] Extent* make_extent(Kind kind, std::size_t pages, unsigned page_shift) noexcept;
void hold(Extent* extent) noexcept;
// The last one gives the extent's memory back, and its place in a memfd.
void drop(Extent* extent) noexcept;

// The owner of busy pages gives them up: their content becomes `content`, with or without write protection, and the
// threads that wait for them go on.
void finish_busy(Extent& extent, PageRun run, PageContent content, bool write_protected) noexcept;
// Sleeps until a busy page of the extent was finished, 10 ms at most. The owner needs no more than the shared lock, so
// this may be called under it.
void wait_while_busy(Extent& extent, const AtomicPageState& state) noexcept;

}  // namespace userfault::engine::user
