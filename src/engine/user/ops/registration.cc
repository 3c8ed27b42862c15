// SPDX-License-Identifier: Apache-2.0
#include "engine/user/ops/registration.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/user/memory/page_access.h"
#include "engine/user/memory/track_memory.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/proc/vma_kind.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

constexpr std::uint64_t kTracking = USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_MINOR;

constexpr std::uint64_t bit(unsigned number) noexcept { return std::uint64_t{1} << number; }
constexpr std::uint64_t kBasicOperations = bit(USERFAULT_NR_WAKE) | bit(USERFAULT_NR_COPY) | bit(USERFAULT_NR_POISON) |
                                           bit(USERFAULT_NR_WRITEPROTECT) | bit(USERFAULT_NR_CONTINUE);
constexpr std::uint64_t kAllOperations = kBasicOperations | bit(USERFAULT_NR_ZEROPAGE) | bit(USERFAULT_NR_MOVE);

// One step of a walk over [at, end): an area, or a mapping that no area covers.
struct Piece {
  Area* area = nullptr;
  Mapping mapping{};
  Backing backing{};
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
};

Backing backing_of(const Extent& extent) noexcept {
  return {.known = true,
          .anonymous = extent.converted() || extent.kind == Kind::kNative,
          .shared = extent.shared() || extent.kind == Kind::kFile,
          .huge = extent.huge(),
          .file = extent.kind == Kind::kFile,
          .page_size = extent.page_size()};
}

// False when nothing is left before `end`. Holes are passed over.
bool next_piece(std::uintptr_t at, std::uintptr_t end, Piece* piece) noexcept {
  Area* area = space.lower(at);
  if (area != space.end() && area->start <= at) {
    *piece = {
        .area = area, .backing = backing_of(*area->extent), .start = at, .end = area->end < end ? area->end : end};
    return true;
  }
  const std::uintptr_t limit = area != space.end() && area->start < end ? area->start : end;
  Mapping mapping;
  if (find_mapping(at, &mapping) == 0 && mapping.start < limit) {
    *piece = {.mapping = mapping,
              .backing = classify(mapping),
              .start = mapping.start > at ? mapping.start : at,
              .end = mapping.end < limit ? mapping.end : limit};
    return true;
  }
  return limit < end && next_piece(limit, end, piece);
}

// vma_can_userfault() in mm/userfaultfd.c.
bool can_serve(const Backing& backing, std::uint64_t modes, bool wp_async) noexcept {
  if (!backing.known) return false;
  if ((modes & USERFAULT_REGISTER_MODE_MINOR) != 0 && !backing.huge && (backing.anonymous || backing.file))
    return false;
  if (wp_async && modes == USERFAULT_REGISTER_MODE_WP) return true;
  return !backing.file;
}

// VM_MAYWRITE: a shared mapping of a file that was opened read-only can never be written. A second
// view of it says so without touching the first; hugetlb cannot be duplicated and passes.
bool may_be_written(const Mapping& mapping) noexcept {
  if ((mapping.protection & PROT_WRITE) != 0 || !mapping.shared) return true;
  const long view = sys::mremap(mapping.start, 0, 4096, MREMAP_MAYMOVE, 0);
  if (view < 0 && view > -4096) return true;
  const auto address = static_cast<std::uintptr_t>(view);
  const long result = sys::mprotect(address, 4096, PROT_READ | PROT_WRITE);
  sys::munmap(address, 4096);
  return result != -EACCES;
}

struct Survey {
  long error = 0;
  bool huge = false;
};

Survey survey(const Instance& instance, std::uintptr_t start, std::uintptr_t end, std::uint64_t modes) noexcept {
  const bool wp_async = (instance.features & USERFAULT_FEATURE_WP_ASYNC) != 0;
  Survey result{.error = -EINVAL};
  Piece piece;
  for (std::uintptr_t at = start; at < end && next_piece(at, end, &piece); at = piece.end) {
    if (!can_serve(piece.backing, modes, wp_async)) return {.error = -EINVAL};
    if (piece.area == nullptr && !may_be_written(piece.mapping)) return {.error = -EPERM};
    const std::uintptr_t mask = piece.backing.page_size - 1;
    // The range's own start counts for the first mapping, in a hole before it, too (userfaultfd_register in
    // mm/userfaultfd.c). UNREGISTER asks for that alone; the end matters where there is something to cut.
    const std::uintptr_t first = at == start ? start : piece.start;
    if (((first | (modes != 0 ? piece.end : 0)) & mask) != 0) return {.error = -EINVAL};
    if (piece.area != nullptr && piece.area->instance != nullptr && piece.area->instance != &instance)
      return {.error = -EBUSY};
    result.error = 0;
    result.huge |= piece.backing.huge;
  }
  return result;
}

// Gives one area to the instance.
long enlist(Instance& instance, std::uintptr_t start, std::uint64_t modes) noexcept {
  Area* area = space.find(start);
  const bool had = area->instance == &instance;
  // Fewer modes than before are silently more (real-kernel row 5).
  const std::uint64_t before = had ? area->modes : 0;
  const std::uint64_t after = (before & modes) == modes ? before : modes;
  const std::uint64_t added = after & ~before;
  area->instance = &instance;
  area->modes = static_cast<std::uint32_t>(after);
  if ((added & kTracking) == 0) return 0;
  return track_area(start, (after & USERFAULT_REGISTER_MODE_MINOR) != 0);
}

// All pieces are found before anything is mapped: what we map ourselves (states, aliases) may land in
// a hole of the range, and must not be taken for memory of the program's. Under the exclusive lock.
constexpr std::size_t kMostPieces = 1024;
constinit Piece pieces[kMostPieces];

// The number of pieces, or -ENOMEM when there are more than a registration can hold.
long collect(std::uintptr_t start, std::uintptr_t end) noexcept {
  std::size_t count = 0;
  Piece piece;
  for (std::uintptr_t at = start; at < end && next_piece(at, end, &piece); at = piece.end) {
    if (count == kMostPieces) return -ENOMEM;
    pieces[count++] = piece;
  }
  return static_cast<long>(count);
}

long apply(Instance& instance, std::uintptr_t start, std::uintptr_t end, std::uint64_t modes) noexcept {
  const bool tracked = (modes & kTracking) != 0;
  const bool minor = (modes & USERFAULT_REGISTER_MODE_MINOR) != 0;
  const long count = collect(start, end);
  if (count < 0) return count;
  for (const Piece* piece = pieces; piece != pieces + count; ++piece) {
    // The area's own pointer is stale as soon as another one was inserted; its address is not.
    long result = 0;
    if (piece->area == nullptr)
      result = make_area(piece->mapping, piece->backing, piece->start, piece->end, tracked, minor);
    if (result == 0) result = enlist(instance, piece->start, modes);
    if (result < 0) return result;
  }
  return 0;
}

void clear_protection(Area& area) noexcept {
  for (std::size_t i = area.first; i < area.first + area.pages(); ++i)
    area.state(i).update([](PageState state) { return state.with_protection(false); });
}

// Opens what is not poisoned, and makes missing pages what an open page is that nobody tracks.
// `poisoned` tells whether something poisoned is left. -ENOMEM: the limit of mappings.
long open_all(const Area& area, bool* poisoned) noexcept {
  const std::size_t end = area.first + area.pages();
  for (std::size_t i = area.first; i < end;) {
    const bool poison = area.state(i).load().is_poisoned();
    std::size_t last = i + 1;
    while (last < end && area.state(last).load().is_poisoned() == poison) ++last;
    if (!poison) {
      if (const long result = open_run(area, {i, last - i}, false); result < 0) return result;
    }
    *poisoned |= poison;
    i = last;
  }
  return 0;
}

void protect_again(const Area& area) noexcept {
  for (std::size_t i = area.first; i < area.first + area.pages(); ++i)
    if (area.state(i).load().is_write_protected()) static_cast<void>(protect_run(area, {i, 1}, true));
}

// Takes the area from its instance; `forget`: nothing of ours is left in it. When a page cannot be
// opened the area stays registered: what was opened and is missing is closed again.
long release_area(Area& area, bool* forget) noexcept {
  note_transition(area.start, area.end);
  bool poisoned = false;
  if (const long result = open_all(area, &poisoned); result < 0) {
    protect_again(area);
    if ((area.modes & kTracking) == 0) return result;
    static_cast<void>(track_area(area.start, (area.modes & USERFAULT_REGISTER_MODE_MINOR) != 0));
    return result;
  }
  clear_protection(area);
  area.instance = nullptr;
  area.modes = 0;
  *forget = !poisoned && !area.extent->converted();
  return 0;
}

}  // namespace

long register_range(Instance& instance, std::uintptr_t start, std::size_t length, std::uint64_t modes,
                    std::uint64_t* ioctls) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  const std::uintptr_t end = start + length;
  const Survey found = survey(instance, start, end, modes);
  if (found.error < 0) return found.error;
  if (const long result = space.split(start); result < 0) return result;
  if (const long result = space.split(end); result < 0) return result;
  if (const long result = apply(instance, start, end, modes); result < 0) return result;
  *ioctls = found.huge ? kBasicOperations : kAllOperations;
  if ((modes & USERFAULT_REGISTER_MODE_WP) == 0) *ioctls &= ~bit(USERFAULT_NR_WRITEPROTECT);
  if ((modes & USERFAULT_REGISTER_MODE_MINOR) == 0) *ioctls &= ~bit(USERFAULT_NR_CONTINUE);
  return 0;
}

long release_areas(std::uintptr_t start, std::uintptr_t end) noexcept {
  for (std::uintptr_t at = start; at < end;) {
    Area* area = space.lower(at);
    if (area == space.end() || area->start >= end) return 0;
    at = area->end;
    bool forget = false;
    if (const long result = release_area(*area, &forget); result < 0) return result;
    if (forget) space.erase(area->start, area->end);
  }
  return 0;
}

namespace {

// What nobody is registered with is released as a whole, which changes nothing; to cut it a huge page
// might refuse.
long cut_registered(std::uintptr_t address) noexcept {
  const Area* area = space.find(address);
  return area == nullptr || area->instance == nullptr ? 0 : space.split(address);
}

}  // namespace

long unregister_range(Instance& instance, std::uintptr_t start, std::size_t length) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  const std::uintptr_t end = start + length;
  const Survey found = survey(instance, start, end, 0);
  // Linux since 6.14: another descriptor's range is EINVAL here (real-kernel row 6).
  if (found.error < 0) return -EINVAL;
  // Only who waits in memory that is registered still: a page that was moved away or unmapped under a
  // thread is no business of this call. Those who wake wait for the table's lock.
  for (const Area* area = space.lower(start); area != space.end() && area->start < end; ++area)
    if (area->instance == &instance)
      wake_range(instance, area->start > start ? area->start : start, area->end < end ? area->end : end);
  // After the waking: where a huge page refuses to be cut the kernel has woken already.
  if (const long result = cut_registered(start); result < 0) return result;
  if (const long result = cut_registered(end); result < 0) return result;
  return release_areas(start, end);
}

void unregister_all(Instance& instance) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  for (std::uintptr_t at = 0;;) {
    Area* area = space.lower(at);
    while (area != space.end() && area->instance != &instance) ++area;
    if (area == space.end()) return;
    at = area->end;
    if (release_areas(area->start, area->end) == 0) continue;
    // No mapping is left to open its pages with. Nobody may see them otherwise, so accesses that
    // nobody answers any more end in SIGBUS.
    area = space.find(at - 1);
    area->instance = nullptr;
    area->modes = 0;
  }
}

}  // namespace userfault::engine::user
