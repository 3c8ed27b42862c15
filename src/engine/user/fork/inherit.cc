// SPDX-License-Identifier: Apache-2.0
#include "engine/user/fork/inherit.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "engine/user/memory/memfd_pool.h"
#include "engine/user/memory/page_access.h"
#include "engine/user/memory/page_runs.h"
#include "engine/user/memory/presence.h"
#include "engine/user/memory/track_memory.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/linux_abi.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

PageState state_of(const Area& area, std::size_t index) noexcept { return area.state(index).load(); }

std::size_t length_of(const Area& area, PageRun run) noexcept { return run.count << area.extent->page_shift; }

// ---- writers ----

// Takes PROT_WRITE from the pages that have it, or gives it back; the states do not notice, because
// no thread looks at them before it is given back.
void set_writable(const Area& area, bool writable) noexcept {
  if ((area.protection & PROT_WRITE) == 0) return;
  const int protection = writable ? area.protection : area.protection & ~PROT_WRITE;
  static_cast<void>(
      visit_runs(area, all_pages(area), PageState::kMapped | PageState::kReadOnly, [&](PageRun run, PageState state) {
        return state.is_mapped() && !state.is_read_only()
                   ? sys::mprotect(area.address_of(run.first), length_of(area, run), protection)
                   : 0;
      }));
}

// ---- the content of converted memory, from the parent's object into the mapping at `area` ----

long read_all(int fd, std::uintptr_t to, std::size_t bytes, long offset) noexcept {
  for (std::size_t done = 0; done < bytes;) {
    const long got = sys::pread(fd, reinterpret_cast<void*>(to + done), bytes - done, offset + static_cast<long>(done));
    if (got == -EINTR) continue;
    if (got <= 0) return got < 0 ? got : -EIO;
    done += static_cast<std::size_t>(got);
  }
  return 0;
}

// A hole is a page that was never filled.
long copy_data(const Area& area) noexcept {
  const Extent& extent = *area.extent;
  const long base = extent.offset_of(area.first);
  const long end = base + static_cast<long>(area.bytes());
  for (long at = base; at < end;) {
    const long data = raw_syscall(SYS_lseek, extent.fd, at, SEEK_DATA);
    if (data == -ENXIO || data >= end) return 0;
    if (data < 0) return data;
    long hole = raw_syscall(SYS_lseek, extent.fd, data, SEEK_HOLE);
    if (hole < 0) return hole;
    if (hole > end) hole = end;
    const auto to = area.start + static_cast<std::uintptr_t>(data - base);
    if (const long result = read_all(extent.fd, to, static_cast<std::size_t>(hole - data), data); result < 0)
      return result;
    at = hole;
  }
  return 0;
}

// hugetlbfs cannot say where its holes are; the states can, and where pages were not tracked, the content.
bool holds_huge_page(const Area& area, std::size_t index) noexcept {
  const PageState state = state_of(area, index);
  if (state.is_present()) return true;
  return state.is_untracked() && look_up_cached(*area.extent, index) != Presence::kAbsent;
}

// A child that gets no huge page for its copy fails where it needs it, as the kernel's does (there
// when it writes, and with SIGBUS); here the page is closed for good.
long copy_huge_pages(const Area& area) noexcept {
  const Extent& extent = *area.extent;
  for (std::size_t i = area.first; i < area.first + area.pages(); ++i) {
    if (!holds_huge_page(area, i)) continue;
    const long copied = read_all(extent.fd, area.address_of(i), extent.page_size(), extent.offset_of(i));
    if (copied == 0) continue;
    const long closed = sys::mprotect(area.address_of(i), extent.page_size(), PROT_NONE);
    if (closed < 0) return closed;
  }
  return 0;
}

long copy_content(const Area& area) noexcept { return area.extent->huge() ? copy_huge_pages(area) : copy_data(area); }

// ---- memory that has no registration ----

// Before anything else is mapped: private memory where the parent's was shared, so that no mapping
// of the engine's comes to lie there. The engine's other mappings did not come along at all.
long take_places() noexcept {
  for (Area* area = space.begin(); area != space.end(); ++area) {
    area->extent->alias = 0;
    if (!area->extent->converted()) continue;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    if (area->extent->huge()) flags |= MAP_HUGETLB | static_cast<int>(area->extent->page_shift) << MAP_HUGE_SHIFT;
    const long at = sys::mmap(area->start, area->bytes(), PROT_READ | PROT_WRITE, flags, -1, 0);
    if (is_error(at)) return at;
  }
  return 0;
}

// Poison is copied to the child with or without a registration (copy_pte_marker in mm/memory.c); an area
// without an instance keeps it. In shared memory it is not: the child's page table is filled anew
// from the object.
long keep_poison(const Area& was, PageRun run) noexcept {
  const std::uintptr_t start = was.address_of(run.first);
  USERFAULT_INVARIANT(run.count > 0 && run.end() <= was.extent->pages, "poison is kept that an extent does not have");
  Extent* extent = make_extent(Kind::kNative, run.count, was.extent->page_shift);
  if (extent == nullptr) return -ENOMEM;
  hold(extent);
  for (std::size_t i = 0; i < run.count; ++i) extent->states[i].store(PageState(PageContent::kPoisoned));
  const std::uintptr_t end = start + length_of(was, run);
  long result = sys::mprotect(start, end - start, PROT_NONE);
  if (result == 0) result = space.insert({.start = start, .end = end, .extent = extent, .protection = was.protection});
  drop(extent);
  return result;
}

// Guard pages come along with the page tables. A kernel that has none says EINVAL, and there are none.
long remove_guards(const Area& was) noexcept {
  if (!was.extent->guards.load()) return 0;
  const long result = sys::madvise(was.start, was.bytes(), linux_abi::kGuardRemove);
  return result == -EINVAL ? 0 : result;
}

long give_back(const Area& was) noexcept {
  const Extent& extent = *was.extent;
  long result = extent.converted() ? copy_content(was) : remove_guards(was);
  if (result == 0 && (!extent.converted() || was.protection != (PROT_READ | PROT_WRITE)))
    result = sys::mprotect(was.start, was.bytes(), was.protection);
  if (result < 0 || extent.shared() || extent.kind == Kind::kFile) return result;
  return visit_runs(was, all_pages(was), PageState::kContent,
                    [&](PageRun run, PageState state) { return state.is_poisoned() ? keep_poison(was, run) : 0; });
}

// ---- memory that stays registered ----

// Shared memory keeps its object; converted memory gets one of its own with the parent's content.
long attach(Extent& extent, const Area& was) noexcept {
  USERFAULT_INVARIANT(extent.kind == was.extent->kind && extent.pages == was.pages(),
                      "a child's extent is another one");
  if (extent.shared()) {
    extent.device = was.extent->device;
    extent.inode = was.extent->inode;
    extent.fd_offset = was.extent->offset_of(was.first);
    if (was.extent->fd >= 0) extent.fd = static_cast<int>(raw_syscall(SYS_fcntl, was.extent->fd, F_DUPFD_CLOEXEC, 3));
    extent.seekable = extent.fd >= 0 && was.extent->seekable;
    return attach_view(extent, was.start);
  }
  if (const long result = attach_object(extent); result < 0) return result;
  const long at = sys::mmap(was.start, was.bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
                            extent.fd, extent.fd_offset);
  return is_error(at) ? at : copy_content(was);
}

// Closes everything and opens again what was open.
long reopen(const Area& area, const Area& was) noexcept {
  if (area.extent->shared()) {
    if (const long result = remove_guards(was); result < 0) return result;
  }
  if (const long result = sys::mprotect(area.start, area.bytes(), PROT_NONE); result < 0) return result;
  constexpr PageState::Parts kParts = PageState::kMapped | PageState::kGuarded | PageState::kWriteProtected;
  return visit_runs(was, all_pages(was), kParts, [&](PageRun run, PageState state) {
    const PageRun mine{run.first - was.first, run.count};
    return state.is_open() ? open_run(area, mine, state.is_write_protected()) : 0;
  });
}

long stay_registered(Area& area, const Area& was) noexcept {
  // What is only protected came along as it is, write protection and poison included.
  if (!was.extent->converted() && !was.extent->shared()) return 0;
  Extent* extent = make_extent(was.extent->kind, was.pages(), was.extent->page_shift);
  if (extent == nullptr) return -ENOMEM;
  hold(extent);
  area.extent = extent;
  area.first = 0;
  drop(was.extent);
  USERFAULT_INVARIANT(was.extent->references > 0, "the parent's content went before it was copied");
  long result = attach(*extent, was);
  for (std::size_t i = 0; i < area.pages(); ++i)
    extent->states[i].store(state_of(was, was.first + i).only(PageState::kContent | PageState::kWriteProtected));
  if (result == 0) result = reopen(area, was);
  if (result == 0 && extent->converted()) sys::madvise(area.start, area.bytes(), MADV_DONTFORK);
  return result;
}

// MADV_DONTFORK: there is nothing here, and nothing takes its place.
void forget_unforked() noexcept {
  static_cast<void>(for_each_area(0, kLastAddress, [](const Area& area) {
    if (area.dont_fork) space.erase(area.start, area.end);
    return 0;
  }));
}

long inherit_area(Area& area) noexcept {
  const Area was = area;
  hold(was.extent);
  long result;
  if (was.instance != nullptr && was.instance->used.load()) {
    result = stay_registered(area, was);
  } else {
    space.erase(was.start, was.end);
    result = give_back(was);
  }
  drop(was.extent);
  return result;
}

}  // namespace

bool has_converted_memory() noexcept {
  for (const Area* area = space.begin(); area != space.end(); ++area)
    if (area->extent->converted()) return true;
  return false;
}

void freeze_writers() noexcept {
  for (const Area* area = space.begin(); area != space.end(); ++area)
    if (area->extent->converted()) set_writable(*area, false);
}

void thaw_writers() noexcept {
  for (const Area* area = space.begin(); area != space.end(); ++area)
    if (area->extent->converted()) set_writable(*area, true);
}

long inherit_memory() noexcept {
  USERFAULT_INVARIANT(space.lock.is_held_exclusively(), "memory was inherited without the table's lock");
  disown_memfds();
  forget_unforked();
  if (const long result = take_places(); result < 0) return result;
  return for_each_area(0, kLastAddress, inherit_area);
}

}  // namespace userfault::engine::user
