// SPDX-License-Identifier: Apache-2.0
#include "engine/user/fault/prefault.h"

#include <algorithm>
#include <atomic>

#include "engine/user/fault/classify.h"
#include "engine/user/memory/address_space.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/process_identity.h"

namespace userfault::engine::user {
namespace {

// Where the walk over a buffer stops.
struct Stop {
  const Area* area = nullptr;
  std::uintptr_t address = 0;  // 0: every page lets the access pass
  Foresight steps{};
};

// Under the table's lock, shared. The first page of `buffer` that does not let the access pass.
Stop walk(Buffer buffer, const MemoryAccess& access) noexcept {
  const std::uintptr_t end = buffer.start + buffer.bytes;
  for (const Area* area = space.first_ending_after(buffer.start); area != space.end() && area->start < end; ++area) {
    std::uintptr_t at = std::max(buffer.start, area->start);
    const std::size_t page_size = area->extent->page_size();
    for (; at < std::min(end, area->end); at = (at & ~(page_size - 1)) + page_size) {
      const Foresight steps = foresee(facts_of(*area, area->page_at(at)), access);
      if (steps.first != Step::kNone) return {area, at, steps};
    }
  }
  return {};
}

}  // namespace

std::uintptr_t first_closed(Buffer buffer, Access access) noexcept {
  // Nearly every buffer of a program is elsewhere, which is found out without blocking signals and locking.
  if (!is_own_process() || space.has_none_in(buffer.start, buffer.start + buffer.bytes)) return 0;
  const MemoryAccess by_kernel{.write = access == Access::kWrite, .by_kernel = true};
  SignalsBlocked blocked;
  for (;;) {
    LockedShared locked(space.lock);
    const Stop stop = walk(buffer, by_kernel);
    if (stop.address == 0) return 0;
    if (stop.steps.last != Step::kWait) return is_failure(stop.steps.last) ? 0 : stop.address;
    // What the page will be only the thread that fills it knows.
    wait_while_busy(*stop.area->extent, stop.area->state(stop.area->page_at(stop.address)));
  }
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
