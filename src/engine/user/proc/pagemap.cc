// SPDX-License-Identifier: Apache-2.0
#include "engine/user/proc/pagemap.h"

#include <fcntl.h>

#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

std::uint64_t pagemap_entry(std::uintptr_t address) noexcept {
  const long pagemap = sys::openat("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return kUnknownEntry;
  std::uint64_t entry = 0;
  const long got =
      sys::pread(static_cast<int>(pagemap), &entry, sizeof entry, static_cast<long>(address / 4096 * sizeof entry));
  sys::close(static_cast<int>(pagemap));
  return got == sizeof entry ? entry : kUnknownEntry;
}

bool is_populated(std::uintptr_t address) noexcept { return entry_has_content(pagemap_entry(address)); }

}  // namespace userfault::engine::user
