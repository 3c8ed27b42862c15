// SPDX-License-Identifier: Apache-2.0
#include "engine/user/memory/address_space.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engine/user/memory/memfd_pool.h"
#include "engine/user/proc/smaps_swap.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/process_identity.h"

namespace userfault::engine::user {

constinit Space space;

namespace {

// Converted or not is for us to know: to the program both are private memory.
bool alike(const Extent& a, const Extent& b) noexcept {
  const auto is_private = [](const Extent& extent) {
    return extent.kind == Kind::kNative || extent.kind == Kind::kConverted;
  };
  return a.kind == b.kind || (is_private(a) && is_private(b));
}

bool is_one_mapping(const Area& area, const Area& next) noexcept {
  if (area.end != next.start || area.instance != next.instance || area.modes != next.modes ||
      area.protection != next.protection || !alike(*area.extent, *next.extent))
    return false;
  if (!area.extent->shared()) return true;
  return area.extent->inode == next.extent->inode && area.extent->device == next.extent->device &&
         area.extent->offset_of(area.first + area.pages()) == next.extent->offset_of(next.first);
}

// Extents come from one reserved array that is never given back: they are few, and a stale pointer
// then never reads unmapped memory.
constexpr std::size_t kMaxExtents = std::size_t{1} << 17;
constinit Extent* extents = nullptr;
constinit std::size_t extents_used = 0;
constinit Extent* extents_free = nullptr;  // linked through `alias`

void* reserve(std::size_t bytes) noexcept {
  const long at = sys::mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at < 0 && at > -4096 ? nullptr : reinterpret_cast<void*>(at);
}

Extent* allocate_extent() noexcept {
  if (Extent* recycled = extents_free; recycled != nullptr) {
    extents_free = reinterpret_cast<Extent*>(recycled->alias);
    recycled->alias = 0;
    return recycled;
  }
  if (extents == nullptr) extents = static_cast<Extent*>(reserve(kMaxExtents * sizeof(Extent)));
  if (extents == nullptr || extents_used == kMaxExtents) return nullptr;
  return &extents[extents_used++];
}

}  // namespace

Area* Space::lower(std::uintptr_t address) noexcept {
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
  Area* area = lower(address);
  return area != end() && area->start <= address ? area : nullptr;
}

long Space::make_room() noexcept {
  if (areas_ == nullptr) areas_ = static_cast<Area*>(reserve(kCapacity * sizeof(Area)));
  return areas_ == nullptr || count_ == kCapacity ? -ENOMEM : 0;
}

long Space::insert(const Area& area) noexcept {
  if (const long result = make_room(); result < 0) return result;
  Area* at = lower(area.start);
  for (Area* move = end(); move != at; --move) *move = move[-1];
  *at = area;
  ++count_;
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
  Area* first = lower(start);
  Area* last = first;
  while (last != end() && last->end <= end_address) drop((last++)->extent);
  const auto removed = static_cast<std::size_t>(last - first);
  for (Area* move = first; move + removed != end(); ++move) *move = move[removed];
  count_ -= removed;
}

Extent* make_extent(Kind kind, std::size_t pages, unsigned page_shift) noexcept {
  Extent* extent = allocate_extent();
  if (extent == nullptr) return nullptr;
  auto* states = static_cast<AtomicPageState*>(reserve(pages));
  if (states == nullptr) {
    extent->references = 1;
    drop(extent);
    return nullptr;
  }
  extent->states = states;
  extent->pages = pages;
  extent->page_shift = page_shift;
  extent->kind = kind;
  extent->guards = page_shift == 12 && (kind == Kind::kConverted || kind == Kind::kShared);
  extent->fd = extent->object = -1;
  extent->seekable = false;
  extent->fd_offset = 0;
  extent->alias = 0;
  extent->device = extent->inode = 0;
  // One page table of guard pages at a time, more where that would still make too many mappings.
  extent->chunk_pages = 512;
  while (pages / extent->chunk_pages > 8192) extent->chunk_pages *= 2;
  extent->references = 0;
  return extent;
}

void hold(Extent* extent) noexcept { ++extent->references; }

void drop(Extent* extent) noexcept {
  if (--extent->references > 0) return;
  if (extent->states != nullptr) sys::munmap(reinterpret_cast<std::uintptr_t>(extent->states), extent->pages);
  if (extent->alias != 0) sys::munmap(extent->alias, extent->pages << extent->page_shift);
  release_place(*extent);
  extent->states = nullptr;
  extent->alias = reinterpret_cast<std::uintptr_t>(extents_free);
  extents_free = extent;
}

void settle(Extent& extent, Run run, PageContent content, bool write_protected) noexcept {
  for (std::size_t i = run.first; i < run.first + run.count; ++i)
    extent.states[i].update([&](PageState state) { return state.finished(content, write_protected); });
  // Both sequentially consistent, as the two in wait_settled: either the sleeper is seen here, or it
  // sees the count, and with it the states.
  extent.settled.fetch_add(1);
  if (extent.settlers.load() != 0) sys::futex_wake(&extent.settled, INT32_MAX);
}

void wait_settled(Extent& extent, const AtomicPageState& state) noexcept {
  for (int spin = 0; spin < 2000; ++spin) {
    if (!state.load().is_busy()) return;
    pause_cpu();
  }
  extent.settlers.fetch_add(1);
  const std::uint32_t seen = extent.settled.load();
  if (state.load().is_busy()) {
    // Bounded, so that a waiter never hangs on an owner that was killed with its thread.
    const timespec bound{.tv_sec = 0, .tv_nsec = 10'000'000};
    sys::futex_wait(&extent.settled, seen, &bound);
  }
  extent.settlers.fetch_sub(1);
}

bool is_served(std::uintptr_t start, std::uintptr_t end) noexcept {
  if (!is_own_process()) return false;
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  const Area* area = space.lower(start);
  return area != space.end() && area->start < end;
}

std::uintptr_t end_of_mapping(const Area& area, std::uintptr_t limit) noexcept {
  const Area* last = &area;
  while (last->end < limit && last + 1 != space.end() && is_one_mapping(*last, last[1])) ++last;
  return last->end;
}

}  // namespace userfault::engine::user
