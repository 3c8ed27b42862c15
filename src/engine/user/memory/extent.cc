// SPDX-License-Identifier: Apache-2.0
#include "engine/user/memory/extent.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/user/rt/check.h"
#include "engine/user/rt/reserve.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

// Extents come from one reserved array that is never given back: they are few, and a stale pointer
// then never reads unmapped memory.
constexpr std::size_t kMaxExtents = std::size_t{1} << 17;
constinit Extent* extents = nullptr;
constinit std::size_t extents_used = 0;
constinit Extent* extents_free = nullptr;  // linked through `alias`

Extent* allocate_extent() noexcept {
  if (Extent* recycled = extents_free; recycled != nullptr) {
    USERFAULT_INVARIANT(recycled->references == 0 && recycled->states == nullptr, "a free extent is in use");
    extents_free = reinterpret_cast<Extent*>(recycled->alias);
    recycled->alias = 0;
    return recycled;
  }
  if (extents == nullptr) extents = static_cast<Extent*>(reserve_memory(kMaxExtents * sizeof(Extent)));
  if (extents == nullptr || extents_used == kMaxExtents) return nullptr;
  return &extents[extents_used++];
}

}  // namespace

Extent* make_extent(Kind kind, std::size_t pages, unsigned page_shift) noexcept {
  USERFAULT_INVARIANT(pages != 0 && page_shift >= kPageShift, "an extent was made without pages");
  Extent* extent = allocate_extent();
  if (extent == nullptr) return nullptr;
  auto* states = static_cast<AtomicPageState*>(reserve_memory(pages));
  if (states == nullptr) {
    extent->references = 1;
    drop(extent);
    return nullptr;
  }
  extent->states = states;
  extent->pages = pages;
  extent->page_shift = page_shift;
  extent->kind = kind;
  extent->guards = page_shift == kPageShift && (kind == Kind::kConverted || kind == Kind::kShared);
  static_cast<MemfdPlace&>(*extent) = {};
  extent->seekable = false;
  extent->alias = 0;
  extent->device = extent->inode = 0;
  // One page table of guard pages at a time, more where that would still make too many mappings.
  extent->chunk_pages = 512;
  while (pages / extent->chunk_pages > 8192) extent->chunk_pages *= 2;
  extent->references = 0;
  return extent;
}

void hold(Extent* extent) noexcept {
  USERFAULT_INVARIANT(extent->states != nullptr && extent->references >= 0, "an extent was held that is not in use");
  ++extent->references;
}

void drop(Extent* extent) noexcept {
  USERFAULT_INVARIANT(extent->references > 0, "an extent was dropped more often than held");
  if (--extent->references > 0) return;
  if (extent->states != nullptr) sys::munmap(reinterpret_cast<std::uintptr_t>(extent->states), extent->pages);
  if (extent->alias != 0) sys::munmap(extent->alias, extent->bytes());
  release_place(*extent, extent->bytes());
  extent->states = nullptr;
  extent->alias = reinterpret_cast<std::uintptr_t>(extents_free);
  extents_free = extent;
}

long punch_hole(const Extent& extent, std::size_t at, std::size_t bytes) noexcept {
  USERFAULT_INVARIANT(at <= extent.bytes() && bytes <= extent.bytes() - at, "a hole reaches out of its extent");
  const long result =
      extent.fd < 0 ? -EBADF : sys::punch_hole(extent.fd, extent.fd_offset + static_cast<long>(at), bytes);
  return result == 0 || extent.alias == 0 ? result : sys::madvise(extent.alias + at, bytes, MADV_REMOVE);
}

long punch_hole(const Extent& extent, PageRun run) noexcept {
  return punch_hole(extent, run.first << extent.page_shift, run.count << extent.page_shift);
}

void finish_busy(Extent& extent, PageRun run, PageContent content, bool write_protected) noexcept {
  USERFAULT_INVARIANT(run.first <= extent.pages && run.count <= extent.pages - run.first,
                      "pages were finished that their extent does not have");
  for (std::size_t i = run.first; i < run.end(); ++i)
    extent.states[i].update([&](PageState state) { return state.finished(content, write_protected); });
  // Both sequentially consistent, as the two in wait_while_busy: either the sleeper is seen here, or it
  // sees the count, and with it the states.
  extent.busy_generation.fetch_add(1);
  if (extent.busy_waiters.load() != 0) sys::futex_wake(&extent.busy_generation, INT32_MAX);
}

void wait_while_busy(Extent& extent, const AtomicPageState& state) noexcept {
  for (int spin = 0; spin < 2000; ++spin) {
    if (!state.load().is_busy()) return;
    pause_cpu();
  }
  extent.busy_waiters.fetch_add(1);
  const std::uint32_t seen = extent.busy_generation.load();
  if (state.load().is_busy()) {
    // Bounded, so that a waiter never hangs on an owner that was killed with its thread.
    const timespec bound{.tv_sec = 0, .tv_nsec = 10'000'000};
    sys::futex_wait(&extent.busy_generation, seen, &bound);
  }
  const std::uint32_t waiting = extent.busy_waiters.fetch_sub(1);
  USERFAULT_INVARIANT(waiting > 0, "more threads stopped waiting for a busy page than began");
}

}  // namespace userfault::engine::user
