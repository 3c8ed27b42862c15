// SPDX-License-Identifier: Apache-2.0
// Changes of the memory layout: the user engine does them itself while it has memory or a
// descriptor, because it has to raise events before or after them and to forget what is gone.
#include <sys/mman.h>

#include <cerrno>
#include <cstdarg>

#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

std::uintptr_t number(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

void* address(std::intptr_t result) noexcept {
  return result < 0 ? reinterpret_cast<void*>(finish(result)) : reinterpret_cast<void*>(result);
}

}  // namespace

USERFAULT_PRELOADED void* mmap(void* start, size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  if (active()) return address(user_engine().mmap(number(start), length, protection, flags, fd, offset));
  return next<Name::mmap>(start, length, protection, flags, fd, offset);
}
extern "C" USERFAULT_ALIAS(mmap) void* mmap64(void* start, size_t length, int protection, int flags, int fd,
                                              off64_t offset) noexcept;

USERFAULT_PRELOADED int munmap(void* start, size_t length) noexcept {
  if (active()) return finish(user_engine().munmap(number(start), length));
  return next<Name::munmap>(start, length);
}

// The fifth argument is there with MREMAP_FIXED or MREMAP_DONTUNMAP; reading it otherwise is what
// glibc does, too.
USERFAULT_PRELOADED void* mremap(void* from, size_t old_length, size_t new_length, int flags, ...) noexcept {
  va_list arguments;
  va_start(arguments, flags);
  void* to = (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 ? va_arg(arguments, void*) : nullptr;
  va_end(arguments);
  if (active()) return address(user_engine().mremap(number(from), old_length, new_length, flags, number(to)));
  return next<Name::mremap>(from, old_length, new_length, flags, to);
}

USERFAULT_PRELOADED int madvise(void* start, size_t length, int advice) noexcept {
  if (active()) return finish(user_engine().madvise(number(start), length, advice));
  return next<Name::madvise>(start, length, advice);
}

USERFAULT_PRELOADED int posix_madvise(void* start, size_t length, int advice) noexcept {
  // glibc ignores POSIX_MADV_DONTNEED, which promises to keep what is there.
  if (active()) return advice == POSIX_MADV_DONTNEED ? 0 : -user_engine().madvise(number(start), length, advice);
  return next<Name::posix_madvise>(start, length, advice);
}

USERFAULT_PRELOADED int mprotect(void* start, size_t length, int protection) noexcept {
  if (active()) return finish(user_engine().mprotect(number(start), length, protection));
  return next<Name::mprotect>(start, length, protection);
}
