// SPDX-License-Identifier: Apache-2.0
// How private anonymous memory is served.
//
// A page has to appear filled, in one step, to every thread. In shared memory that is easy: fill it
// through a descriptor or a second mapping while the first one is closed there, then open it. So
// private memory is replaced by a shared memfd when it is registered: what is present is
// copied over (writers wait in the fault handler meanwhile), what is missing costs nothing. The
// memory stops being private only where another process could see it, across fork, and there each
// side gets its own copy (fork.cc); MADV_DONTFORK makes a fork that the engine does not see fail closed.
//
// Rejected, with figures in docs/design.md: PROT_NONE and a write through /proc/self/mem for every
// page, which exceeds the limit of mappings on a random walk; the same inside pieces of 128 KiB with
// guard pages, twice as slow because every fill closes and opens the piece around it.
#include "engine/user/memory/track_memory.h"

#include <sys/mman.h>

#include <bit>
#include <cerrno>

#include "engine/user/memory/memfd_pool.h"
#include "engine/user/memory/page_access.h"
#include "engine/user/memory/page_runs.h"
#include "engine/user/memory/presence.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/proc/pagemap.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/guarded_copy.h"

namespace userfault::engine::user {
namespace {

void set_states(Extent& extent, PageRun run, PageState state) noexcept {
  USERFAULT_INVARIANT(run.end() <= extent.pages, "states were set that an extent does not have");
  for (std::size_t i = run.first; i < run.first + run.count; ++i) extent.states[i].store(state);
}

// ---- private memory ----

long copy_into_object(const Extent& extent, std::uintptr_t base, PopulatedRun run) noexcept {
  for (std::uintptr_t at = run.start; at < run.end;) {
    const std::size_t left = run.end - at;
    if (extent.huge()) {
      if (!guarded_copy(reinterpret_cast<void*>(extent.alias + (at - base)), reinterpret_cast<void*>(at), left))
        return -ENOMEM;
      return 0;
    }
    const long wrote =
        sys::pwrite(extent.fd, reinterpret_cast<void*>(at), left, extent.fd_offset + static_cast<long>(at - base));
    if (wrote == -EINTR) continue;
    if (wrote <= 0) return -ENOMEM;
    at += static_cast<std::size_t>(wrote);
  }
  return 0;
}

// Calls `visit` for each populated run; stops at an error.
template <typename Visit>
long visit_populated(std::uintptr_t start, std::uintptr_t end, std::size_t page_size, Visit visit) noexcept {
  const Pagemap pagemap;
  if (const long error = pagemap.error(); error < 0) return error;
  PopulatedRun run;
  for (std::uintptr_t at = start; pagemap.next_populated(&at, end, page_size, &run);) {
    const long result = visit(run);
    if (result < 0) return result;
  }
  return 0;
}

long replace_by_object(Extent& extent, std::uintptr_t start, std::uintptr_t end, int protection) noexcept {
  if (const long result = attach_object(extent); result < 0) return result;
  note_transition(start, end);
  // Writers fault from here on and wait for the table's lock; readers may go on.
  if (const long result = sys::mprotect(start, end - start, PROT_READ); result < 0) return result;
  const auto take = [&](PopulatedRun run) {
    const long copied = copy_into_object(extent, start, run);
    if (copied == 0)
      set_states(extent, {(run.start - start) >> extent.page_shift, (run.end - run.start) >> extent.page_shift},
                 PageState(PageContent::kPresent));
    return copied;
  };
  long result = visit_populated(start, end, extent.page_size(), take);
  if (result == 0)
    result =
        sys::mmap(start, end - start, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, extent.fd, extent.fd_offset);
  if (is_error(result)) {
    static_cast<void>(sys::mprotect(start, end - start, protection));
    return result;
  }
  sys::madvise(start, end - start, MADV_DONTFORK);
  return 0;
}

long convert_private(const MemoryKind& kind, std::uintptr_t start, std::uintptr_t end, int protection) noexcept {
  if (const long result = space.make_room(); result < 0) return result;
  const auto shift = static_cast<unsigned>(std::countr_zero(kind.page_size));
  Extent* extent = make_extent(kind.huge ? Kind::kHugeConverted : Kind::kConverted, (end - start) >> shift, shift);
  if (extent == nullptr) return -ENOMEM;
  hold(extent);
  long result = replace_by_object(*extent, start, end, protection);
  if (result == 0) result = space.insert({.start = start, .end = end, .extent = extent, .protection = protection});
  drop(extent);
  return result;
}

// ---- shared memory and what is only write-protected ----

// A second view of the program's object, always open, to fill through and to ask mincore about.
long find_view(Extent& extent, const Mapping& mapping, std::uintptr_t start) noexcept {
  extent.device = mapping.device;
  extent.inode = mapping.inode;
  extent.fd_offset = static_cast<long>(mapping.offset + (start - mapping.start));
  extent.fd = open_file_of(mapping, &extent.seekable);
  return attach_view(extent, start);
}

Kind extent_kind(const MemoryKind& kind) noexcept {
  if (kind.file) return Kind::kFile;
  if (!kind.shared) return Kind::kNative;
  return kind.huge ? Kind::kHugeShared : Kind::kShared;
}

long keep_in_place(const Mapping& mapping, const MemoryKind& kind, std::uintptr_t start, std::uintptr_t end) noexcept {
  const auto shift = static_cast<unsigned>(std::countr_zero(kind.page_size));
  Extent* extent = make_extent(extent_kind(kind), (end - start) >> shift, shift);
  if (extent == nullptr) return -ENOMEM;
  hold(extent);
  long result = extent->shared() ? find_view(*extent, mapping, start) : 0;
  if (result == 0) {
    // These pages are not tracked yet: they are open, and what they hold only the kernel knows.
    set_states(*extent, {0, extent->pages}, PageState().mapped(false));
    result = space.insert({.start = start, .end = end, .extent = extent, .protection = mapping.protection});
  }
  drop(extent);
  return result;
}

// Closes the untracked pages of a shared area that are not there: in the object, or (for minor
// faults) in this mapping.
long track_shared(const Area& area, bool minor) noexcept {
  note_transition(area.start, area.end);
  const auto is_there = [&](std::size_t index) {
    const PageState state = area.state(index).load();
    if (!state.is_missing()) return true;
    if (!state.is_open()) return false;
    return minor ? is_populated(area.address_of(index)) : look_up_cached(*area.extent, index) == Presence::kPresent;
  };
  return visit_runs_by(all_pages(area), is_there, [&](PageRun run, bool there) -> long {
    if (!there) return close_run(area, run);
    change_states(area, run, [](PageState state) {
      return state.is_missing() ? state.with_content(PageContent::kPresent) : state;
    });
    return 0;
  });
}

}  // namespace

long attach_object(Extent& extent) noexcept {
  if (const long result = take_place(extent, extent.bytes(), extent.page_shift); result < 0 || !extent.huge())
    return result;
  // hugetlbfs has no write(2); its pages are written through a second mapping.
  return attach_view(extent, 0);
}

long attach_view(Extent& extent, std::uintptr_t start) noexcept {
  USERFAULT_INVARIANT(extent.alias == 0, "an extent got a second alias");
  const std::size_t bytes = extent.pages << extent.page_shift;
  long alias;
  if (extent.fd >= 0) {
    // Under mlockall(MCL_FUTURE) it would be filled with zeroes as soon as it can be accessed.
    alias = sys::mmap(0, bytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE, extent.fd, extent.fd_offset);
    if (!is_error(alias)) {
      raw_syscall(SYS_munlock, alias, static_cast<long>(bytes));
      const long opened = sys::mprotect(static_cast<std::uintptr_t>(alias), bytes, PROT_READ | PROT_WRITE);
      if (opened < 0) {
        sys::munmap(static_cast<std::uintptr_t>(alias), bytes);
        alias = opened;
      }
    }
  } else {
    // An old size of 0 duplicates a shared mapping (mremap(2)); hugetlb has refused it since 2017.
    alias = sys::mremap(start, 0, bytes, MREMAP_MAYMOVE, 0);
    if (!is_error(alias) && sys::mprotect(static_cast<std::uintptr_t>(alias), bytes, PROT_READ | PROT_WRITE) < 0) {
      sys::munmap(static_cast<std::uintptr_t>(alias), bytes);
      return -EPERM;
    }
  }
  if (is_error(alias)) return extent.huge() ? -ENOMEM : alias;
  extent.alias = static_cast<std::uintptr_t>(alias);
  sys::madvise(extent.alias, bytes, MADV_DONTFORK);
  return 0;
}

long make_area(const Mapping& mapping, const MemoryKind& kind, std::uintptr_t start, std::uintptr_t end, bool tracked,
               bool minor) noexcept {
  USERFAULT_INVARIANT(start < end && piece_at(start, end).area == nullptr, "memory was made an area twice");
  // Private huge pages are converted even for write protection alone: /proc/self/mem cannot write to
  // them, so there would be no way to fill one that is missing.
  if (kind.anonymous && (tracked || kind.huge)) {
    if (convert_private(kind, start, end, mapping.protection) < 0) return -ENOMEM;
    if (tracked) return track_area(start, minor);
    const Area& area = space.at(start);
    return open_run(area, all_pages(area), false);
  }
  const long result = keep_in_place(mapping, kind, start, end);
  if (result < 0 || !tracked) return result;
  return track_area(start, minor);
}

namespace {

// Memory that was only write-protected so far: it keeps its registration and what is protected.
long convert_native(std::uintptr_t start) noexcept {
  const Area before = space.at(start);
  USERFAULT_INVARIANT(before.extent->kind == Kind::kNative, "memory was converted that is not native");
  hold(before.extent);
  space.erase(before.start, before.end);
  long result = convert_private({.known = true, .anonymous = true}, before.start, before.end, before.protection);
  if (result < 0) {
    const long back = space.insert(before);
    USERFAULT_INVARIANT(back == 0, "an area that was just erased has no room any more");
  } else {
    Area* area = &space.at(start);
    USERFAULT_INVARIANT(area->end == before.end && area->first == 0, "a conversion made another area");
    area->instance = before.instance;
    area->modes = before.modes;
    for (std::size_t i = 0; i < before.pages(); ++i) {
      const PageState was = before.state(before.first + i).load();
      PageState state = area->state(i).load().with_protection(was.is_write_protected());
      // A page that ZEROPAGE made is there, though the kernel's page table has nothing for it.
      if (!was.is_missing()) state = state.with_content(was.content());
      area->state(i).store(state);
    }
  }
  drop(before.extent);
  return result < 0 ? -ENOMEM : 0;
}

// Present pages are opened, what is open and has no content is closed.
long track_converted(const Area& area) noexcept {
  constexpr PageState::Parts kAll = 0xff;
  return visit_runs(area, all_pages(area), kAll, [&](PageRun run, PageState state) -> long {
    if (state.is_present() && !state.is_open()) return open_run(area, run, state.is_write_protected());
    if (!state.is_untracked()) return 0;
    // What cannot be found out is closed: the fault handler looks again.
    for (std::size_t i = run.first; i < run.end(); ++i) {
      if (look_up_content(area, i) == Presence::kPresent)
        area.state(i).store(state.with_content(PageContent::kPresent));
      else if (const long result = close_run(area, {i, 1}); result < 0) return result;
    }
    return 0;
  });
}

}  // namespace

long track_area(std::uintptr_t start, bool minor) noexcept {
  Area* area = &space.at(start);
  USERFAULT_INVARIANT(area->start == start, "an area was tracked from the middle on");
  if (area->extent->shared()) return track_shared(*area, minor);
  if (area->extent->kind == Kind::kNative) {
    if (const long result = convert_native(start); result < 0) return result;
    area = &space.at(start);
  }
  USERFAULT_INVARIANT(area->extent->converted(), "memory is tracked in a way that there is not");
  return track_converted(*area);
}

}  // namespace userfault::engine::user
