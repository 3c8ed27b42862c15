// SPDX-License-Identifier: Apache-2.0
#include "engine/user/memory/write_native.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "engine/user/rt/check.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/page_size.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

// /proc/self/mem passes the protection of private memory. -EIO where it must not (proc_mem.force_override,
// Linux 6.12; ptrace is what Debian sets it to).
long write_through(std::uintptr_t to, std::uintptr_t source, std::size_t bytes) noexcept {
  const long memory = sys::openat("/proc/self/mem", O_RDWR | O_CLOEXEC);
  if (memory < 0) return -EIO;
  long wrote;
  do wrote = sys::pwrite(static_cast<int>(memory), reinterpret_cast<const void*>(source), bytes, static_cast<long>(to));
  while (wrote == -EINTR);
  sys::close(static_cast<int>(memory));
  return wrote;
}

// A page that was filled elsewhere takes the place of the other. It is a mapping of its own then.
long replace(std::uintptr_t to, std::uintptr_t source, std::size_t bytes) noexcept {
  const long made = sys::mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (is_error(made)) return -ENOMEM;
  const auto from = static_cast<std::uintptr_t>(made);
  long result = -EFAULT;
  if (guarded_copy(reinterpret_cast<void*>(from), reinterpret_cast<const void*>(source), bytes)) {
    result = sys::mprotect(from, bytes, PROT_NONE);
    if (result == 0) result = sys::mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    if (!is_error(result)) return static_cast<long>(bytes);
    result = -ENOMEM;
  }
  sys::munmap(from, bytes);
  return result;
}

}  // namespace

// A read fault maps the zero page. It cannot be the huge zero page, because a page that is closed alone is a mapping of
// its own, which is too small for it. Where /proc/self/mem may not pass protection (proc_mem.force_override) nothing is
// mapped.
void map_zeroes(std::uintptr_t start, std::size_t pages) noexcept {
  const long memory = sys::openat("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  if (memory < 0) return;
  char byte;
  for (std::size_t i = 0; i < pages; ++i)
    static_cast<void>(sys::pread(static_cast<int>(memory), &byte, 1, static_cast<long>(start + i * kPageSize)));
  sys::close(static_cast<int>(memory));
}

long write_native(std::uintptr_t to, std::uintptr_t source, std::size_t bytes) noexcept {
  USERFAULT_INVARIANT(is_page_aligned(to) && bytes == kPageSize, "native memory was written by less than a page");
  const long wrote = write_through(to, source, bytes);
  if (wrote == static_cast<long>(bytes)) return wrote;
  return wrote == -EIO ? replace(to, source, bytes) : wrote < 0 ? wrote : -EFAULT;
}

}  // namespace userfault::engine::user
