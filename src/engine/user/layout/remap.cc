// SPDX-License-Identifier: Apache-2.0
// mremap of served memory.
//
// What is one mapping to the program is many to the kernel once pages are open and closed, so the
// move is made mapping by mapping with the table locked. Page-table entries move along, guard pages
// among them, so the states stay true; only addresses change.
#include "engine/user/layout/remap.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/user/layout/unmap.h"
#include "engine/user/memory/track_memory.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/ops/registration.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/page_size.h"
#include "engine/user/wait/instance.h"
#include "engine/user/wait/layout_events.h"

namespace userfault::engine::user::layout {
namespace {

struct Move {
  std::uintptr_t from = 0;
  std::uintptr_t to = 0;
  std::size_t old_length = 0;
  std::size_t new_length = 0;
  bool keep_source = false;  // MREMAP_DONTUNMAP
};

// Whether [start, end) is covered by areas that are one mapping for the program, and of one kind for the engine.
bool can_move_as_one(std::uintptr_t start, std::uintptr_t end) noexcept {
  const Area* area = space.find(start);
  if (area == nullptr || end_of_mapping(*area, end) < end) return false;
  for (; area->end < end; ++area)
    if (area[1].extent->kind != area->extent->kind) return false;
  return true;
}

// A place for the moved memory: the one that was asked for, cleared, or a free one.
long reserve_target(const Move& move) noexcept {
  const int fixed = move.to != 0 ? MAP_FIXED : 0;
  return sys::mmap(move.to, move.new_length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
}

// How far it came, and why no further.
struct Moved {
  std::size_t bytes = 0;
  long error = 0;
};

Moved move_some(std::uintptr_t from, std::uintptr_t to, std::size_t length) noexcept {
  for (std::size_t done = 0; done < length;) {
    const std::uintptr_t at = from + done;
    Mapping mapping;
    if (find_mapping(at, &mapping) < 0 || mapping.start > at) return {done, -EFAULT};
    const std::size_t bytes = (mapping.end < from + length ? mapping.end : from + length) - at;
    const long moved = sys::mremap(at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to + done);
    if (is_error(moved)) return {done, moved};
    done += bytes;
  }
  return {length, 0};
}

// All or, as far as the kernel permits the way back, nothing.
long move_mappings(const Move& move) noexcept {
  const Moved moved = move_some(move.from, move.to, move.old_length);
  if (moved.error != 0) static_cast<void>(move_some(move.to, move.from, moved.bytes));
  return moved.error;
}

// The table's side: the same extents at the new address.
long move_areas(const Move& move) noexcept {
  for (std::uintptr_t at = move.from; at < move.from + move.old_length;) {
    const Area area = space.at(at);
    USERFAULT_INVARIANT(area.start == at && area.end <= move.from + move.old_length, "an area is moved in part");
    Area moved = area;
    moved.start = area.start - move.from + move.to;
    moved.end = area.end - move.from + move.to;
    if (const long result = space.insert(moved); result < 0) return result;
    space.erase(area.start, area.end);
    at = area.end;
  }
  return 0;
}

// Memory of the same kind behind the moved part, for an mremap that grows, or in the old place for
// MREMAP_DONTUNMAP: fresh, and registered as `like` is.
long make_fresh(const Area& like, std::uintptr_t start, std::uintptr_t end) noexcept {
  const long mapped = sys::mmap(start, end - start, like.protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (is_error(mapped)) return mapped;
  const Mapping mapping{.start = start, .end = end, .protection = like.protection};
  const bool tracked = like.extent->kind == Kind::kConverted;
  const long made = make_area(mapping, {.known = true, .anonymous = true}, start, end, tracked, false);
  if (made < 0) return made;
  Area& area = space.at(start);
  USERFAULT_INVARIANT(area.start == start && area.end == end, "fresh memory became another area");
  area.instance = like.instance;
  area.modes = like.modes;
  return 0;
}

// The program's object, from `offset` on, at [start, end): registered as `like` is.
long make_shared(const Area& like, std::uintptr_t start, std::uintptr_t end, long offset) noexcept {
  const Extent& extent = *like.extent;
  // Where the engine has no descriptor the alias can be duplicated, as far as it reaches.
  const long mapped = extent.fd >= 0
                          ? sys::mmap(start, end - start, like.protection, MAP_SHARED | MAP_FIXED, extent.fd, offset)
                          : sys::mremap(extent.alias + static_cast<std::uintptr_t>(offset - extent.fd_offset), 0,
                                        end - start, MREMAP_MAYMOVE | MREMAP_FIXED, start);
  if (is_error(mapped)) return mapped;
  if (extent.fd < 0) static_cast<void>(sys::mprotect(start, end - start, like.protection));
  const Mapping mapping{.start = start,
                        .end = end,
                        .protection = like.protection,
                        .shared = true,
                        .offset = static_cast<std::uint64_t>(offset),
                        .device = extent.device,
                        .inode = extent.inode};
  const MemoryKind kind{.known = true, .shared = true, .huge = extent.huge(), .page_size = extent.page_size()};
  const long made = make_area(mapping, kind, start, end, (like.modes & kTrackingModes) != 0,
                              (like.modes & USERFAULT_REGISTER_MODE_MINOR) != 0);
  if (made < 0) return made;
  Area& area = space.at(start);
  USERFAULT_INVARIANT(area.start == start && area.end == end, "fresh memory became another area");
  area.instance = like.instance;
  area.modes = like.modes;
  return 0;
}

// `last`: the area whose end the new part follows.
long extend(const Area& last, const Move& move) noexcept {
  const std::uintptr_t seam = move.to + move.old_length;
  const long offset = last.extent->offset_of(last.first + last.pages());
  if (last.extent->shared()) return make_shared(last, seam, move.to + move.new_length, offset);
  if (last.extent->huge()) return -ENOMEM;
  return make_fresh(last, seam, move.to + move.new_length);
}

// MREMAP_DONTUNMAP: the old address stays mapped and registered, with nothing in its page table.
long leave_behind(const Area& like, const Move& move) noexcept {
  const std::uintptr_t end = move.from + move.old_length;
  if (like.extent->shared()) return make_shared(like, move.from, end, like.extent->offset_of(like.first));
  return make_fresh(like, move.from, end);
}

// Without EVENT_REMAP the moved range loses its registration (real-kernel row 24).
void end_or_keep_registration(const Move& move, Events& events) noexcept {
  Instance* instance = space.at(move.to).instance;
  if (instance != nullptr && (instance->features & USERFAULT_FEATURE_EVENT_REMAP) != 0) {
    events.prepare(instance, USERFAULT_FEATURE_EVENT_REMAP, remap_event(move.from, move.to, move.old_length));
    return;
  }
  // Where no mapping is left to open a page with it stays closed, and its accesses fail.
  static_cast<void>(release_areas(move.to, move.to + move.new_length));
}

long carry_out(const Move& move, Events& events) noexcept {
  USERFAULT_INVARIANT(move.to != 0 && move.old_length != 0 && move.new_length >= move.old_length,
                      "a move has no target");
  const Area before = space.at(move.from);
  const Area last = space.at(move.from + move.old_length - 1);
  const bool grows = move.new_length > move.old_length;
  // What may fail for want of memory comes before what is hard to undo.
  long result = space.make_room();
  if (result == 0 && grows) result = extend(last, move);
  if (result == 0) result = move_mappings(move);
  if (result < 0) {
    if (grows) space.erase(move.to + move.old_length, move.to + move.new_length);
    sys::munmap(move.to, move.new_length);
    return result;
  }
  hold(before.extent);
  result = move_areas(move);
  if (result == 0 && move.keep_source) result = leave_behind(before, move);
  drop(before.extent);
  if (result < 0) return result;
  end_or_keep_registration(move, events);
  // What was moved away is unmapped there, and says so (mremap(2) ends in do_munmap).
  if (!move.keep_source)
    events.prepare(before.instance, USERFAULT_FEATURE_EVENT_UNMAP,
                   range_event(USERFAULT_EVENT_UNMAP, move.from, move.from + move.old_length));
  return static_cast<long>(move.to);
}

// Forms that the kernel refuses before it looks at any mapping.
long check_form(const Move& move, int flags) noexcept {
  if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0) return -EINVAL;
  if ((flags & MREMAP_FIXED) != 0 && (flags & MREMAP_MAYMOVE) == 0) return -EINVAL;
  if ((flags & MREMAP_DONTUNMAP) != 0 && ((flags & MREMAP_MAYMOVE) == 0 || move.old_length != move.new_length))
    return -EINVAL;
  if ((flags & MREMAP_FIXED) == 0) return 0;
  if (!is_page_aligned(move.to)) return -EINVAL;
  const bool apart = move.from + move.old_length <= move.to || move.to + move.new_length <= move.from;
  return apart ? 0 : -EINVAL;
}

std::intptr_t move_locked(Move& move, Events& events) noexcept {
  Locked locked(space.lock);
  if (!can_move_as_one(move.from, move.from + move.old_length)) return -EFAULT;
  // Huge pages cannot be left behind (VM_DONTEXPAND in the kernel's check).
  if (move.keep_source && space.at(move.from).extent->huge()) return -EINVAL;
  note_transition(move.from, move.from + move.old_length);
  if (const long cut = cut_at(move.from, move.from + move.old_length); cut < 0) return cut;
  if (move.to != 0) {
    if (const long cut = cut_at(move.to, move.to + move.new_length); cut < 0) return cut;
    prepare_unmap(events, move.to, move.to + move.new_length);
  }
  const long target = reserve_target(move);
  if (is_error(target)) {
    events.cancel();
    return target;
  }
  USERFAULT_INVARIANT(move.to == 0 || move.to == static_cast<std::uintptr_t>(target), "a fixed mapping went elsewhere");
  move.to = static_cast<std::uintptr_t>(target);
  // Where the kernel chose a free place the table may still have an area there, of memory that was unmapped by a
  // system call that the engine did not see.
  const bool source_is_gone = move.to < move.from + move.old_length && move.from < move.to + move.new_length;
  const long cut = source_is_gone ? -EFAULT : cut_at(move.to, move.to + move.new_length);
  if (cut < 0) {
    events.cancel();
    sys::munmap(move.to, move.new_length);
    return source_is_gone ? -EFAULT : -ENOMEM;
  }
  forget_areas(move.to, move.to + move.new_length);
  return carry_out(move, events);
}

// Memory that the engine does not serve moves over memory that it does. Where the kernel moves several mappings at once
// (6.17), what lies opposite a hole between them stays, so the table forgets a part of the target when
// its source has been moved, and when it is gone; each part is unmapped by itself and says so.
class Overlay {
 public:
  explicit Overlay(const Move& move) noexcept : move_(move) {}

  [[nodiscard]] std::intptr_t carry_out(int flags, Events& events) noexcept {
    Locked locked(space.lock);
    if (const long cut = cut_at(move_.to, move_.to + move_.new_length); cut < 0) return cut;
    if (const long result = find_parts(); result < 0) return result;
    const std::intptr_t result = sys::mremap(move_.from, move_.old_length, move_.new_length, flags, move_.to);
    const long forgot = is_error(result) ? forget_what_is_gone(events) : forget_parts(events);
    return forgot < 0 ? forgot : result;
  }

 private:
  struct TargetPart {
    std::uintptr_t start = 0;  // of the target
    std::uintptr_t end = 0;
  };
  static constexpr std::size_t kMostParts = 64;

  // Before the call, because afterwards the source is gone.
  long find_parts() noexcept {
    Mapping mapping;
    const std::uintptr_t end = move_.from + move_.old_length;
    if (move_.old_length == 0) parts_[count_++] = {move_.to, move_.to + move_.new_length};
    for (std::uintptr_t at = move_.from; at < end && find_mapping(at, &mapping) == 0 && mapping.start < end;
         at = mapping.end) {
      if (count_ == kMostParts) return -ENOMEM;
      const std::uintptr_t start = mapping.start > at ? mapping.start : at;
      parts_[count_++] = {start - move_.from + move_.to,
                          mapping.end < end ? mapping.end - move_.from + move_.to : move_.to + move_.new_length};
    }
    return 0;
  }

  long forget(TargetPart part, Events& events) noexcept {
    if (part.start >= part.end) return 0;
    if (const long cut = cut_at(part.start, part.end); cut < 0) return cut;
    prepare_unmap(events, part.start, part.end);
    forget_areas(part.start, part.end);
    return 0;
  }

  long forget_parts(Events& events) noexcept {
    for (std::size_t i = 0; i < count_; ++i)
      if (const long result = forget(parts_[i], events); result < 0) return result;
    return 0;
  }

  // A call that failed may have moved a part of the source, which is not mapped then, or unmapped an area in the
  // target. That another address of the target is not mapped says nothing: there may never have been anything.
  long forget_what_is_gone(Events& events) noexcept {
    const auto is_mapped = [](std::uintptr_t address) {
      Mapping mapping;
      return find_mapping(address, &mapping) == 0 && mapping.start <= address;
    };
    USERFAULT_INVARIANT(count_ <= kMostParts, "a move has more parts than there is room for");
    for (std::size_t i = 0; i < count_; ++i) {
      if (is_mapped(parts_[i].start - move_.to + move_.from)) continue;
      if (const long result = forget(parts_[i], events); result < 0) return result;
    }
    return for_each_area(move_.to, move_.to + move_.new_length, [&](const Area& area) {
      return is_mapped(area.start) ? 0 : forget({area.start, area.end}, events);
    });
  }

  const Move& move_;
  TargetPart parts_[kMostParts];
  std::size_t count_ = 0;
};

std::intptr_t move_over_served(const Move& move, int flags) noexcept {
  const SignalsBlocked blocked;
  Events events;
  const std::intptr_t result = Overlay(move).carry_out(flags, events);
  events.deliver();
  return result;
}

bool is_private(std::uintptr_t address) noexcept {
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  const Area* area = space.find(address);
  return area != nullptr && area->extent->converted();
}

// Grows without moving where the addresses behind are free, as the kernel prefers to.
bool grow_in_place(const Move& move) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  if (!can_move_as_one(move.from, move.from + move.old_length)) return false;
  const std::uintptr_t seam = move.from + move.old_length;
  const std::size_t more = move.new_length - move.old_length;
  const Area* next = space.first_ending_after(seam);
  if (next != space.end() && next->start < seam + more) return false;
  const long free =
      sys::mmap(seam, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (is_error(free)) return false;
  Move in_place = move;
  in_place.to = move.from;
  const Area last = space.at(seam - 1);
  if (extend(last, in_place) >= 0) return true;
  sys::munmap(seam, more);
  return false;
}

std::uintptr_t page_size_at(std::uintptr_t address) noexcept {
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  if (const Area* area = space.find(address); area != nullptr) return area->extent->page_size();
  Mapping mapping;
  const bool known = find_mapping(address, &mapping) == 0 && mapping.start <= address && mapping.page_size != 0;
  return known ? mapping.page_size : kPageSize;
}

std::intptr_t remap_served(Move move, int flags) noexcept {
  if (move.new_length < move.old_length) {
    if (const int result = munmap(move.from + move.new_length, move.old_length - move.new_length); result < 0)
      return result;
    move.old_length = move.new_length;
  }
  const bool may_stay = (flags & MREMAP_FIXED) == 0 && !move.keep_source;
  if (may_stay && (move.new_length == move.old_length || grow_in_place(move)))
    return static_cast<std::intptr_t>(move.from);
  if ((flags & MREMAP_MAYMOVE) == 0) return -ENOMEM;
  const SignalsBlocked blocked;
  Events events;
  const std::intptr_t result = move_locked(move, events);
  events.deliver();
  return result;
}

}  // namespace

std::intptr_t mremap(std::uintptr_t from, std::size_t old_length, std::size_t new_length, int flags,
                     std::uintptr_t to) noexcept {
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  Move move{.from = from,
            .to = fixed ? to : 0,
            .old_length = round_up_to_page(old_length),
            .new_length = round_up_to_page(new_length),
            .keep_source = (flags & MREMAP_DONTUNMAP) != 0};
  // Duplicating a shared mapping (old size 0) makes a mapping without a registration. What is
  // shared only because the engine made it so cannot be duplicated.
  if (move.old_length == 0 && is_private(from)) return -EINVAL;
  const bool from_served = move.old_length != 0 && is_served(from, from + move.old_length);
  const bool over_served = fixed && is_served(to, to + move.new_length);
  if (move.new_length == 0 || (!from_served && !over_served))
    return sys::mremap(from, old_length, new_length, flags, to);
  if (!is_page_aligned(from)) return -EINVAL;
  // Of huge pages lengths are rounded up, and addresses have to fit.
  const std::uintptr_t mask = page_size_at(from) - 1;
  move.old_length = (move.old_length + mask) & ~mask;
  move.new_length = (move.new_length + mask) & ~mask;
  if (((from | move.to) & mask) != 0) return -EINVAL;
  if (const long bad = check_form(move, flags); bad < 0) return bad;
  if (!from_served) return move_over_served(move, flags);
  return remap_served(move, flags);
}

}  // namespace userfault::engine::user::layout
