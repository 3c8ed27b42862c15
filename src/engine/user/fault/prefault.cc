// SPDX-License-Identifier: Apache-2.0
#include "engine/user/fault/prefault.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>

#include "engine/user/memory/address_space.h"
#include "engine/user/memory/presence.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/process_identity.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

enum class Finding : std::uint8_t { kFine, kTouch, kFails };

bool is_permitted(const Area& area, Access access) noexcept {
  return (area.protection & (access == Access::kWrite ? PROT_WRITE : PROT_READ | PROT_WRITE)) != 0;
}

// Whether the kernel's userfaultfd fails the call rather than let it wait.
bool refuses_kernel(const Instance& instance) noexcept {
  return instance.user_mode_only || (instance.features & USERFAULT_FEATURE_SIGBUS) != 0;
}

// The same questions as the fault handler's, in the same order (handler.cc).
bool raises_missing(const Area& area, std::size_t index) noexcept {
  if (area.instance == nullptr) return false;
  const bool cached = area.extent->shared() && look_up_cached(*area.extent, index) != Presence::kAbsent;
  return (area.modes & (cached ? USERFAULT_REGISTER_MODE_MINOR : USERFAULT_REGISTER_MODE_MISSING)) != 0;
}

bool raises_protected(const Area& area) noexcept {
  return area.instance != nullptr && (area.instance->features & USERFAULT_FEATURE_WP_ASYNC) == 0;
}

Finding look_at(const Area& area, std::size_t index, Access access) noexcept {
  const PageState state = area.state(index).load();
  if (state.is_poisoned() || !is_permitted(area, access)) return Finding::kFails;
  const bool shut = access == Access::kWrite && (state.is_write_protected() || state.is_read_only());
  if (state.is_open() && state.is_present() && !shut) return Finding::kFine;
  const bool raises =
      state.is_present() ? state.is_write_protected() && shut && raises_protected(area) : raises_missing(area, index);
  return raises && refuses_kernel(*area.instance) ? Finding::kFails : Finding::kTouch;
}

}  // namespace

std::uintptr_t first_closed(Buffer buffer, Access access) noexcept {
  const std::uintptr_t end = buffer.start + buffer.bytes;
  // Nearly every buffer of a program's is elsewhere, which is found out without blocking signals and locking.
  if (!is_own_process() || space.has_none_in(buffer.start, end)) return 0;
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  for (const Area* area = space.first_ending_after(buffer.start); area != space.end() && area->start < end; ++area) {
    std::uintptr_t at = std::max(buffer.start, area->start);
    const std::size_t page_size = area->extent->page_size();
    for (; at < std::min(end, area->end); at = (at & ~(page_size - 1)) + page_size) {
      const Finding finding = look_at(*area, area->page_at(at), access);
      if (finding != Finding::kFine) return finding == Finding::kTouch ? at : 0;
    }
  }
  return 0;
}

bool touch(std::uintptr_t address, Access access) noexcept {
  if (access == Access::kRead) return touch(reinterpret_cast<const void*>(address));
  // Puts the same byte back, in one step, so that a write of another thread's is not undone. Not
  // fetch_or(0), which clang makes a load; and without a load before, which would be the fault.
  const std::atomic_ref<unsigned char> byte(*reinterpret_cast<unsigned char*>(address));
  unsigned char same = 0;
  while (!byte.compare_exchange_weak(same, same, std::memory_order_relaxed)) {
  }
  return true;
}

}  // namespace userfault::engine::user
