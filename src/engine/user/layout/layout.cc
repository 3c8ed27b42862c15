// SPDX-License-Identifier: Apache-2.0
#include "engine/user/layout/layout.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "engine/user/fault/prefault.h"
#include "engine/user/layout/brk.h"
#include "engine/user/memory/address_space.h"
#include "engine/user/memory/page_access.h"
#include "engine/user/memory/presence.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/wait/layout_events.h"

namespace userfault::engine::user::layout {
namespace {

constexpr std::uintptr_t kPage = 4096;

std::uintptr_t round_up(std::uintptr_t value) noexcept { return (value + kPage - 1) & ~(kPage - 1); }

bool sensible(std::uintptr_t start, std::size_t length) noexcept {
  return (start & (kPage - 1)) == 0 && length != 0 && start + round_up(length) > start;
}

void prepare_unmap(Events& events, std::uintptr_t start, std::uintptr_t end) noexcept {
  for (const Area* area = space.lower(start); area != space.end() && area->start < end; ++area)
    events.prepare(area->instance, USERFAULT_FEATURE_EVENT_UNMAP, range_event(USERFAULT_EVENT_UNMAP, start, end));
}

long punch_object(const Extent& extent, Run run) noexcept {
  constexpr int kPunch = 1 | 2;  // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
  const long bytes = static_cast<long>(run.count << extent.page_shift);
  if (extent.fd >= 0) return sys::fallocate(extent.fd, kPunch, extent.offset_of(run.first), bytes);
  return sys::madvise(extent.alias_of(run.first), static_cast<std::size_t>(bytes), MADV_REMOVE);
}

// munmap or mmap over: `change` is the system call, made with the table locked and the areas cut.
template <typename Change>
std::intptr_t replace(std::uintptr_t start, std::uintptr_t end, Change change) noexcept {
  const SignalsBlocked blocked;
  Events events;
  std::intptr_t result;
  {
    Locked locked(space.lock);
    if (const long cut = cut_at(start, end); cut < 0) return cut;
    prepare_unmap(events, start, end);
    note_transition(start, end);
    result = change();
    const bool refused = result < 0 && result >= -4095;
    if (refused) events.cancel();
    else forget_areas(start, end);
  }
  events.deliver();
  return result;
}

// ---- madvise ----

// Whether write protection outlives the page: as a marker of huge pages, and of shared memory that is in
// that mode (__unmap_hugepage_range asks nobody, pte_install_uffd_wp_if_needed asks the mapping).
bool keeps_protection(const Area& area) noexcept {
  return area.extent->huge() || (area.extent->shared() && (area.modes & USERFAULT_REGISTER_MODE_WP) != 0);
}

// Missing again: closed where it is tracked.
long forget_content(const Area& area, Run run) noexcept {
  const bool tracked =
      area.instance != nullptr && (area.modes & (USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_MINOR)) != 0;
  const bool keeps = keeps_protection(area);
  if (tracked) {
    if (const long result = close_run(area, run); result < 0) return result;
    if (const long result = drain_accesses(area, run); result < 0) return result;
  } else if (!keeps) {
    if (const long result = open_run(area, run, false); result < 0) return result;
  }
  for (std::size_t i = run.first; i < run.first + run.count; ++i)
    area.state(i).update([keeps](PageState state) {
      return state.with_content(PageContent::kMissing).with_protection(keeps && state.is_write_protected());
    });
  return 0;
}

// What punching a hole into an object does to a mapping of it: all goes but poison, which is the
// mapping's own (zap_pte_range leaves its marker; __unmap_hugepage_range does not).
long forget_hole(const Area& area, Run run) noexcept {
  const auto poisoned = [&](std::size_t index) {
    return !area.extent->huge() && area.state(index).load().is_poisoned();
  };
  const std::size_t end = run.first + run.count;
  for (std::size_t i = run.first; i < end; ++i) {
    std::size_t last = i;
    while (last < end && !poisoned(last)) ++last;
    if (last == i) continue;
    if (const long result = forget_content(area, {i, last - i}); result < 0) return result;
    i = last;
  }
  return 0;
}

// Calls `visit` for the parts of the other areas that show the same pages of the object.
template <typename Visit>
void visit_siblings(const Area& area, Run run, Visit visit) noexcept {
  const Extent& extent = *area.extent;
  const long from = extent.offset_of(run.first);
  const long to = extent.offset_of(run.first + run.count);
  for (Area* other = space.begin(); other != space.end(); ++other) {
    const Extent& theirs = *other->extent;
    if (other == &area || !theirs.shared() || theirs.inode != extent.inode || theirs.device != extent.device) continue;
    const long base = theirs.offset_of(other->first);
    const long end = theirs.offset_of(other->first + other->pages());
    const long low = from > base ? from : base;
    const long high = to < end ? to : end;
    if (low >= high) continue;
    const Run part{other->first + (static_cast<std::size_t>(low - base) >> theirs.page_shift),
                   static_cast<std::size_t>(high - low) >> theirs.page_shift};
    visit(*other, part);
  }
}

// The other areas that show the same object lose their pages too. An error: the object must keep its pages,
// or they would be zeroes there without a message.
long forget_siblings(const Area& area, Run run) noexcept {
  long first = 0;
  visit_siblings(area, run, [&first](const Area& other, Run part) {
    const long result = forget_hole(other, part);
    if (first == 0) first = result;
  });
  return first;
}

// A hole is punched. Where somebody touched a page through another mapping meanwhile, the kernel has
// taken the guard pages out of all of them (unmap_mapping_folio; 2,582 of 300,000 times with two threads).
long punch_guarded(const Area& area, Run run) noexcept {
  const long result = punch_object(*area.extent, run);
  visit_siblings(area, run, [](const Area& other, Run part) { static_cast<void>(restore_guards(other, part)); });
  const long restored = restore_guards(area, run);
  return result < 0 ? result : restored;
}

// madvise_remove() looks at this before it raises an event. That a shared mapping must be one that
// could be written, whatever its protection is now (vma_is_shared_maywrite), every registered one is.
// Private huge pages are of a file that is not shared.
long refuses_remove(const Area& area) noexcept {
  if (area.extent->shared()) return 0;
  return area.extent->huge() ? -EACCES : -EINVAL;
}

// A part of a huge page is zeroed and stays (hugetlbfs_punch_hole).
long remove_huge(const Area& area, std::uintptr_t start, std::uintptr_t end) noexcept {
  const Extent& extent = *area.extent;
  const std::uintptr_t mask = extent.page_size() - 1;
  const std::uintptr_t first = (start + mask) & ~mask;
  const std::uintptr_t last = end & ~mask;
  if (first < last) {
    const Run run{area.page_at(first), (last - first) >> extent.page_shift};
    if (const long result = forget_hole(area, run); result < 0) return result;
    if (const long result = forget_siblings(area, run); result < 0) return result;
  }
  constexpr int kPunch = 1 | 2;
  const std::uintptr_t skipped = start - area.start;
  const long bytes = static_cast<long>(end - start);
  if (extent.fd >= 0)
    return sys::fallocate(extent.fd, kPunch, extent.offset_of(area.first) + static_cast<long>(skipped), bytes);
  return sys::madvise(extent.alias_of(area.first) + skipped, static_cast<std::size_t>(bytes), MADV_REMOVE);
}

long drop_pages(const Area& area, std::uintptr_t start, std::uintptr_t end, int advice) noexcept {
  const Run run{area.page_at(start), (end - start) >> area.extent->page_shift};
  const bool shared = area.extent->shared();
  if (advice == MADV_FREE) return shared ? -EINVAL : 0;  // the kernel may keep such pages, so we do
  if (advice == MADV_REMOVE) {
    if (const long refused = refuses_remove(area); refused < 0) return refused;
    if (const long result = forget_hole(area, run); result < 0) return result;
    if (const long result = forget_siblings(area, run); result < 0) return result;
    return punch_guarded(area, run);
  }
  // MADV_DONTNEED: what an object of the program's own holds stays in it.
  if (const long result = forget_content(area, run); result < 0) return result;
  if (area.extent->converted()) return punch_object(*area.extent, run);
  return sys::madvise(start, end - start, advice);
}

bool drops_pages(int advice) noexcept {
  constexpr int kDontneedLocked = 24;
  return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE || advice == kDontneedLocked;
}

struct Segment {
  std::uintptr_t end = 0;
  bool served = false;
  bool converted = false;
};

// What begins at `at`, and prepares its event where one is wanted.
Segment segment_at(std::uintptr_t at, std::uintptr_t end, int advice, Events& events) noexcept {
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  const Area* area = space.lower(at);
  if (area == space.end() || area->start >= end) return {.end = end};
  if (area->start > at) return {.end = area->start};
  // The kernel sees one mapping where we have cut it: one event.
  const std::uintptr_t stop = std::min(end_of_mapping(*area, end), end);
  // Of huge pages only whole ones are dropped, and told of; MADV_REMOVE takes parts, too.
  const std::uintptr_t mask = advice != MADV_REMOVE ? area->extent->page_size() - 1 : 0;
  const bool drops = (at & mask) == 0 && (stop & ~mask) > at && (advice != MADV_REMOVE || refuses_remove(*area) == 0);
  if (drops_pages(advice) && drops)
    events.prepare(area->instance, USERFAULT_FEATURE_EVENT_REMOVE,
                   range_event(USERFAULT_EVENT_REMOVE, at, stop & ~mask));
  return {.end = stop, .served = true, .converted = area->extent->converted()};
}

long drop_segment(std::uintptr_t at, std::uintptr_t end, int advice) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  while (at < end) {
    const Area* area = space.lower(at);
    // Registrations may have ended while the event was waited for; the kernel looks again too.
    const bool served = area != space.end() && area->start <= at;
    std::uintptr_t stop = area != space.end() && area->start < end ? area->start : end;
    if (served) stop = area->end < end ? area->end : end;
    const std::uintptr_t mask = served ? area->extent->page_size() - 1 : 0;
    // The rest of a huge page stays (madvise_dontneed_free_valid_vma).
    const std::uintptr_t whole = stop & ~mask;
    long result = 0;
    if (!served) result = sys::madvise(at, stop - at, advice);
    else if (advice == MADV_REMOVE && area->extent->huge())
      result = refuses_remove(*area) < 0 ? refuses_remove(*area) : remove_huge(*area, at, stop);
    else if ((at & mask) != 0) result = -EINVAL;
    else if (whole > at) result = drop_pages(*area, at, whole, advice);
    if (result < 0) return result;
    at = stop;
  }
  return 0;
}

// Advice that would change what our mappings are for is not passed on to them.
bool keeps_to_itself(int advice) noexcept {
  return advice == MADV_DOFORK || advice == MADV_DONTFORK || advice == MADV_MERGEABLE || advice == MADV_UNMERGEABLE;
}

constexpr int kPopulateWrite = 23;

// The kernel would fault each page in and wait for the monitor. What cannot be had, it finds closed afterwards.
void bring_pages(std::uintptr_t start, std::uintptr_t end, int advice) noexcept {
  const Access access = advice == kPopulateRead ? Access::kRead : Access::kWrite;
  for (std::uintptr_t at = start; at < end;) {
    at = first_closed({at, end - at}, access);
    if (at == 0 || !user::touch(at, access)) return;
  }
}

// MADV_DONTFORK and MADV_DOFORK of served memory are remembered: the child of a fork gets its memory
// from us (inherit.cc).
long note_fork_advice(std::uintptr_t start, std::uintptr_t end, bool dont_fork) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  if (const long cut = cut_at(start, end); cut < 0) return cut;
  for (Area* area = space.lower(start); area != space.end() && area->start < end; ++area) area->dont_fork = dont_fork;
  return 0;
}

}  // namespace

// An object goes when no area is left that shows it; what is unmapped of it before has to be given back.
void forget_areas(std::uintptr_t start, std::uintptr_t end) noexcept {
  for (const Area* area = space.lower(start); area != space.end() && area->start < end; ++area)
    if (area->extent->converted() && area->pages() < area->extent->pages)
      static_cast<void>(punch_object(*area->extent, {area->first, area->pages()}));
  space.erase(start, end);
}

int munmap(std::uintptr_t start, std::size_t length) noexcept {
  const std::uintptr_t end = start + round_up(length);
  if (!sensible(start, length) || !is_served(start, end)) return static_cast<int>(sys::munmap(start, length));
  return static_cast<int>(replace(start, end, [&] { return sys::munmap(start, length); }));
}

std::intptr_t mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  const auto call = [&] { return sys::mmap(start, length, protection, flags, fd, offset); };
  const std::uintptr_t end = start + round_up(length);
  if ((flags & MAP_FIXED) == 0 || !sensible(start, length) || !is_served(start, end)) return call();
  return replace(start, end, call);
}

int madvise(std::uintptr_t start, std::size_t length, int advice) noexcept {
  const std::uintptr_t end = start + round_up(length);
  if (!sensible(start, length) || !is_served(start, end)) return static_cast<int>(sys::madvise(start, length, advice));
  const bool drops = drops_pages(advice);
  const bool brings = advice == kPopulateRead || advice == kPopulateWrite;
  if (brings) bring_pages(start, end, advice);
  const SignalsBlocked blocked;
  long result = 0;
  int unmapped = 0;
  for (std::uintptr_t at = start; at < end;) {
    Events events;
    const Segment segment = segment_at(at, end, advice, events);
    if (!segment.served) {
      result = sys::madvise(at, segment.end - at, advice);
    } else if (drops) {
      events.deliver();
      result = drop_segment(at, segment.end, advice);
    } else if (!segment.converted || !keeps_to_itself(advice)) {
      result = sys::madvise(at, segment.end - at, advice);
      if (brings && result == -EINVAL) result = -EFAULT;  // pages that nobody may bring
    }
    if (segment.served && result == 0 && (advice == MADV_DONTFORK || advice == MADV_DOFORK))
      result = note_fork_advice(at, segment.end, advice == MADV_DONTFORK);
    // A hole is told of in the end and keeps nothing from being done (madvise(2), ENOMEM).
    if (result == -ENOMEM && !segment.served) unmapped = -ENOMEM;
    else if (result < 0) return static_cast<int>(result);
    at = segment.end;
  }
  return unmapped;
}

namespace {

long protect_area(Area& area, int protection) noexcept {
  area.protection = protection;
  const std::size_t end = area.first + area.pages();
  for (std::size_t i = area.first; i < end;) {
    const auto group = [&](std::size_t index) {
      return area.state(index).load().only(PageState::kMapped | PageState::kWriteProtected);
    };
    std::size_t last = i + 1;
    while (last < end && group(last) == group(i)) ++last;
    const PageState state = group(i);
    const bool narrow = state.is_write_protected() && (protection & PROT_WRITE) != 0;
    if (state.is_mapped()) {
      const long result = sys::mprotect(area.address_of(i), (last - i) << area.extent->page_shift,
                                        narrow ? protection & ~PROT_WRITE : protection);
      if (result < 0) return result;
      for (std::size_t k = i; k < last; ++k)
        area.state(k).update([narrow](PageState seen) { return seen.with_read_only(narrow); });
    }
    i = last;
  }
  return 0;
}

// [start, end) is of one area. What is permitted already needs no cut, which huge pages may refuse.
long protect_part(std::uintptr_t start, std::uintptr_t end, int protection) noexcept {
  if (space.find(start)->protection == protection) return 0;
  if (const long cut = cut_at(start, end); cut < 0) return cut;
  return protect_area(*space.find(start), protection);
}

}  // namespace

int mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept {
  const std::uintptr_t end = start + round_up(length);
  if (!sensible(start, length) || (protection & ~(PROT_READ | PROT_WRITE | PROT_EXEC)) != 0 || !is_served(start, end))
    return static_cast<int>(sys::mprotect(start, length, protection));
  SignalsBlocked blocked;
  Locked locked(space.lock);
  note_transition(start, end);
  for (std::uintptr_t at = start; at < end;) {
    const Area* area = space.lower(at);
    const bool served = area != space.end() && area->start <= at;
    std::uintptr_t stop = served ? area->end : area != space.end() && area->start < end ? area->start : end;
    if (stop > end) stop = end;
    const long result = served ? protect_part(at, stop, protection) : sys::mprotect(at, stop - at, protection);
    if (result < 0) return static_cast<int>(result);
    at = stop;
  }
  return 0;
}

}  // namespace userfault::engine::user::layout

namespace userfault::engine::user {

// A break that moves down unmaps what is behind it; one that is refused stays where it was.
std::uintptr_t change_break(std::uintptr_t wanted) noexcept {
  const auto call = [&](std::uintptr_t to) {
    return static_cast<std::uintptr_t>(raw_syscall(SYS_brk, static_cast<long>(to)));
  };
  const std::uintptr_t before = call(0);
  const std::uintptr_t start = layout::round_up(wanted);
  const std::uintptr_t end = layout::round_up(before);
  if (wanted == 0 || start >= end || !is_served(start, end)) return call(wanted);
  const std::intptr_t result = layout::replace(start, end, [&] { return call(wanted) == wanted ? 0 : -ENOMEM; });
  return result == 0 ? wanted : call(0);
}

}  // namespace userfault::engine::user
