// SPDX-License-Identifier: Apache-2.0
#include "engine/user/memory/address_space.h"

#include <cerrno>

#include "engine/user/rt/process_identity.h"
#include "engine/user/rt/reserve.h"

namespace userfault::engine::user {

constinit Space space;

namespace {

// Whether the program sees one kind of memory: that some of it is converted shows nowhere.
bool are_one_kind(const Extent& a, const Extent& b) noexcept {
  const auto is_private = [](const Extent& extent) {
    return extent.kind == Kind::kNative || extent.kind == Kind::kConverted;
  };
  return a.kind == b.kind || (is_private(a) && is_private(b));
}

// Whether the program sees `next` as a part of the mapping of `area`.
bool continues(const Area& area, const Area& next) noexcept {
  if (area.end != next.start || area.instance != next.instance || area.modes != next.modes ||
      area.protection != next.protection || !are_one_kind(*area.extent, *next.extent))
    return false;
  if (!area.extent->shared()) return true;
  return area.extent->inode == next.extent->inode && area.extent->device == next.extent->device &&
         area.extent->offset_of(area.first + area.pages()) == next.extent->offset_of(next.first);
}

}  // namespace

Area* Space::first_ending_after(std::uintptr_t address) noexcept {
  USERFAULT_INVARIANT(lock.is_held(), "the table of areas was read without its lock");
  std::size_t low = 0;
  std::size_t high = count_;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (areas_[middle].end <= address) low = middle + 1;
    else high = middle;
  }
  return areas_ + low;
}

bool Space::has_none_in(std::uintptr_t start, std::uintptr_t end) noexcept {
  const std::uint32_t begun = lock.begin_look();
  // A writer may be moving areas meanwhile: each word is read once, and what they say counts only afterwards.
  const auto read = [](auto& word) { return std::atomic_ref(word).load(std::memory_order_relaxed); };
  Area* const areas = read(areas_);
  std::size_t low = 0;
  std::size_t high = areas != nullptr ? read(count_) : 0;
  const std::size_t count = high;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (read(areas[middle].end) <= start) low = middle + 1;
    else high = middle;
  }
  const bool none = low == count || read(areas[low].start) >= end;
  return none && lock.looked_at_whole(begun);
}

Area* Space::find(std::uintptr_t address) noexcept {
  Area* area = first_ending_after(address);
  return area != end() && area->start <= address ? area : nullptr;
}

Area& Space::at(std::uintptr_t address) noexcept {
  Area* area = find(address);
  USERFAULT_INVARIANT(area != nullptr, "there is no area where its caller knows of one");
  return *area;
}

long Space::make_room() noexcept {
  USERFAULT_INVARIANT(lock.is_held_exclusively(), "the table of areas was changed without its lock");
  if (areas_ == nullptr) areas_ = static_cast<Area*>(reserve_memory(kCapacity * sizeof(Area)));
  return areas_ == nullptr || count_ == kCapacity ? -ENOMEM : 0;
}

// Sorted and disjoint.
void Space::check_neighbours(const Area* area) noexcept {
  USERFAULT_INVARIANT(area == begin() || area[-1].end <= area->start, "an area overlaps the one before it");
  USERFAULT_INVARIANT(area + 1 == end() || area->end <= area[1].start, "an area overlaps the one behind it");
}

long Space::insert(const Area& area) noexcept {
  USERFAULT_INVARIANT(area.start < area.end && area.extent != nullptr, "an area was inserted that is empty");
  USERFAULT_INVARIANT(((area.start | area.end) & (area.extent->page_size() - 1)) == 0,
                      "an area was inserted that does not lie between pages");
  USERFAULT_INVARIANT(area.first + area.pages() <= area.extent->pages,
                      "an area was inserted that its extent is short of");
  if (const long result = make_room(); result < 0) return result;
  Area* at = first_ending_after(area.start);
  for (Area* move = end(); move != at; --move) *move = move[-1];
  *at = area;
  ++count_;
  check_neighbours(at);
  hold(area.extent);
  return 0;
}

long Space::split(std::uintptr_t address) noexcept {
  Area* area = find(address);
  if (area == nullptr || area->start == address) return 0;
  if ((address & (area->extent->page_size() - 1)) != 0) return -EINVAL;  // hugetlb_vm_op_split
  Area upper = *area;
  upper.first = area->page_at(address);
  upper.start = address;
  area->end = address;
  const long result = insert(upper);
  if (result < 0) area->end = upper.end;
  return result;
}

void Space::erase(std::uintptr_t start, std::uintptr_t end_address) noexcept {
  USERFAULT_INVARIANT(lock.is_held_exclusively(), "the table of areas was changed without its lock");
  Area* first = first_ending_after(start);
  USERFAULT_INVARIANT(first == end() || first->start >= start, "areas were erased from the middle of one on");
  Area* last = first;
  while (last != end() && last->end <= end_address) drop((last++)->extent);
  USERFAULT_INVARIANT(last == end() || last->start >= end_address, "areas were erased to the middle of one");
  const auto removed = static_cast<std::size_t>(last - first);
  for (Area* move = first; move + removed != end(); ++move) *move = move[removed];
  count_ -= removed;
}

Piece piece_at(std::uintptr_t start, std::uintptr_t end) noexcept {
  USERFAULT_INVARIANT(start < end, "an empty range was asked for its first piece");
  Area* area = space.first_ending_after(start);
  if (area == space.end() || area->start >= end) return {.start = start, .end = end};
  if (area->start > start) return {.start = start, .end = area->start};
  return {.start = start, .end = area->end < end ? area->end : end, .area = area};
}

bool is_served(std::uintptr_t start, std::uintptr_t end) noexcept {
  if (!is_own_process()) return false;
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  const Area* area = space.first_ending_after(start);
  return area != space.end() && area->start < end;
}

std::uintptr_t end_of_mapping(const Area& area, std::uintptr_t limit) noexcept {
  const Area* last = &area;
  while (last->end < limit && last + 1 != space.end() && continues(*last, last[1])) ++last;
  return last->end;
}

}  // namespace userfault::engine::user
