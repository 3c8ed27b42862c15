// SPDX-License-Identifier: Apache-2.0
#include "engine/user/ops/fill.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>

#include "engine/user/memory/page_access.h"
#include "engine/user/memory/presence.h"
#include "engine/user/memory/write_native.h"
#include "engine/user/ops/arguments.h"
#include "engine/user/proc/pagemap.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/linux_abi.h"
#include "engine/user/wait/fault_queue.h"

namespace userfault::engine::user {
namespace {

// How many pages one step makes busy: enough to make the system calls cheap, few enough that a
// thread which needs one of them does not wait long.
constexpr std::size_t kStepBytes = std::size_t{1} << 18;

struct Claim {
  std::size_t count = 0;  // pages that the caller owns now
  long stopped_by = 0;    // why the next one is not: -EEXIST, or 0 when it is busy or none is left
};

// A page can be filled when it is missing; and over a poison or a write-protect marker where the
// kernel allows that (pte_none_mostly in mm/userfaultfd.c): by COPY and CONTINUE, in shared memory by
// ZEROPAGE too, which makes a page there.
bool fillable(const Extent& extent, Fill fill, PageState state) noexcept {
  const bool over_markers =
      fill == Fill::kCopy || fill == Fill::kContinue || (fill == Fill::kZero && extent.kind == Kind::kShared);
  return state.is_marker() ? over_markers : state.is_missing();
}

// `before` gets the state that each page was in when it was claimed. A state loaded before the exchange may be another
// thread's busy one, and to restore that would leave the page busy for ever.
Claim claim(const Area& area, PageRun run, Fill fill, PageState* before) noexcept {
  Claim result;
  for (; result.count < run.count; ++result.count) {
    auto& state = area.state(run.first + result.count);
    PageState seen = state.load();
    for (;;) {
      if (seen.is_busy()) return result;
      if (!fillable(*area.extent, fill, seen)) {
        result.stopped_by = -EEXIST;
        return result;
      }
      if (state.try_change(seen, seen.claimed())) break;
    }
    before[result.count] = seen;
  }
  return result;
}

struct FreePages {
  std::size_t count = 0;
  long stopped_by = 0;  // why the next page is not
};

FreePages count_free(const Area& area, PageRun run) noexcept {
  FreePages free;
  for (; free.count < run.count && free.stopped_by == 0; ++free.count) {
    const Presence found = look_up_content(area, run.first + free.count);
    if (found == Presence::kAbsent) continue;
    free.stopped_by = found == Presence::kPresent ? -EEXIST : -ENOMEM;
    break;
  }
  return free;
}

// Content of pages that failed half-way must not stay: a later ZEROPAGE and the end of the
// registration rely on a missing page having none.
void take_content_back(const Extent& extent, PageRun run) noexcept { static_cast<void>(punch_hole(extent, run)); }

// Bytes written into the object, whole pages only; -EFAULT when not even the first page was.
long write_object(const Extent& extent, PageRun run, std::uintptr_t source) noexcept {
  const std::size_t bytes = run.count << extent.page_shift;
  std::size_t done = 0;
  long error = -EFAULT;
  if (extent.fd >= 0 && !extent.huge()) {
    while (done < bytes) {
      const long wrote = sys::pwrite(extent.fd, reinterpret_cast<const void*>(source + done), bytes - done,
                                     extent.offset_of(run.first) + static_cast<long>(done));
      if (wrote == -EINTR) continue;
      if (wrote <= 0) {
        if (wrote < 0) error = wrote;
        break;
      }
      done += static_cast<std::size_t>(wrote);
    }
  } else {
    auto* to = reinterpret_cast<char*>(extent.alias_of(run.first));
    done = bytes - userfault_rt_guarded_copy(to, reinterpret_cast<const void*>(source), bytes);
    // Which side failed: a source that can be read means that the object could not grow.
    char byte;
    if (done < bytes && guarded_copy(&byte, reinterpret_cast<const void*>(source + done), 1)) error = -ENOMEM;
  }
  const std::size_t whole = done >> extent.page_shift << extent.page_shift;
  if (whole < bytes)
    take_content_back(extent, {run.first + (whole >> extent.page_shift), (bytes - whole) >> extent.page_shift});
  if (error == -ENOSPC) error = -ENOMEM;
  return whole > 0 ? static_cast<long>(whole) : error;
}

// In the object, through the alias. MADV_POPULATE_WRITE is Linux 5.14; before, an access does the same, page by
// page, and a read one suffices: that of a shared mapping makes the page.
long make_zero_pages(const Extent& extent, PageRun run) noexcept {
  const std::size_t bytes = run.count << extent.page_shift;
  const long made = sys::madvise(extent.alias_of(run.first), bytes, linux_abi::kPopulateWrite);
  if (made == 0) return static_cast<long>(bytes);
  if (made != -EINVAL) return -ENOMEM;
  char byte;
  for (std::size_t i = run.first; i < run.first + run.count; ++i)
    if (!guarded_copy(&byte, reinterpret_cast<const void*>(extent.alias_of(i)), 1)) return -ENOMEM;
  return static_cast<long>(bytes);
}

// Gives the content to busy pages; returns bytes or an error like write_object.
long provide(const Area& area, PageRun run, const FillRequest& request, std::uintptr_t source) noexcept {
  const Extent& extent = *area.extent;
  const long bytes = static_cast<long>(run.count << extent.page_shift);
  switch (request.fill) {
    case Fill::kCopy:
      if (extent.kind != Kind::kNative) return write_object(extent, run, source);
      return write_native(area.address_of(run.first), source, extent.page_size());
    case Fill::kZero:
      if (extent.kind == Kind::kNative) {
        map_zeroes(area.address_of(run.first), run.count);
        return bytes;
      }
      // A hole reads as zeroes; in shared memory the page has to exist for the other mappings.
      return extent.kind == Kind::kShared ? make_zero_pages(extent, run) : bytes;
    case Fill::kContinue: {
      std::size_t cached = 0;
      Presence found = Presence::kPresent;
      while (cached < run.count && (found = look_up_cached(extent, run.first + cached)) == Presence::kPresent) ++cached;
      if (cached > 0) return static_cast<long>(cached << extent.page_shift);
      return found == Presence::kUnknown ? -ENOMEM : -EFAULT;
    }
    case Fill::kPoison: return bytes;
  }
  return -EINVAL;
}

// Puts busy pages back to what they were before claim(), with the protection they got meanwhile.
void unclaim(const Area& area, PageRun run, const PageState* before) noexcept {
  USERFAULT_INVARIANT(run.end() <= area.first + area.pages(), "pages were given up that the area does not show");
  const LockedForProtection locked(area);
  for (std::size_t i = 0; i < run.count; ++i) {
    const bool protect = area.state(run.first + i).load().is_write_protected();
    // If it cannot be opened again the page stays closed, and the next access tries once more.
    if (before[i].is_open()) static_cast<void>(open_run(area, {run.first + i, 1}, protect));
    finish_busy(*area.extent, {run.first + i, 1}, before[i].content(), protect);
  }
}

// Puts pages that were just opened into the page table, as the kernel's own operations do, so that the access
// which waits for them does not fault once more: an exception costs more than this call. Where it fails, the
// access does it. Not for what was written natively, which is mapped; nor for zeroes that no access has asked for
// yet, whose page would be made; nor for long runs, where it would be a quarter of the operation and no thread may
// be waiting for most of them.
void map_pages(const Area& area, PageRun run, Fill fill) noexcept {
  constexpr std::size_t kLongRun = 64;
  static constinit std::atomic<bool> unknown{false};
  const Extent& extent = *area.extent;
  if (extent.kind == Kind::kNative || (fill == Fill::kZero && !extent.shared()) || run.count >= kLongRun) return;
  // Memory that may not be read is EINVAL as well.
  if ((area.protection & PROT_READ) == 0 || unknown.load(std::memory_order_relaxed)) return;
  const long result =
      sys::madvise(area.address_of(run.first), run.count << extent.page_shift, linux_abi::kPopulateRead);
  if (result == -EINVAL) unknown.store(true, std::memory_order_relaxed);
}

// The end of filling: the busy pages appear, or disappear behind poison.
long show(const Area& area, PageRun run, const FillRequest& request) noexcept {
  const LockedForProtection locked(area);
  const bool poison = request.fill == Fill::kPoison;
  const long result = poison ? close_run(area, run) : open_run(area, run, request.write_protect);
  if (result == 0 && !poison) map_pages(area, run, request.fill);
  if (result == 0)
    finish_busy(*area.extent, run, poison ? PageContent::kPoisoned : PageContent::kPresent,
                !poison && request.write_protect);
  return result;
}

// Under the same lock as every change of protection, which would make the page accessible again otherwise.
long close_claimed(const Area& area, PageRun run) noexcept {
  const LockedForProtection locked(area);
  return close_run(area, run);
}

struct Step {
  std::size_t bytes = 0;
  long error = 0;
};

Step fill_step(const Area& area, PageRun wanted, const FillRequest& request, std::uintptr_t source) noexcept {
  Extent& extent = *area.extent;
  PageState before[kStepBytes / kPageSize];
  if (wanted.count > std::size(before)) wanted.count = std::size(before);
  const Claim claimed = claim(area, wanted, request.fill, before);
  if (claimed.count == 0) return {0, claimed.stopped_by};

  PageRun run{wanted.first, claimed.count};
  const bool creates = request.fill == Fill::kCopy || request.fill == Fill::kZero;
  USERFAULT_INVARIANT(run.count <= wanted.count, "more pages were claimed than wanted");
  // A page that was not tracked is open: it is closed first, so that no thread sees it half filled, and whether
  // something is there already is asked when no access can make it so any more.
  std::size_t tracked = 0;
  while (tracked < run.count && !before[tracked].is_open()) ++tracked;
  const bool was_open = tracked == 0;
  // Whether the page is there already is asked first as well, because closing takes it out of the
  // page table. CONTINUE asks whether this mapping shows it.
  if (was_open && (request.fill == Fill::kContinue ? is_populated(area.address_of(run.first))
                                                   : look_up_content(area, run.first) == Presence::kPresent)) {
    unclaim(area, run, before);
    return {0, -EEXIST};
  }
  if (was_open) {
    unclaim(area, {run.first + 1, run.count - 1}, before + 1);
    run.count = 1;
    if (const long closed = close_claimed(area, run); closed < 0) {
      unclaim(area, run, before);
      return {0, closed};
    }
  } else if (tracked < run.count) {
    unclaim(area, {run.first + tracked, run.count - tracked}, before + tracked);
    run.count = tracked;
  }
  if ((extent.shared() && creates) || (was_open && request.fill != Fill::kContinue)) {
    const FreePages free = count_free(area, run);
    unclaim(area, {run.first + free.count, run.count - free.count}, before + free.count);
    run.count = free.count;
    if (free.count == 0) return {0, free.stopped_by};
  }
  const long provided = provide(area, run, request, source);
  USERFAULT_INVARIANT(provided <= static_cast<long>(run.count << extent.page_shift), "more was filled than claimed");
  const std::size_t pages = provided > 0 ? static_cast<std::size_t>(provided) >> extent.page_shift : 0;
  unclaim(area, {run.first + pages, run.count - pages}, before + pages);
  if (pages == 0) return {0, provided};
  run.count = pages;

  if (const long shown = show(area, run, request); shown < 0) {
    if (creates) take_content_back(extent, run);
    unclaim(area, run, before);
    return {0, shown};
  }
  return {pages << extent.page_shift, 0};
}

// 0, or why this mapping cannot do it at all.
long refusal(const Area& area, const FillRequest& request) noexcept {
  const Extent& extent = *area.extent;
  if (request.write_protect && (area.modes & USERFAULT_REGISTER_MODE_WP) == 0) return -EINVAL;
  const bool resumes = request.fill == Fill::kContinue;
  if (extent.huge()) {
    const std::size_t mask = extent.page_size() - 1;
    if (((request.start | request.length) & mask) != 0 || request.fill == Fill::kZero) return -EINVAL;
    // Private huge pages are in no page cache to resume from.
    return resumes && extent.kind == Kind::kHugeConverted ? -EFAULT : 0;
  }
  if (extent.kind == Kind::kFile) return -EINVAL;
  return resumes && extent.kind != Kind::kShared ? -EINVAL : 0;
}

// Waits, without the lock and with the caller's mask, until the source can be read; false when it
// never will be.
bool bring_source(const FillRequest& request, std::size_t done, SignalMask program) noexcept {
  if (request.fill != Fill::kCopy) return false;
  sys::swap_signal_mask(program);
  const bool readable = touch(reinterpret_cast<const void*>(request.source + done));
  sys::swap_signal_mask(~kSynchronous);
  return readable;
}

}  // namespace

long check_mapping(std::uintptr_t start, std::size_t length) noexcept {
  const Area* area = space.find(start);
  if (area == nullptr || area->instance == nullptr) return -ENOENT;
  return end_of_mapping(*area, start + length) < start + length ? -ENOENT : 0;
}

namespace {

// Called and left with signals blocked.
long fill_steps(Instance& instance, const FillRequest& request, SignalMask program) noexcept {
  std::size_t done = 0;
  bool brought = false;
  bool huge = false;
  while (done < request.length) {
    Step step;
    {
      LockedShared locked(space.lock);
      if (instance.changing.load() != 0) return done > 0 ? static_cast<long>(done) : -EAGAIN;
      if (done == 0) {
        if (const long bad = check_mapping(request.start, request.length); bad < 0) return bad;
      }
      const Area* area = space.find(request.start + done);
      if (area == nullptr || area->instance == nullptr) return done > 0 ? static_cast<long>(done) : -ENOENT;
      if (const long bad = refusal(*area, request); bad < 0) return done > 0 ? static_cast<long>(done) : bad;
      huge = area->extent->huge();
      std::size_t bytes = request.length - done;
      if (bytes > area->end - (request.start + done)) bytes = area->end - (request.start + done);
      if (bytes > kStepBytes && !area->extent->huge()) bytes = kStepBytes;
      const PageRun run{area->page_at(request.start + done), bytes >> area->extent->page_shift};
      step = fill_step(*area, run, request, request.source + done);
      USERFAULT_INVARIANT(run.count > 0, "a step of filling has no page");
      if (step.bytes == 0 && step.error == 0) wait_while_busy(*area->extent, area->state(run.first));
    }
    done += step.bytes;
    USERFAULT_INVARIANT(done <= request.length, "more was filled than asked for");
    USERFAULT_INVARIANT(step.bytes == 0 || step.error == 0, "a step of filling both went on and failed");
    if (step.bytes > 0) brought = false;
    // The kernel reads the source before it looks whether the page is there (mfill_atomic_pte_copy), but
    // for a huge page (mfill_atomic_hugetlb).
    if (step.error == -EEXIST && !huge && request.fill == Fill::kCopy && !bring_source(request, done, program))
      step.error = -EFAULT;
    if (step.error == -EFAULT && !brought && bring_source(request, done, program)) {
      brought = true;
      continue;
    }
    if (step.error < 0) return done > 0 ? static_cast<long>(done) : step.error;
  }
  return static_cast<long>(done);
}

}  // namespace

long fill(Instance& instance, const FillRequest& request) noexcept {
  SignalsBlocked blocked;
  USERFAULT_INVARIANT(is_valid_range(request.start, request.length), "a range was filled that was not checked");
  const std::int64_t result = fill_steps(instance, request, blocked.previous());
  if (!guarded_copy(request.output, &result, sizeof result)) return -EFAULT;
  if (result > 0 && request.wake) wake_range(instance, request.start, request.start + static_cast<std::size_t>(result));
  return result;
}

}  // namespace userfault::engine::user
