// SPDX-License-Identifier: Apache-2.0
#include "engine/user/layout/advise.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/user/fault/prefault.h"
#include "engine/user/layout/page_range.h"
#include "engine/user/memory/address_space.h"
#include "engine/user/memory/page_access.h"
#include "engine/user/memory/page_runs.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/linux_abi.h"
#include "engine/user/wait/layout_events.h"

namespace userfault::engine::user::layout {
namespace {

// Whether write protection outlives the page: as a marker of huge pages, and of shared memory that is in
// that mode (__unmap_hugepage_range keeps it always, pte_install_uffd_wp_if_needed asks the mapping).
bool keeps_protection(const Area& area) noexcept {
  return area.extent->huge() || (area.extent->shared() && (area.modes & USERFAULT_REGISTER_MODE_WP) != 0);
}

// Missing again: closed where it is tracked.
long forget_content(const Area& area, PageRun run) noexcept {
  USERFAULT_INVARIANT(space.lock.is_held_exclusively(), "pages were dropped without the table's lock");
  const bool keeps = keeps_protection(area);
  if (area.is_tracked()) {
    if (const long result = close_run(area, run); result < 0) return result;
    if (const long result = quiesce_accesses(area, run); result < 0) return result;
  } else if (!keeps) {
    if (const long result = open_run(area, run, false); result < 0) return result;
  }
  change_states(area, run, [keeps](PageState state) {
    return state.with_content(PageContent::kMissing).with_protection(keeps && state.is_write_protected());
  });
  return 0;
}

// What punching a hole into a file does to a mapping of it: all goes but poison, which is the
// mapping's own (zap_pte_range leaves its marker; __unmap_hugepage_range does not).
long forget_hole(const Area& area, PageRun pages) noexcept {
  const auto keeps_poison = [&](std::size_t index) {
    return !area.extent->huge() && area.state(index).load().is_poisoned();
  };
  return visit_runs_by(pages, keeps_poison,
                       [&](PageRun run, bool keeps) { return keeps ? 0 : forget_content(area, run); });
}

// Calls `visit` for the parts of the other areas that show the same pages of the file.
template <typename Visit>
void visit_siblings(const Area& area, PageRun run, Visit visit) noexcept {
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
    USERFAULT_INVARIANT(theirs.page_shift == extent.page_shift, "two mappings of a file have pages of two sizes");
    visit(*other, PageRun{other->first + (static_cast<std::size_t>(low - base) >> theirs.page_shift),
                          static_cast<std::size_t>(high - low) >> theirs.page_shift});
  }
}

// The other areas that show the same file lose their pages too. An error: the file must keep its pages, or they would
// be zeroes there without a message.
long forget_siblings(const Area& area, PageRun run) noexcept {
  long first = 0;
  visit_siblings(area, run, [&first](const Area& other, PageRun part) {
    const long result = forget_hole(other, part);
    if (first == 0) first = result;
  });
  return first;
}

// A hole is punched. Where a thread touched a page through another mapping meanwhile, the kernel has
// taken the guard pages out of all of them (unmap_mapping_folio; 2,582 of 300,000 times with two threads).
long punch_guarded(const Area& area, PageRun run) noexcept {
  const long result = punch_hole(*area.extent, run);
  visit_siblings(area, run, [](const Area& other, PageRun part) { static_cast<void>(restore_guards(other, part)); });
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
    const PageRun run{area.page_at(first), (last - first) >> extent.page_shift};
    if (const long result = forget_hole(area, run); result < 0) return result;
    if (const long result = forget_siblings(area, run); result < 0) return result;
  }
  return punch_hole(extent, (area.first << extent.page_shift) + (start - area.start), end - start);
}

long drop_pages(const Area& area, std::uintptr_t start, std::uintptr_t end, int advice) noexcept {
  USERFAULT_INVARIANT(start < end && start >= area.start && end <= area.end, "pages were dropped outside of an area");
  const PageRun run{area.page_at(start), (end - start) >> area.extent->page_shift};
  const bool shared = area.extent->shared();
  if (advice == MADV_FREE) return shared ? -EINVAL : 0;  // the kernel may keep such pages, so the engine does
  if (advice == MADV_REMOVE) {
    if (const long refused = refuses_remove(area); refused < 0) return refused;
    if (const long result = forget_hole(area, run); result < 0) return result;
    if (const long result = forget_siblings(area, run); result < 0) return result;
    return punch_guarded(area, run);
  }
  // MADV_DONTNEED: what a file of the program's own holds stays in it.
  if (const long result = forget_content(area, run); result < 0) return result;
  if (area.extent->converted()) return punch_hole(*area.extent, run);
  return sys::madvise(start, end - start, advice);
}

bool drops_pages(int advice) noexcept {
  return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE ||
         advice == linux_abi::kDontneedLocked;
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
  const Piece piece = piece_at(at, end);
  const Area* area = piece.area;
  if (area == nullptr) return {.end = piece.end};
  // The kernel sees one mapping where the table has several areas: one event.
  const std::uintptr_t mapped_to = end_of_mapping(*area, end);
  const std::uintptr_t stop = mapped_to < end ? mapped_to : end;
  // Of huge pages only whole ones are dropped, and told of; MADV_REMOVE takes parts, too.
  const std::uintptr_t mask = advice != MADV_REMOVE ? area->extent->page_size() - 1 : 0;
  const bool drops = (at & mask) == 0 && (stop & ~mask) > at && (advice != MADV_REMOVE || refuses_remove(*area) == 0);
  if (drops_pages(advice) && drops)
    events.prepare(area->instance, USERFAULT_FEATURE_EVENT_REMOVE,
                   range_event(USERFAULT_EVENT_REMOVE, at, stop & ~mask));
  return {.end = stop, .served = true, .converted = area->extent->converted()};
}

long drop_piece(const Piece& piece, int advice) noexcept {
  if (piece.area == nullptr) return sys::madvise(piece.start, piece.bytes(), advice);
  const Area& area = *piece.area;
  if (advice == MADV_REMOVE && area.extent->huge()) {
    const long refused = refuses_remove(area);
    return refused < 0 ? refused : remove_huge(area, piece.start, piece.end);
  }
  const std::uintptr_t mask = area.extent->page_size() - 1;
  if ((piece.start & mask) != 0) return -EINVAL;
  // The rest of a huge page stays (madvise_dontneed_free_valid_vma).
  const std::uintptr_t whole = piece.end & ~mask;
  return whole > piece.start ? drop_pages(area, piece.start, whole, advice) : 0;
}

// Registrations may have ended while the event was waited for, so the table is looked at again, as the kernel does.
long drop_segment(std::uintptr_t at, std::uintptr_t end, int advice) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  return for_each_piece(at, end, [advice](const Piece& piece) { return drop_piece(piece, advice); });
}

// Advice that would change what the engine's own mappings are for is not passed on to them.
bool is_kept_from_kernel(int advice) noexcept {
  return advice == MADV_DOFORK || advice == MADV_DONTFORK || advice == MADV_MERGEABLE || advice == MADV_UNMERGEABLE;
}

// The kernel would fault each page in and wait for the monitor. What cannot be had, it finds closed afterwards.
void bring_pages(std::uintptr_t start, std::uintptr_t end, int advice) noexcept {
  const Access access = advice == linux_abi::kPopulateRead ? Access::kRead : Access::kWrite;
  for (std::uintptr_t at = start; at < end;) {
    at = first_closed({at, end - at}, access);
    if (at == 0 || !user::touch(at, access)) return;
  }
}

// MADV_DONTFORK and MADV_DOFORK of served memory are remembered: the child of a fork gets its memory
// from the engine (inherit.cc).
long note_fork_advice(std::uintptr_t start, std::uintptr_t end, bool dont_fork) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  if (const long cut = cut_at(start, end); cut < 0) return cut;
  return for_each_area(start, end, [dont_fork](Area& area) {
    area.dont_fork = dont_fork;
    return 0;
  });
}

}  // namespace

int madvise(std::uintptr_t start, std::size_t length, int advice) noexcept {
  const std::uintptr_t end = start + round_up_to_page(length);
  if (!is_page_range(start, length) || !is_served(start, end))
    return static_cast<int>(sys::madvise(start, length, advice));
  const bool drops = drops_pages(advice);
  const bool brings = advice == linux_abi::kPopulateRead || advice == linux_abi::kPopulateWrite;
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
    } else if (!segment.converted || !is_kept_from_kernel(advice)) {
      result = sys::madvise(at, segment.end - at, advice);
      if (brings && result == -EINVAL) result = -EFAULT;  // pages that no monitor may bring
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

}  // namespace userfault::engine::user::layout
