// SPDX-License-Identifier: Apache-2.0
// From page states to mappings: which pages are closed, guarded, read-only or open.
//
// Opening a few pages of a closed chunk puts guard pages on all of the chunk and opens the mapping
// once; from then on a page costs one MADV_GUARD_REMOVE and no mapping. A long run is opened by
// mprotect alone. Rejected: one mprotect a page (vm.max_map_count after 32,765 random pages), guard
// pages over a whole region when it is registered (8 bytes of page table a page, seconds for a TiB).
#include "engine/user/memory/page_access.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "engine/user/memory/page_runs.h"
#include "engine/user/rt/linux_abi.h"

namespace userfault::engine::user {
namespace {

constexpr std::size_t kLongRun = 64;

int protection_of(const Area& area, bool read_only) noexcept {
  return read_only ? area.protection & ~PROT_WRITE : area.protection;
}

long set_protection(const Area& area, PageRun run, int protection) noexcept {
  return sys::mprotect(area.address_of(run.first), run.count << area.extent->page_shift, protection);
}

long set_guard(const Area& area, PageRun run, int advice) noexcept {
  long result;
  do result = sys::madvise(area.address_of(run.first), run.count << area.extent->page_shift, advice);
  while (result == -EINTR || result == -EAGAIN);
  return result;
}

bool is_in(PageRun run, const Area& area) noexcept {
  return run.first >= area.first && run.end() <= all_pages(area).end();
}

// The pages of the area in the chunk around `index`.
PageRun chunk_around(const Area& area, std::size_t index) noexcept {
  USERFAULT_INVARIANT(is_in({index, 1}, area), "a page was opened through an area that does not show it");
  const std::size_t size = area.extent->chunk_pages;
  const std::size_t from = std::max(index / size * size, area.first);
  const std::size_t to = std::min(index / size * size + size, all_pages(area).end());
  return {from, to - from};
}

// Maps all unmapped pages of a chunk, each behind a guard page. Under Extent::chunks.
long map_chunk(const Area& area, PageRun chunk) noexcept {
  return visit_runs(area, chunk, PageState::kMapped, [&](PageRun run, PageState state) -> long {
    if (state.is_mapped()) return 0;
    if (const long result = set_guard(area, run, linux_abi::kGuardInstall); result < 0) return result;
    if (const long result = set_protection(area, run, area.protection); result < 0) return result;
    change_states(area, run, [](PageState page) { return page.mapped_behind_guard(); });
    return 0;
  });
}

// Maps a run of unmapped pages: chunk by chunk behind guard pages, or as it is. Under Extent::chunks.
long map_run(const Area& area, PageRun run, bool read_only) noexcept {
  USERFAULT_INVARIANT(area.extent->chunks.is_held(), "a chunk was opened without its lock");
  while (run.count > 0) {
    const PageRun chunk = chunk_around(area, run.first);
    bool guards = area.extent->guards.load(std::memory_order_relaxed);
    long result = -EINVAL;
    if (guards && run.count < kLongRun) {
      result = map_chunk(area, chunk);
      if (result < 0 && result != -EINVAL) return result;
      // The kernel, or this mapping (mlock), has no guard pages: one mprotect a run from now on.
      if (result == -EINVAL) area.extent->guards.store(guards = false, std::memory_order_relaxed);
    }
    if (result < 0) {
      result = set_protection(area, run, protection_of(area, read_only));
      if (result == 0) {
        change_states(area, run, [read_only](PageState page) { return page.mapped(read_only); });
        return 0;
      }
      if (result != -ENOMEM || !guards) return result;
      if (const long mapped = map_chunk(area, chunk); mapped < 0) return mapped == -EINVAL ? result : mapped;
    }
    // The run may go on in the next chunk.
    const std::size_t done = std::min(chunk.end(), run.end()) - run.first;
    run = {run.first + done, run.count - done};
  }
  return 0;
}

long map_unmapped(const Area& area, PageRun pages, bool read_only) noexcept {
  Locked locked(area.extent->chunks);
  return visit_runs(area, pages, PageState::kMapped, [&](PageRun run, PageState state) {
    return state.is_mapped() ? 0 : map_run(area, run, read_only);
  });
}

}  // namespace

long open_run(const Area& area, PageRun pages, bool read_only) noexcept {
  USERFAULT_INVARIANT(is_in(pages, area), "pages were opened through an area that does not show them");
  const bool narrow = read_only && (area.protection & PROT_WRITE) != 0;
  if (const long result = map_unmapped(area, pages, narrow); result < 0) return result;
  if (const long result = protect_run(area, pages, read_only); result < 0) return result;
  return visit_runs(area, pages, PageState::kGuarded, [&](PageRun run, PageState state) -> long {
    if (!state.is_guarded()) return 0;
    if (const long result = set_guard(area, run, linux_abi::kGuardRemove); result < 0) return result;
    change_states(area, run, [](PageState page) { return page.without_guard(); });
    return 0;
  });
}

namespace {

// Makes a run of open pages inaccessible.
long shut(const Area& area, PageRun run) noexcept {
  if (area.extent->guards.load(std::memory_order_relaxed) && run.count < kLongRun) {
    const long result = set_guard(area, run, linux_abi::kGuardInstall);
    if (result == 0) {
      change_states(area, run, [](PageState page) { return page.with_guard(); });
      return 0;
    }
    if (result != -EINVAL) return result;
    area.extent->guards.store(false, std::memory_order_relaxed);
  }
  if (const long result = set_protection(area, run, PROT_NONE); result < 0) return result;
  change_states(area, run, [](PageState page) { return page.unmapped(); });
  return 0;
}

}  // namespace

long close_run(const Area& area, PageRun pages) noexcept {
  USERFAULT_INVARIANT(is_in(pages, area), "pages were closed through an area that does not show them");
  return visit_runs(area, pages, PageState::kMapped | PageState::kGuarded,
                    [&](PageRun run, PageState state) { return state.is_open() ? shut(area, run) : 0; });
}

// A change of protection waits for the accesses of that mapping, which a guard page does not. Afterwards what is behind
// the guards may be written: a page that was read-only would stay a mapping of its own, and mappings would go with the
// pages that ever were, not with those that are there.
long quiesce_accesses(const Area& area, PageRun pages) noexcept {
  USERFAULT_INVARIANT(space.lock.is_held_exclusively(), "accesses were waited for without the table's lock");
  constexpr PageState::Parts kParts = PageState::kMapped | PageState::kGuarded | PageState::kReadOnly;
  return visit_runs(area, pages, kParts, [&](PageRun run, PageState state) -> long {
    if (!state.is_mapped() || area.protection == PROT_NONE) return 0;
    if (const long result = set_protection(area, run, PROT_NONE); result < 0) return result;
    const bool read_only = state.is_read_only() && !state.is_guarded();
    if (set_protection(area, run, protection_of(area, read_only)) == 0) {
      change_states(area, run, [read_only](PageState page) { return page.with_read_only(read_only); });
      return 0;
    }
    // Unmapped until the chunk is mapped again, which puts in any guard page that cannot be removed now.
    static_cast<void>(set_guard(area, run, linux_abi::kGuardRemove));
    change_states(area, run, [](PageState page) { return page.unmapped(); });
    return 0;
  });
}

long restore_guards(const Area& area, PageRun pages) noexcept {
  return visit_runs(area, pages, PageState::kGuarded, [&](PageRun run, PageState state) {
    return state.is_guarded() ? set_guard(area, run, linux_abi::kGuardInstall) : 0;
  });
}

long protect_run(const Area& area, PageRun pages, bool read_only) noexcept {
  USERFAULT_INVARIANT(is_in(pages, area), "pages were protected through an area that does not show them");
  if ((area.protection & PROT_WRITE) == 0) return 0;
  constexpr PageState::Parts kParts = PageState::kMapped | PageState::kReadOnly;
  return visit_runs(area, pages, kParts, [&](PageRun run, PageState state) -> long {
    if (!state.is_mapped() || state.is_read_only() == read_only) return 0;
    if (const long result = set_protection(area, run, protection_of(area, read_only)); result < 0) return result;
    change_states(area, run, [read_only](PageState page) { return page.with_read_only(read_only); });
    return 0;
  });
}

}  // namespace userfault::engine::user
