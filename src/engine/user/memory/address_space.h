// SPDX-License-Identifier: Apache-2.0
// The memory that the user engine serves: areas (what the kernel calls VMAs), the extents that hold
// their pages' states, and the table that finds them.
//
// An Extent is a run of pages with a state byte each, and where their content lives. An Area is the
// address range through which a part of an extent is seen, with its modes and the protection that
// the program asked for. mremap moves areas and leaves extents alone; mprotect splits areas.
//
// What a page's protection must be follows from its state: nothing while it is missing, busy or
// poisoned, what the program asked for without PROT_WRITE while it is write-protected, else what
// the program asked for. Changing one mapping a page would exceed vm.max_map_count on a random
// walk, so an extent is opened in chunks whose missing pages are guard pages (MADV_GUARD_INSTALL,
// Linux 6.13 for anonymous memory, 6.15 for files), which live in the page table and split nothing.
//
// Locking: the table is read under Space::lock shared and changed under it exclusive. A page's
// state changes by atomic operations; whoever has made it busy owns it until it settles.
#pragma once

#include <atomic>

#include "engine/user/memory/page_state.h"
#include "engine/user/rt/lock.h"
#include "userfault/abi.h"

namespace userfault::engine::user {

struct Instance;

enum class Kind : std::uint8_t {
  kNative,         // private anonymous, registered for write-protect only: stays what it was
  kConverted,      // private anonymous, replaced by a shared memfd that is ours
  kShared,         // shared memory of the program (shmem of every kind)
  kHugeConverted,  // private hugetlb, replaced by a hugetlb memfd
  kHugeShared,     // shared hugetlb
  kFile,           // any other mapping, under FEATURE_WP_ASYNC
};

struct Extent {
  AtomicPageState* states = nullptr;
  std::size_t pages = 0;
  unsigned page_shift = 12;
  Kind kind = Kind::kNative;
  std::atomic<bool> guards{false};  // guard pages work on it
  int fd = -1;                      // the object behind it, where we have it
  bool seekable = false;            // whose position is not the program's
  long fd_offset = 0;               // of page 0, in bytes
  int object = -1;                  // which of ours, shared with other extents perhaps (objects.h)
  std::uintptr_t alias = 0;         // page 0 seen through a second mapping that is always open; or 0
  std::uint64_t device = 0;         // of the object, to know two mappings of one object
  std::uint64_t inode = 0;
  std::size_t chunk_pages = 512;
  Mutex chunks;                            // held while closed pages are opened
  Mutex protection;                        // held while write protection changes
  std::atomic<std::uint32_t> settled{0};   // a futex: counts busy pages that settled
  std::atomic<std::uint32_t> settlers{0};  // threads that sleep on it
  int references = 0;

  [[nodiscard]] bool huge() const noexcept { return kind == Kind::kHugeConverted || kind == Kind::kHugeShared; }
  [[nodiscard]] bool shared() const noexcept { return kind == Kind::kShared || kind == Kind::kHugeShared; }
  [[nodiscard]] bool converted() const noexcept { return kind == Kind::kConverted || kind == Kind::kHugeConverted; }
  [[nodiscard]] std::size_t page_size() const noexcept { return std::size_t{1} << page_shift; }
  [[nodiscard]] std::uintptr_t alias_of(std::size_t page) const noexcept { return alias + (page << page_shift); }
  [[nodiscard]] long offset_of(std::size_t page) const noexcept {
    return fd_offset + static_cast<long>(page << page_shift);
  }
};

struct Area {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  Extent* extent = nullptr;
  std::size_t first = 0;         // the extent's page at `start`
  Instance* instance = nullptr;  // null: registered with nobody, but still converted or poisoned
  std::uint32_t modes = 0;       // USERFAULT_REGISTER_MODE_*
  int protection = 0;            // what the program asked for, PROT_*
  bool dont_fork = false;        // MADV_DONTFORK: a child is to have nothing here

  [[nodiscard]] std::size_t page_at(std::uintptr_t address) const noexcept {
    return first + ((address - start) >> extent->page_shift);
  }
  [[nodiscard]] std::uintptr_t address_of(std::size_t page_index) const noexcept {
    return start + ((page_index - first) << extent->page_shift);
  }
  [[nodiscard]] std::size_t pages() const noexcept { return (end - start) >> extent->page_shift; }
  [[nodiscard]] AtomicPageState& state(std::size_t page_index) const noexcept { return extent->states[page_index]; }
};

// Pages [first, first + count) of one area's extent.
struct Run {
  std::size_t first = 0;
  std::size_t count = 0;
};

class Space {
 public:
  SharedMutex lock;

  // Under the lock, shared or exclusive. The area with `address`, or null.
  [[nodiscard]] Area* find(std::uintptr_t address) noexcept;
  // The first area that ends behind `address`; end() when there is none.
  [[nodiscard]] Area* lower(std::uintptr_t address) noexcept;
  // Without the lock, at the cost of a few loads: true when no area has an address in [start, end). False may
  // also mean that a writer was under way.
  [[nodiscard]] bool has_none_in(std::uintptr_t start, std::uintptr_t end) noexcept;
  [[nodiscard]] Area* begin() noexcept { return areas_; }
  [[nodiscard]] Area* end() noexcept { return areas_ + count_; }

  // Under the exclusive lock. -ENOMEM when there is no room for another area: what cannot be undone asks
  // before it is done.
  [[nodiscard]] long make_room() noexcept;
  // Under the exclusive lock. -ENOMEM when the table is full or cannot be had.
  [[nodiscard]] long insert(const Area& area) noexcept;
  // Cuts the areas at `address`, so that one begins there. -EINVAL inside a huge page, -ENOMEM.
  [[nodiscard]] long split(std::uintptr_t address) noexcept;
  // Forgets [start, end), which must fall on area borders (split first).
  void erase(std::uintptr_t start, std::uintptr_t end) noexcept;

 private:
  static constexpr std::size_t kCapacity = std::size_t{1} << 17;
  Area* areas_ = nullptr;
  std::size_t count_ = 0;
};

extern Space space;

// Where the kernel's mapping ends that `area` is a part of, as far as can be known (docs/divergences.md, REG-10);
// nobody looks further than `limit`. Under the lock.
[[nodiscard]] std::uintptr_t end_of_mapping(const Area& area, std::uintptr_t limit) noexcept;

// Whether areas of ours lie in [start, end): what all of the above ask first, and whoever else looks into the
// table from outside. Not in a copy of the process that was made past us (a raw clone(2)), where the table, its
// lock and the objects are the parent's.
[[nodiscard]] bool is_served(std::uintptr_t start, std::uintptr_t end) noexcept;

// Cuts at both ends of a range. Under the exclusive lock; the errors of Space::split.
[[nodiscard]] inline long cut_at(std::uintptr_t start, std::uintptr_t end) noexcept {
  const long result = space.split(start);
  return result < 0 ? result : space.split(end);
}

// An extent with all states zero; null when memory is short. Exclusive lock.
[[nodiscard]] Extent* make_extent(Kind kind, std::size_t pages, unsigned page_shift) noexcept;
void hold(Extent* extent) noexcept;
void drop(Extent* extent) noexcept;

// Ends the busy state: the content becomes `content`, with or without write protection.
void settle(Extent& extent, Run run, PageContent content, bool write_protected) noexcept;
// Sleeps until a busy page of the extent settled. The owner needs no more than the shared lock, so
// this may be called under it.
void wait_settled(Extent& extent, const AtomicPageState& state) noexcept;

}  // namespace userfault::engine::user
