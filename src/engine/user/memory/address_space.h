// SPDX-License-Identifier: Apache-2.0
// The memory that the user engine serves: areas (what the kernel calls VMAs), and the table that finds them.
//
// An Area is the address range through which a part of an extent (extent.h) is seen, with its modes and the
// protection that the program asked for. mremap moves areas and leaves extents alone; mprotect splits areas.
//
// What a page's protection must be follows from its state: nothing while it is missing, busy or
// poisoned, what the program asked for without PROT_WRITE while it is write-protected, else what
// the program asked for. Changing one mapping a page would exceed vm.max_map_count on a random
// walk, so an extent is opened in chunks whose missing pages are guard pages (MADV_GUARD_INSTALL,
// Linux 6.13 for anonymous memory, 6.15 for files), which live in the page table and split nothing.
//
// Locking: the table is read under Space::lock shared and changed under it exclusive. A page's
// state changes by atomic operations; the thread that has made it busy owns it until it finishes it.
#pragma once

#include "engine/user/memory/extent.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/lock.h"
#include "userfault/abi.h"

namespace userfault::engine::user {

struct Instance;

// The modes in which the engine has to notice pages that are not there.
inline constexpr std::uint32_t kTrackingModes = USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_MINOR;

struct Area {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  Extent* extent = nullptr;
  std::size_t first = 0;         // the extent's page at `start`
  Instance* instance = nullptr;  // null: not registered, but still converted or poisoned
  std::uint32_t modes = 0;       // USERFAULT_REGISTER_MODE_*
  int protection = 0;            // what the program asked for, PROT_*
  bool dont_fork = false;        // MADV_DONTFORK: a child is to have nothing here

  [[nodiscard]] std::size_t page_at(std::uintptr_t address) const noexcept {
    USERFAULT_INVARIANT(address >= start && address < end, "an area was asked for a page outside of it");
    return first + ((address - start) >> extent->page_shift);
  }
  [[nodiscard]] std::uintptr_t address_of(std::size_t page_index) const noexcept {
    return start + ((page_index - first) << extent->page_shift);
  }
  [[nodiscard]] bool is_tracked() const noexcept { return instance != nullptr && (modes & kTrackingModes) != 0; }
  [[nodiscard]] std::size_t bytes() const noexcept { return end - start; }
  [[nodiscard]] std::size_t pages() const noexcept { return (end - start) >> extent->page_shift; }
  [[nodiscard]] AtomicPageState& state(std::size_t page_index) const noexcept { return extent->states[page_index]; }
};

class Space {
 public:
  SharedMutex lock;

  // Under the lock, shared or exclusive. The area with `address`, or null.
  [[nodiscard]] Area* find(std::uintptr_t address) noexcept;
  // The same where the caller knows that there is one.
  [[nodiscard]] Area& at(std::uintptr_t address) noexcept;
  // The first area that ends behind `address`; end() when there is none.
  [[nodiscard]] Area* first_ending_after(std::uintptr_t address) noexcept;
  // Without the lock, at the cost of a few loads: true when no area has an address in [start, end). False may
  // also mean that a writer was under way.
  [[nodiscard]] bool has_none_in(std::uintptr_t start, std::uintptr_t end) noexcept;
  [[nodiscard]] Area* begin() noexcept { return areas_; }
  [[nodiscard]] Area* end() noexcept { return areas_ + count_; }

  // Under the exclusive lock. -ENOMEM when there is no room for another area: a caller asks before it does what it
  // cannot undo.
  [[nodiscard]] long make_room() noexcept;
  // Under the exclusive lock. -ENOMEM when the table is full or cannot be had.
  [[nodiscard]] long insert(const Area& area) noexcept;
  // Cuts the areas at `address`, so that one begins there. -EINVAL inside a huge page, -ENOMEM.
  [[nodiscard]] long split(std::uintptr_t address) noexcept;
  // Forgets [start, end), which must fall on area borders (split first).
  void erase(std::uintptr_t start, std::uintptr_t end) noexcept;

 private:
  void check_neighbours(const Area* area) noexcept;

  static constexpr std::size_t kCapacity = std::size_t{1} << 17;
  Area* areas_ = nullptr;
  std::size_t count_ = 0;
};

extern Space space;

// A part of an address range that lies in one area, or in one gap between areas.
struct Piece {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  Area* area = nullptr;  // null: a gap

  [[nodiscard]] std::size_t bytes() const noexcept { return end - start; }
  // Of a piece in an area, where both ends lie between pages.
  [[nodiscard]] PageRun pages() const noexcept {
    USERFAULT_INVARIANT(area != nullptr, "a gap between areas was asked for its pages");
    return {area->page_at(start), bytes() >> area->extent->page_shift};
  }
};

// The first piece of [start, end), which is not empty. Under the lock.
[[nodiscard]] Piece piece_at(std::uintptr_t start, std::uintptr_t end) noexcept;

// Calls visit(piece) for each piece of [start, end), in order; the first error that one returns ends the walk. Under
// the lock. Where a piece ends is looked up before it is visited, the next one after, so that a visit may change the
// table in its own piece.
template <typename Visit>
long for_each_piece(std::uintptr_t start, std::uintptr_t end, Visit visit) noexcept {
  while (start < end) {
    const Piece piece = piece_at(start, end);
    if (const long result = visit(piece); is_error(result)) return result;
    start = piece.end;
  }
  return 0;
}

// The same for each area that has a page in [start, end): the whole of it, also where the range begins or ends inside.
template <typename Visit>
long for_each_area(std::uintptr_t start, std::uintptr_t end, Visit visit) noexcept {
  for (;;) {
    Area* area = space.first_ending_after(start);
    if (area == space.end() || area->start >= end) return 0;
    start = area->end;
    if (const long result = visit(*area); is_error(result)) return result;
  }
}
inline constexpr std::uintptr_t kLastAddress = UINTPTR_MAX;

// Where the kernel's mapping ends that `area` is a part of, as far as can be known (docs/divergences.md, REG-10), or
// an address at or behind `limit`. Under the lock.
[[nodiscard]] std::uintptr_t end_of_mapping(const Area& area, std::uintptr_t limit) noexcept;

// Whether an area lies in [start, end): what every caller asks first that does not hold the lock. False in a copy of
// the process that a raw clone(2) made, where the table, its lock and the memfds are the parent's.
[[nodiscard]] bool is_served(std::uintptr_t start, std::uintptr_t end) noexcept;

// Cuts at both ends of a range. Under the exclusive lock; the errors of Space::split.
[[nodiscard]] inline long cut_at(std::uintptr_t start, std::uintptr_t end) noexcept {
  const long result = space.split(start);
  return result < 0 ? result : space.split(end);
}

}  // namespace userfault::engine::user
