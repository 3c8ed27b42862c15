// SPDX-License-Identifier: Apache-2.0
// Changes of the memory layout, for memory that a userfaultfd serves.
//
// The kernel's engine hears of every munmap(2) by itself; the user engine hears of what is done
// through these (or under `userfault run`). On the kernel's engine each is the plain system call.
// Whoever changes registered memory calls these and is right on both.
//
// Blocking: where the userfaultfd has the event enabled (kEventUnmap, kEventRemap, kEventRemove,
// kEventFork), the call returns only after the event was read. A thread that reads messages must
// therefore not make such a change to memory it serves, not even through free(3): unregister the
// range first (Region does), keep the reader's own memory out of registered ranges, or let another
// thread do it.
// Threads: any. Errors: those of the system call named at each function.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "userfault/error.h"
#include "userfault/export.h"
#include "userfault/range.h"

namespace userfault::memory {

struct MapOptions {
  int protection = 0;        // PROT_*, mmap(2)
  int flags = 0;             // MAP_*
  int fd = -1;               // with a file
  off_t offset = 0;          // bytes, a multiple of the page size
  std::uintptr_t start = 0;  // a wish, or with MAP_FIXED the place: what was there is unmapped
};
// mmap(2) of `length` bytes. ENOMEM: no room, vm.max_map_count, or too few huge pages. EINVAL,
// EEXIST (MAP_FIXED_NOREPLACE), EACCES, EBADF, ENODEV, EPERM.
[[nodiscard]] USERFAULT_EXPORT Result<PageRange> map(std::size_t length, const MapOptions& options) noexcept;

// munmap(2). EINVAL: bad range. ENOMEM: it would split a mapping past vm.max_map_count.
[[nodiscard]] USERFAULT_EXPORT Result<void> unmap(PageRange range) noexcept;

struct RemapOptions {
  bool may_move = true;   // MREMAP_MAYMOVE
  bool keep_old = false;  // MREMAP_DONTUNMAP (5.7): the old range stays mapped and empty
  std::uintptr_t to = 0;  // not 0: MREMAP_FIXED, what was there is unmapped
};
// mremap(2) to `new_length` bytes; the new range. Without kEventRemap the moved part loses its
// registration (real-kernel row 24). EFAULT: not one mapping (row 42). ENOMEM, EINVAL, EAGAIN.
[[nodiscard]] USERFAULT_EXPORT Result<PageRange> remap(PageRange from, std::size_t new_length,
                                                       const RemapOptions& options = {}) noexcept;

// madvise(2): MADV_DONTNEED and MADV_REMOVE make pages missing again. EINVAL, ENOMEM (a hole).
[[nodiscard]] USERFAULT_EXPORT Result<void> advise(PageRange range, int advice) noexcept;

// mprotect(2): what the program itself allows, beside what the userfaultfd holds back. EACCES,
// EINVAL, ENOMEM.
[[nodiscard]] USERFAULT_EXPORT Result<void> protect(PageRange range, int protection) noexcept;

// fork(2): 0 in the child. Without kEventFork the child's ranges are not registered (row 23).
// EAGAIN, ENOMEM.
[[nodiscard]] USERFAULT_EXPORT Result<pid_t> fork() noexcept;

}  // namespace userfault::memory
