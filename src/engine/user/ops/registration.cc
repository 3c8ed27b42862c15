// SPDX-License-Identifier: Apache-2.0
#include "engine/user/ops/registration.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/user/memory/page_access.h"
#include "engine/user/memory/page_runs.h"
#include "engine/user/memory/track_memory.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/ops/arguments.h"
#include "engine/user/proc/vma_kind.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/page_size.h"
#include "engine/user/wait/fault_queue.h"

namespace userfault::engine::user {
namespace {

constexpr std::uint64_t bit(unsigned number) noexcept { return std::uint64_t{1} << number; }
constexpr std::uint64_t kBasicOperations = bit(USERFAULT_NR_WAKE) | bit(USERFAULT_NR_COPY) | bit(USERFAULT_NR_POISON) |
                                           bit(USERFAULT_NR_WRITEPROTECT) | bit(USERFAULT_NR_CONTINUE);
constexpr std::uint64_t kAllOperations = kBasicOperations | bit(USERFAULT_NR_ZEROPAGE) | bit(USERFAULT_NR_MOVE);

// What a registration finds in its range: a part of an area, or of a mapping that no area covers.
struct Candidate {
  Area* area = nullptr;
  Mapping mapping{};
  MemoryKind kind{};
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
};

MemoryKind kind_of(const Extent& extent) noexcept {
  return {.known = true,
          .anonymous = extent.converted() || extent.kind == Kind::kNative,
          .shared = extent.shared() || extent.kind == Kind::kFile,
          .huge = extent.huge(),
          .file = extent.kind == Kind::kFile,
          .page_size = extent.page_size()};
}

// False when nothing is left before `end`. Holes are passed over.
bool next_candidate(std::uintptr_t at, std::uintptr_t end, Candidate* candidate) noexcept {
  for (Piece piece; at < end; at = piece.end) {
    piece = piece_at(at, end);
    if (piece.area != nullptr) {
      *candidate = {.area = piece.area, .kind = kind_of(*piece.area->extent), .start = at, .end = piece.end};
      return true;
    }
    Mapping mapping;
    if (find_mapping(at, &mapping) < 0 || mapping.start >= piece.end) continue;
    *candidate = {.mapping = mapping,
                  .kind = memory_kind_of(mapping),
                  .start = mapping.start > at ? mapping.start : at,
                  .end = mapping.end < piece.end ? mapping.end : piece.end};
    return true;
  }
  return false;
}

// vma_can_userfault() in mm/userfaultfd.c.
bool can_serve(const MemoryKind& kind, std::uint64_t modes, bool wp_async) noexcept {
  if (!kind.known) return false;
  if ((modes & USERFAULT_REGISTER_MODE_MINOR) != 0 && !kind.huge && (kind.anonymous || kind.file)) return false;
  if (wp_async && modes == USERFAULT_REGISTER_MODE_WP) return true;
  return !kind.file;
}

// VM_MAYWRITE: a shared mapping of a file that was opened read-only can never be written. A second
// view of it says so without touching the first; hugetlb cannot be duplicated and passes.
bool may_be_written(const Mapping& mapping) noexcept {
  if ((mapping.protection & PROT_WRITE) != 0 || !mapping.shared) return true;
  const long view = sys::mremap(mapping.start, 0, kPageSize, MREMAP_MAYMOVE, 0);
  if (is_error(view)) return true;
  const auto address = static_cast<std::uintptr_t>(view);
  const long result = sys::mprotect(address, kPageSize, PROT_READ | PROT_WRITE);
  sys::munmap(address, kPageSize);
  return result != -EACCES;
}

struct Survey {
  long error = 0;
  bool huge = false;
};

Survey survey(const Instance& instance, std::uintptr_t start, std::uintptr_t end, std::uint64_t modes) noexcept {
  const bool wp_async = (instance.features & USERFAULT_FEATURE_WP_ASYNC) != 0;
  Survey result{.error = -EINVAL};
  Candidate candidate;
  for (std::uintptr_t at = start; at < end && next_candidate(at, end, &candidate); at = candidate.end) {
    if (!can_serve(candidate.kind, modes, wp_async)) return {.error = -EINVAL};
    if (candidate.area == nullptr && !may_be_written(candidate.mapping)) return {.error = -EPERM};
    const std::uintptr_t mask = candidate.kind.page_size - 1;
    // The range's own start counts for the first mapping, in a hole before it, too (userfaultfd_register in
    // mm/userfaultfd.c). UNREGISTER asks for that alone; the end matters where there is something to cut.
    const std::uintptr_t first = at == start ? start : candidate.start;
    if (((first | (modes != 0 ? candidate.end : 0)) & mask) != 0) return {.error = -EINVAL};
    if (candidate.area != nullptr && candidate.area->instance != nullptr && candidate.area->instance != &instance)
      return {.error = -EBUSY};
    result.error = 0;
    result.huge |= candidate.kind.huge;
  }
  return result;
}

// Gives one area to the instance.
long enlist(Instance& instance, std::uintptr_t start, std::uint64_t modes) noexcept {
  Area* area = &space.at(start);
  USERFAULT_INVARIANT(area->instance == nullptr || area->instance == &instance, "an area has two instances");
  const bool had = area->instance == &instance;
  // Fewer modes than before are silently more (real-kernel row 5).
  const std::uint64_t before = had ? area->modes : 0;
  const std::uint64_t after = (before & modes) == modes ? before : modes;
  const std::uint64_t added = after & ~before;
  area->instance = &instance;
  area->modes = static_cast<std::uint32_t>(after);
  if ((added & kTrackingModes) == 0) return 0;
  return track_area(start, (after & USERFAULT_REGISTER_MODE_MINOR) != 0);
}

// All are found before anything is mapped: what the engine maps itself (states, aliases) may land in a hole of the
// range, and must not be taken for memory of the program's. Under the exclusive lock.
constexpr std::size_t kMostCandidates = 1024;
constinit Candidate candidates[kMostCandidates];

// Their number, or -ENOMEM when there are more than a registration can hold.
long collect(std::uintptr_t start, std::uintptr_t end) noexcept {
  std::size_t count = 0;
  Candidate candidate;
  for (std::uintptr_t at = start; at < end && next_candidate(at, end, &candidate); at = candidate.end) {
    if (count == kMostCandidates) return -ENOMEM;
    USERFAULT_INVARIANT(candidate.start >= at && candidate.start < candidate.end && candidate.end <= end,
                        "a candidate for registration reaches out of its range");
    candidates[count++] = candidate;
  }
  return static_cast<long>(count);
}

long apply(Instance& instance, std::uintptr_t start, std::uintptr_t end, std::uint64_t modes) noexcept {
  const bool tracked = (modes & kTrackingModes) != 0;
  const bool minor = (modes & USERFAULT_REGISTER_MODE_MINOR) != 0;
  const long count = collect(start, end);
  if (count < 0) return count;
  for (const Candidate* found = candidates; found != candidates + count; ++found) {
    // The area's own pointer is stale as soon as another one was inserted; its address is not.
    long result = 0;
    if (found->area == nullptr)
      result = make_area(found->mapping, found->kind, found->start, found->end, tracked, minor);
    if (result == 0) result = enlist(instance, found->start, modes);
    if (result < 0) return result;
  }
  return 0;
}

void clear_protection(Area& area) noexcept {
  for (std::size_t i = area.first; i < area.first + area.pages(); ++i)
    area.state(i).update([](PageState state) { return state.with_protection(false); });
}

// Opens what is not poisoned, and makes missing pages what an open page is that is not tracked.
// `poisoned` tells whether something poisoned is left. -ENOMEM: the limit of mappings.
long open_all(const Area& area, bool* poisoned) noexcept {
  const auto is_poisoned = [&](std::size_t index) { return area.state(index).load().is_poisoned(); };
  return visit_runs_by(all_pages(area), is_poisoned, [&](PageRun run, bool poison) {
    *poisoned |= poison;
    return poison ? 0 : open_run(area, run, false);
  });
}

void protect_again(const Area& area) noexcept {
  for (std::size_t i = area.first; i < area.first + area.pages(); ++i)
    if (area.state(i).load().is_write_protected()) static_cast<void>(protect_run(area, {i, 1}, true));
}

// Takes the area from its instance; `forget`: the engine has nothing left in it. When a page cannot be
// opened the area stays registered: what was opened and is missing is closed again.
long release_area(Area& area, bool* forget) noexcept {
  note_transition(area.start, area.end);
  bool poisoned = false;
  if (const long result = open_all(area, &poisoned); result < 0) {
    protect_again(area);
    if ((area.modes & kTrackingModes) == 0) return result;
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
  USERFAULT_INVARIANT(is_valid_range(start, length), "a range is registered that was not checked");
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
  return for_each_area(start, end, [](Area& area) -> long {
    bool forget = false;
    if (const long result = release_area(area, &forget); result < 0) return result;
    if (forget) space.erase(area.start, area.end);
    return 0;
  });
}

namespace {

// An area without a registration is released as a whole, which changes nothing; to cut it a huge page might refuse.
long cut_registered(std::uintptr_t address) noexcept {
  const Area* area = space.find(address);
  return area == nullptr || area->instance == nullptr ? 0 : space.split(address);
}

}  // namespace

long unregister_range(Instance& instance, std::uintptr_t start, std::size_t length) noexcept {
  USERFAULT_INVARIANT(is_valid_range(start, length), "a range is unregistered that was not checked");
  SignalsBlocked blocked;
  Locked locked(space.lock);
  const std::uintptr_t end = start + length;
  const Survey found = survey(instance, start, end, 0);
  // Linux since 6.14: another descriptor's range is EINVAL here (real-kernel row 6).
  if (found.error < 0) return -EINVAL;
  // Wakes the waiters in ranges that are registered still, not those whose page was moved away or unmapped under them.
  // The woken threads block on Space::lock until this call returns.
  static_cast<void>(for_each_piece(start, end, [&](const Piece& piece) {
    if (piece.area != nullptr && piece.area->instance == &instance) wake_range(instance, piece.start, piece.end);
    return 0;
  }));
  // After the waking: where a huge page refuses to be cut the kernel has woken already.
  if (const long result = cut_registered(start); result < 0) return result;
  if (const long result = cut_registered(end); result < 0) return result;
  return release_areas(start, end);
}

void unregister_all(Instance& instance) noexcept {
  SignalsBlocked blocked;
  Locked locked(space.lock);
  static_cast<void>(for_each_area(0, kLastAddress, [&](const Area& area) {
    const std::uintptr_t start = area.start;
    if (area.instance != &instance || release_areas(start, area.end) == 0) return 0;
    // No mapping is left to open its pages with. No other instance may serve them, so accesses that no monitor answers
    // any more end in SIGBUS.
    Area& left = space.at(start);
    left.instance = nullptr;
    left.modes = 0;
    return 0;
  }));
}

}  // namespace userfault::engine::user
