// SPDX-License-Identifier: Apache-2.0
// From page states to mappings: which pages are closed, guarded, read-only or open.
//
// Opening a few pages of a closed chunk puts guard pages on all of the chunk and opens the mapping
// once; from then on a page costs one MADV_GUARD_REMOVE and no mapping. A long run is opened by
// mprotect alone. Rejected: one mprotect a page (vm.max_map_count after 32,765 random pages), guard
// pages over a whole region when it is registered (8 bytes of page table a page, seconds for a TiB).
#include <sys/mman.h>

#include <cerrno>

#include "engine/user/memory/page_access.h"

namespace userfault::engine::user {
namespace {

constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13
constexpr int kGuardRemove = 103;   // MADV_GUARD_REMOVE
constexpr std::size_t kLongRun = 64;

PageState load(const Area& area, std::size_t i) noexcept { return area.state(i).load(); }

template <typename Transition>
void change(const Area& area, Run run, Transition transition) noexcept {
  for (std::size_t i = run.first; i < run.first + run.count; ++i) area.state(i).update(transition);
}

// The longest run from `first` on whose states agree in `parts`, at most to `end`.
Run alike(const Area& area, std::size_t first, std::size_t end, PageState::Parts parts) noexcept {
  const PageState want = load(area, first).only(parts);
  std::size_t last = first + 1;
  while (last < end && load(area, last).only(parts) == want) ++last;
  return {first, last - first};
}

int protection_of(const Area& area, bool read_only) noexcept {
  return read_only ? area.protection & ~PROT_WRITE : area.protection;
}

long set_protection(const Area& area, Run run, int protection) noexcept {
  return sys::mprotect(area.address_of(run.first), run.count << area.extent->page_shift, protection);
}

long set_guard(const Area& area, Run run, int advice) noexcept {
  long result;
  do result = sys::madvise(area.address_of(run.first), run.count << area.extent->page_shift, advice);
  while (result == -EINTR || result == -EAGAIN);
  return result;
}

// Opens all closed pages of the chunk around `index`, each behind a guard page. Under chunks.
long open_chunk(const Area& area, std::size_t index) noexcept {
  const std::size_t size = area.extent->chunk_pages;
  const std::size_t area_end = area.first + area.pages();
  std::size_t from = index / size * size;
  std::size_t to = from + size;
  if (from < area.first) from = area.first;
  if (to > area_end) to = area_end;
  for (std::size_t i = from; i < to;) {
    const Run run = alike(area, i, to, PageState::kMapped);
    i += run.count;
    if (load(area, run.first).is_mapped()) continue;
    if (const long result = set_guard(area, run, kGuardInstall); result < 0) return result;
    if (const long result = set_protection(area, run, area.protection); result < 0) return result;
    change(area, run, [](PageState page) { return page.mapped_behind_guard(); });
  }
  return 0;
}

long open_closed(const Area& area, Run run, bool read_only) noexcept {
  Locked locked(area.extent->chunks);
  for (std::size_t i = run.first; i < run.first + run.count;) {
    const Run same = alike(area, i, run.first + run.count, PageState::kMapped | PageState::kGuarded);
    i += same.count;
    if (load(area, same.first).is_mapped()) continue;
    bool guards = area.extent->guards.load(std::memory_order_relaxed);
    if (guards && same.count < kLongRun) {
      const long result = open_chunk(area, same.first);
      if (result == 0) {
        i = same.first;  // open now; the run may go on in the next chunk
        continue;
      }
      if (result != -EINVAL) return result;
      // The kernel, or this mapping (mlock), has no guard pages: one mprotect a run from now on.
      guards = false;
      area.extent->guards.store(false, std::memory_order_relaxed);
    }
    const long result = set_protection(area, same, protection_of(area, read_only));
    if (result == -ENOMEM && guards) {
      if (const long chunk = open_chunk(area, same.first); chunk < 0) return chunk == -EINVAL ? result : chunk;
      i = same.first;
      continue;
    }
    if (result < 0) return result;
    change(area, same, [read_only](PageState page) { return page.mapped(read_only); });
  }
  return 0;
}

}  // namespace

long open_run(const Area& area, Run run, bool read_only) noexcept {
  const bool narrow = read_only && (area.protection & PROT_WRITE) != 0;
  if (const long result = open_closed(area, run, narrow); result < 0) return result;
  if (const long result = protect_run(area, run, read_only); result < 0) return result;
  for (std::size_t i = run.first; i < run.first + run.count;) {
    const Run same = alike(area, i, run.first + run.count, PageState::kGuarded);
    i += same.count;
    if (!load(area, same.first).is_guarded()) continue;
    if (const long result = set_guard(area, same, kGuardRemove); result < 0) return result;
    change(area, same, [](PageState page) { return page.without_guard(); });
  }
  return 0;
}

long close_run(const Area& area, Run run) noexcept {
  for (std::size_t i = run.first; i < run.first + run.count;) {
    const Run same = alike(area, i, run.first + run.count, PageState::kMapped | PageState::kGuarded);
    i += same.count;
    if (!load(area, same.first).is_open()) continue;
    if (area.extent->guards.load(std::memory_order_relaxed) && same.count < kLongRun) {
      const long result = set_guard(area, same, kGuardInstall);
      if (result == 0) {
        change(area, same, [](PageState page) { return page.with_guard(); });
        continue;
      }
      if (result != -EINVAL) return result;
      area.extent->guards.store(false, std::memory_order_relaxed);
    }
    if (const long result = set_protection(area, same, PROT_NONE); result < 0) return result;
    change(area, same, [](PageState page) { return page.unmapped(); });
  }
  return 0;
}

// A change of protection waits for the accesses of that mapping, which a guard page does not.
long drain_accesses(const Area& area, Run run) noexcept {
  for (std::size_t i = run.first; i < run.first + run.count;) {
    const Run same = alike(area, i, run.first + run.count, PageState::kMapped | PageState::kReadOnly);
    i += same.count;
    const PageState state = load(area, same.first);
    if (!state.is_mapped() || area.protection == PROT_NONE) continue;
    if (const long result = set_protection(area, same, PROT_NONE); result < 0) return result;
    const int before = protection_of(area, state.is_read_only());
    if (set_protection(area, same, before) == 0) continue;
    // Closed for good, until somebody opens the chunk.
    static_cast<void>(set_guard(area, same, kGuardRemove));
    change(area, same, [](PageState page) { return page.unmapped(); });
  }
  return 0;
}

long restore_guards(const Area& area, Run run) noexcept {
  for (std::size_t i = run.first; i < run.first + run.count;) {
    const Run same = alike(area, i, run.first + run.count, PageState::kGuarded);
    i += same.count;
    if (!load(area, same.first).is_guarded()) continue;
    if (const long result = set_guard(area, same, kGuardInstall); result < 0) return result;
  }
  return 0;
}

long protect_run(const Area& area, Run run, bool read_only) noexcept {
  if ((area.protection & PROT_WRITE) == 0) return 0;
  for (std::size_t i = run.first; i < run.first + run.count;) {
    const Run same = alike(area, i, run.first + run.count, PageState::kMapped | PageState::kReadOnly);
    i += same.count;
    const PageState state = load(area, same.first);
    if (!state.is_mapped() || state.is_read_only() == read_only) continue;
    if (const long result = set_protection(area, same, protection_of(area, read_only)); result < 0) return result;
    change(area, same, [read_only](PageState page) { return page.with_read_only(read_only); });
  }
  return 0;
}

}  // namespace userfault::engine::user
