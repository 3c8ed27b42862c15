// SPDX-License-Identifier: Apache-2.0
// How pages are opened, closed and write-protected in this process's mappings.
//
// Threads: any; also in a signal handler. Lock order: Space::lock, then Extent::protection, then Extent::chunks.
#pragma once

#include "engine/user/memory/address_space.h"

namespace userfault::engine::user {

// The owner of a busy page holds this while it opens or closes the page and finishes it, so that a change of
// protection never sees a state that does not fit the mapping. Where nothing can be protected it
// costs nothing.
class LockedForProtection {
 public:
  explicit LockedForProtection(const Area& area) noexcept
      : extent_((area.modes & USERFAULT_REGISTER_MODE_WP) != 0 ? area.extent : nullptr) {
    if (extent_ != nullptr) extent_->protection.lock();
  }
  ~LockedForProtection() {
    if (extent_ != nullptr) extent_->protection.unlock();
  }
  LockedForProtection(const LockedForProtection&) = delete;
  LockedForProtection& operator=(const LockedForProtection&) = delete;

 private:
  Extent* extent_;
};

// Makes pages that the caller owns (busy, or under the exclusive lock) accessible as the program
// asked for, without writes if `read_only`. 0, or -ENOMEM when the limit of mappings is reached.
[[nodiscard]] long open_run(const Area& area, PageRun run, bool read_only) noexcept;
// Makes pages inaccessible. The same errors.
[[nodiscard]] long close_run(const Area& area, PageRun run) noexcept;
// Waits until no access to the closed pages of `run` is on its way in the kernel any more: one that found
// the page's entry empty before the guard page came makes a page of zeroes where it finds a hole. Under
// the exclusive lock. -ENOMEM: nothing was waited for.
[[nodiscard]] long quiesce_accesses(const Area& area, PageRun run) noexcept;
// Puts the guard pages of `run` in once more, where the kernel may have taken them out.
[[nodiscard]] long restore_guards(const Area& area, PageRun run) noexcept;
// Changes the write permission of the pages of `run` that are open.
[[nodiscard]] long protect_run(const Area& area, PageRun run, bool read_only) noexcept;
}  // namespace userfault::engine::user
