// SPDX-License-Identifier: Apache-2.0
// UFFDIO_WRITEPROTECT.
#include <fcntl.h>

#include <cerrno>

#include "engine/user/sigsafe/fill.h"

namespace userfault::sigsafe {
namespace {

// Whether protecting the range protects this page. mwriteprotect_range: present pages are; what is
// not there gets a marker in shared memory always, in anonymous memory with WP_UNPOPULATED (6.4).
bool takes_protection(const Area& area, std::size_t index, std::uint8_t state) noexcept {
  const std::uint8_t content = state & page::kContent;
  if (content == page::kPresent) return true;
  if (content != page::kMissing) return false;
  if (area.extent->shared() || area.extent->kind == Kind::kFile) return true;
  if ((area.instance->features & USERFAULT_FEATURE_WP_UNPOPULATED) != 0) return true;
  // Missing and open: nobody tracks it, so only the kernel knows.
  if ((state & (page::kOpen | page::kGuard)) != page::kOpen) return false;
  return has_content(area, index);
}

void mark(const Area& area, std::size_t index, bool protect) noexcept {
  auto& state = area.state(index);
  if (protect)
    state.fetch_or(page::kWriteProtected, std::memory_order_acq_rel);
  else
    state.fetch_and(static_cast<std::uint8_t>(~page::kWriteProtected), std::memory_order_acq_rel);
}

// Protects: first the mapping, then the states. A write in between faults, finds a page that is
// fine, and tries again.
long protect_area(const Area& area, Run run) noexcept {
  for (std::size_t i = run.first; i < run.first + run.count;) {
    const std::uint8_t state = area.state(i).load(std::memory_order_acquire);
    if ((state & page::kContent) == page::kBusy) {
      wait_settled(*area.extent, area.state(i));
      continue;
    }
    if (!takes_protection(area, i, state)) {
      ++i;
      continue;
    }
    std::size_t last = i + 1;
    while (last < run.first + run.count &&
           takes_protection(area, last, area.state(last).load(std::memory_order_acquire)))
      ++last;
    if (const long result = protect_run(area, {i, last - i}, true); result < 0) return result;
    for (; i < last; ++i) mark(area, i, true);
  }
  return 0;
}

long unprotect_area(const Area& area, Run run) noexcept {
  for (std::size_t i = run.first; i < run.first + run.count; ++i) {
    while ((area.state(i).load(std::memory_order_acquire) & page::kContent) == page::kBusy)
      wait_settled(*area.extent, area.state(i));
    mark(area, i, false);
  }
  return protect_run(area, run, false);
}

bool is_mapped(std::uintptr_t address) noexcept {
  unsigned char resident;
  return sys::mincore(address, 4096, &resident) != -ENOMEM;
}

}  // namespace

bool is_populated(std::uintptr_t address) noexcept {
  const long pagemap = sys::openat("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return true;
  std::uint64_t entry = 0;
  const long got =
      sys::pread(static_cast<int>(pagemap), &entry, sizeof entry, static_cast<long>(address / 4096 * sizeof entry));
  sys::close(static_cast<int>(pagemap));
  return got != sizeof entry || entry_has_content(entry);
}

long write_protect(Instance& instance, std::uintptr_t start, std::size_t length, bool protect) noexcept {
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  if (instance.changing.load() != 0) return -EAGAIN;
  long result = -ENOENT;
  const std::uintptr_t end = start + length;
  for (std::uintptr_t at = start; at < end;) {
    const Area* area = space.lower(at);
    const std::uintptr_t next = area == space.end() || area->start > end ? end : area->start;
    if (next > at) {
      // A hole is passed over; memory that is mapped and not registered is an error.
      if (is_mapped(at)) return -ENOENT;
      at = next;
      continue;
    }
    if (area->instance == nullptr || (area->modes & USERFAULT_REGISTER_MODE_WP) == 0) return -ENOENT;
    const std::uintptr_t stop = area->end < end ? area->end : end;
    if (area->extent->huge() && ((start | length) & (area->extent->page_size() - 1)) != 0) return -EINVAL;
    const Run run{area->page_at(at), (stop - at) >> area->extent->page_shift};
    Locked changing(area->extent->protection);
    result = protect ? protect_area(*area, run) : unprotect_area(*area, run);
    if (result < 0) return result;
    at = stop;
  }
  return result;
}

}  // namespace userfault::sigsafe
