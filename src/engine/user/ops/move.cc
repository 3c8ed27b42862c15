// SPDX-License-Identifier: Apache-2.0
// Served pages live in memfds of the engine's, so moving is copying with the table locked: the source is made
// read-only first, so a write that comes too late faults and finds either the old place (the move failed) or an empty
// one.
#include "engine/user/ops/move.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/user/memory/page_access.h"
#include "engine/user/memory/presence.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/memory/write_native.h"
#include "engine/user/ops/arguments.h"
#include "engine/user/proc/pagemap.h"
#include "engine/user/proc/vma_query.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/page_size.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

// Where pages come from: areas, memory that the engine does not serve, or one beside the other where a registration
// has ended. To the program it is one mapping, and all of it permits the same.
struct Source {
  int protection = 0;
};

// A part of the source, which begins at `start` or before.
struct SourcePart {
  const Instance* instance = nullptr;
  std::uint32_t modes = 0;
  int protection = 0;
  std::uintptr_t end = 0;
  [[nodiscard]] bool permits_the_same(const SourcePart& other) const noexcept {
    return instance == other.instance && modes == other.modes && protection == other.protection;
  }
};

long find_part(std::uintptr_t start, SourcePart* part) noexcept {
  if (const Area* area = space.find(start); area != nullptr) {
    if (area->extent->kind != Kind::kConverted && area->extent->kind != Kind::kNative) return -EINVAL;
    *part = {area->instance, area->modes, area->protection, area->end};
    return 0;
  }
  Mapping mapping;
  if (find_mapping(start, &mapping) < 0 || mapping.start > start) return -EINVAL;
  if (mapping.shared || mapping.inode != 0 || mapping.special) return -EINVAL;
  *part = {.protection = mapping.protection, .end = piece_at(start, mapping.end).end};
  return 0;
}

long find_source(std::uintptr_t from, std::size_t length, Source* source) noexcept {
  SourcePart first;
  if (const long result = find_part(from, &first); result < 0) return result;
  for (SourcePart part = first; part.end < from + length;) {
    if (const long result = find_part(part.end, &part); result < 0) return result;
    if (!first.permits_the_same(part)) return -EINVAL;
  }
  source->protection = first.protection;
  return (first.protection & PROT_WRITE) != 0 ? 0 : -EINVAL;
}

bool is_there(std::uintptr_t address) noexcept {
  Mapping mapping;
  return space.find(address) != nullptr || (find_mapping(address, &mapping) == 0 && mapping.start <= address);
}

long check_target(const Instance& instance, std::uintptr_t to, std::size_t length, const Source& source) noexcept {
  const Area* area = space.find(to);
  if (area == nullptr) {
    Mapping mapping;
    return find_mapping(to, &mapping) == 0 && mapping.start <= to ? -EINVAL : -ENOENT;
  }
  const std::uint32_t modes = area->modes;
  for (;; ++area) {
    if (area->instance != &instance || area->protection != source.protection || area->modes != modes) return -EINVAL;
    if (area->extent->kind != Kind::kConverted && area->extent->kind != Kind::kNative) return -EINVAL;
    if (area->end >= to + length) return 0;
    if (area + 1 == space.end() || area[1].start != area->end) return -EINVAL;
  }
}

// A page that a fork shares cannot be moved (PageAnonExclusive in the kernel; its pagemap entry says
// the same), but for the zero page, which belongs to no process.
bool is_shared_with_a_child(std::uintptr_t address, const char* content) noexcept {
  const std::uint64_t entry = pagemap_entry(address);
  if ((entry & kEntryPresent) == 0 || (entry & kEntryExclusive) != 0) return false;
  for (std::size_t i = 0; i < kPageSize; ++i)
    if (content[i] != 0) return true;
  return false;
}

// Poison, or protection without a page: what stands there is neither a page nor a hole.
bool is_marker(std::uintptr_t from) noexcept {
  const Area* area = space.find(from);
  if (area == nullptr) return false;
  const PageState state = area->state(area->page_at(from)).load();
  return state.is_marker() && (state.is_poisoned() || !may_have_content(*area, area->page_at(from)));
}

// A page that ZEROPAGE made in memory which is only write-protected is there without being populated.
bool is_known_zero(const Area* area, std::uintptr_t from) noexcept {
  return area != nullptr && area->state(area->page_at(from)).load().is_present();
}

// Without write protection, which belongs to the content that was there.
void set_content(const Area& area, std::size_t index, PageContent content) noexcept {
  area.state(index).update([content](PageState state) { return state.with_content(content).with_protection(false); });
}

// One page of the source taken away: its content goes to `buffer`. -ENOENT: a hole.
long take_page(std::uintptr_t from, char* buffer) noexcept {
  const Area* area = space.find(from);
  if (area == nullptr || area->extent->kind == Kind::kNative) {
    if (!is_populated(from) && !is_known_zero(area, from)) return -ENOENT;
    if (const long result = sys::mprotect(from, kPageSize, PROT_READ); result < 0) return result;
    if (!guarded_copy(buffer, reinterpret_cast<const void*>(from), kPageSize)) return -EFAULT;
    return is_shared_with_a_child(from, buffer) ? -EBUSY : 0;
  }
  const std::size_t index = area->page_at(from);
  const PageState state = area->state(index).load();
  const bool there = state.is_present() || (state.is_untracked() && may_have_content(*area, index));
  if (!there) return -ENOENT;
  if (const long result = close_run(*area, {index, 1}); result < 0) return result;
  return sys::pread(area->extent->fd, buffer, kPageSize, area->extent->offset_of(index)) == static_cast<long>(kPageSize)
             ? 0
             : -EFAULT;
}

// The source's page is gone for good, or stays when the target could not be filled.
long leave_source(const Source& source, std::uintptr_t from, bool taken) noexcept {
  const Area* area = space.find(from);
  if (area == nullptr || area->extent->kind == Kind::kNative) {
    if (taken) sys::madvise(from, kPageSize, MADV_DONTNEED);
    if (area != nullptr) area->state(area->page_at(from)).store(PageState().mapped(false));
    return sys::mprotect(from, kPageSize, source.protection);
  }
  const std::size_t index = area->page_at(from);
  const bool tracked = (area->modes & USERFAULT_REGISTER_MODE_MISSING) != 0;
  if (!taken) {
    const bool protect = area->state(index).load().is_write_protected();
    return open_run(*area, {index, 1}, protect);
  }
  static_cast<void>(punch_hole(*area->extent, {index, 1}));
  set_content(*area, index, PageContent::kMissing);
  return tracked ? 0 : open_run(*area, {index, 1}, false);
}

long put_page(std::uintptr_t to, const char* buffer) noexcept {
  const Area& area = space.at(to);
  const std::size_t index = area.page_at(to);
  USERFAULT_INVARIANT(area.extent->page_shift == kPageShift, "a page is moved into a huge one");
  if (const long result = close_run(area, {index, 1}); result < 0) return result;
  const long wrote = area.extent->kind == Kind::kNative
                         ? write_native(to, reinterpret_cast<std::uintptr_t>(buffer), kPageSize)
                         : sys::pwrite(area.extent->fd, buffer, kPageSize, area.extent->offset_of(index));
  if (wrote != static_cast<long>(kPageSize)) return -ENOMEM;
  if (const long result = open_run(area, {index, 1}, false); result < 0) return result;
  set_content(area, index, PageContent::kPresent);
  return 0;
}

// Whether the target's page can take one: MOVE goes over no marker (pte_none in move_pages_pte).
bool is_free(std::uintptr_t to) noexcept {
  const Area& area = space.at(to);
  const std::size_t index = area.page_at(to);
  const PageState state = area.state(index).load();
  if (!state.is_missing() || state.is_write_protected()) return false;
  return !state.is_open() || !may_have_content(area, index);
}

constinit Mutex buffer_lock;
constinit char page_buffer[kPageSize];

long move_page(const Source& source, std::uintptr_t to, std::uintptr_t from, bool allow_holes) noexcept {
  if (is_marker(from)) return -EFAULT;  // move_pages_pte
  Locked locked(buffer_lock);
  long result = take_page(from, page_buffer);
  if (result == -ENOENT && allow_holes) return 0;
  if (result == -ENOENT) return result;
  if (result == 0) result = put_page(to, page_buffer);
  const long left = leave_source(source, from, result == 0);
  return result < 0 ? result : left;
}

}  // namespace

long move_pages(Instance& instance, const MoveRequest& request) noexcept {
  const auto [to, from, length, allow_holes] = request;
  USERFAULT_INVARIANT(is_valid_range(to, length) && is_valid_range(from, length),
                      "a range is moved that was not checked");
  SignalsBlocked blocked;
  Locked locked(space.lock);
  if (instance.changing.load() != 0) return -EAGAIN;
  // Both have to be mapped before anything else is looked at (find_vmas_mm_locked).
  if (!is_there(to) || !is_there(from)) return -ENOENT;
  Source source;
  if (const long result = find_source(from, length, &source); result < 0) return result;
  if (const long result = check_target(instance, to, length, source); result < 0) return result;
  note_transition(from, from + length);
  for (std::size_t done = 0; done < length; done += kPageSize) {
    long result = is_free(to + done) ? 0 : -EEXIST;
    if (result == 0) result = move_page(source, to + done, from + done, allow_holes);
    if (result < 0) return done > 0 ? static_cast<long>(done) : result;
  }
  return static_cast<long>(length);
}

}  // namespace userfault::engine::user
