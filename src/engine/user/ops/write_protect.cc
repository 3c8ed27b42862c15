// SPDX-License-Identifier: Apache-2.0
#include "engine/user/ops/write_protect.h"

#include <cerrno>

#include "engine/user/memory/page_access.h"
#include "engine/user/memory/presence.h"
#include "engine/user/ops/arguments.h"
#include "engine/user/proc/vma_query.h"
#include "engine/user/rt/check.h"
#include "engine/user/wait/fault_queue.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

// Whether protecting the range protects this page. mwriteprotect_range: present pages are; what is
// not there gets a marker in shared memory and huge pages always, in anonymous memory with
// WP_UNPOPULATED (6.4).
bool takes_protection(const Area& area, std::size_t index, PageState state) noexcept {
  USERFAULT_INVARIANT(area.instance != nullptr, "a page is protected that is not registered");
  if (state.is_present()) return true;
  if (!state.is_missing()) return false;
  if (area.extent->shared() || area.extent->huge() || area.extent->kind == Kind::kFile) return true;
  if ((area.instance->features & USERFAULT_FEATURE_WP_UNPOPULATED) != 0) return true;
  // Missing and open: it is not tracked, so only the kernel knows.
  return state.is_open() && may_have_content(area, index);
}

void mark(const Area& area, std::size_t index, bool protect) noexcept {
  area.state(index).update([protect](PageState state) { return state.with_protection(protect); });
}

// After a failure half-way, mapping and state must not contradict each other: what stayed without
// PROT_WRITE counts as protected, so that a write there is reported instead of tried again for ever.
void call_protected_what_is(const Area& area, PageRun run) noexcept {
  for (std::size_t i = run.first; i < run.first + run.count; ++i)
    if (area.state(i).load().is_read_only()) mark(area, i, true);
}

bool is_busy(const Area& area, std::size_t index) noexcept { return area.state(index).load().is_busy(); }

// Protects pages from `first` on, to the first busy one at the most; returns where it stopped, or an
// error. First the mapping, then the states: a write in between faults and waits for the lock.
// The owner of a busy page opens and finishes it under the same lock, so a state seen here fits its mapping. Where a
// page became busy meanwhile its owner decides about the protection that is marked on it: the filling came later.
long protect_some(const Area& area, std::size_t first, std::size_t end) noexcept {
  Locked changing(area.extent->protection);
  std::size_t i = first;
  while (i < end && !is_busy(area, i)) {
    std::size_t last = i;
    while (last < end && takes_protection(area, last, area.state(last).load())) ++last;
    const PageRun run{i, last - i};
    if (const long result = protect_run(area, run, true); result < 0) {
      static_cast<void>(protect_run(area, run, false));
      call_protected_what_is(area, run);
      return result;
    }
    for (; i < last; ++i) mark(area, i, true);
    if (i < end && !is_busy(area, i)) ++i;
  }
  return static_cast<long>(i);
}

long protect_pages(const Area& area, PageRun run) noexcept {
  const std::size_t end = run.first + run.count;
  for (std::size_t i = run.first; i < end;) {
    const long stopped = protect_some(area, i, end);
    if (stopped < 0) return stopped;
    USERFAULT_INVARIANT(static_cast<std::size_t>(stopped) >= i && static_cast<std::size_t>(stopped) <= end,
                        "protection went on outside of its range");
    i = static_cast<std::size_t>(stopped);
    // Not under the lock: the busy page's owner needs it to finish.
    if (i < end) wait_while_busy(*area.extent, area.state(i));
  }
  return 0;
}

long unprotect_pages(const Area& area, PageRun run) noexcept {
  Locked changing(area.extent->protection);
  for (std::size_t i = run.first; i < run.first + run.count; ++i) mark(area, i, false);
  const long result = protect_run(area, run, false);
  if (result < 0) call_protected_what_is(area, run);
  return result;
}

bool has_mapping(std::uintptr_t start, std::uintptr_t end) noexcept {
  Mapping mapping;
  return find_mapping(start, &mapping) == 0 && mapping.start < end;
}

// Under the table's lock, shared.
long change_range(const Instance& instance, const ProtectRequest& request) noexcept {
  if (instance.changing.load() != 0) return -EAGAIN;
  bool found = false;
  const auto change = [&](const Piece& piece) -> long {
    // A hole is passed over; memory that is mapped and not registered is an error.
    if (piece.area == nullptr) return has_mapping(piece.start, piece.end) ? -ENOENT : 0;
    const Area& area = *piece.area;
    if (area.instance == nullptr || (area.modes & USERFAULT_REGISTER_MODE_WP) == 0) return -ENOENT;
    if (area.extent->huge() && ((request.start | request.length) & (area.extent->page_size() - 1)) != 0) return -EINVAL;
    found = true;
    return request.protect ? protect_pages(area, piece.pages()) : unprotect_pages(area, piece.pages());
  };
  const long result = for_each_piece(request.start, request.start + request.length, change);
  return result == 0 && !found ? -ENOENT : result;
}

}  // namespace

long write_protect(Instance& instance, const ProtectRequest& request) noexcept {
  USERFAULT_INVARIANT(is_valid_range(request.start, request.length), "a range is protected that was not checked");
  SignalsBlocked blocked;
  long result;
  {
    LockedShared locked(space.lock);
    result = change_range(instance, request);
  }
  if (result == 0 && request.wake) wake_range(instance, request.start, request.start + request.length);
  return result;
}

}  // namespace userfault::engine::user
