// SPDX-License-Identifier: Apache-2.0
#include "preload/next.h"

#include <dlfcn.h>

namespace userfault::preload {

constinit Next next;

void resolve_next() noexcept {
#define USERFAULT_RESOLVE(name) next.name = reinterpret_cast<decltype(next.name)>(dlsym(RTLD_NEXT, #name));
  USERFAULT_FORWARDED(USERFAULT_RESOLVE)
#undef USERFAULT_RESOLVE
}

}  // namespace userfault::preload

// What the engine and the kernel's doors call by libc's names must not come back to us: the linker
// sends those calls here (--wrap).
using userfault::preload::call;
using userfault::preload::next;

extern "C" {
int __wrap_ioctl(int fd, unsigned long request, void* argument) {
  return call(next.ioctl, SYS_ioctl, fd, request, argument);
}
int __wrap_open(const char* path, int flags, mode_t mode) {
  return call(next.openat, SYS_openat, AT_FDCWD, path, flags, mode);
}
ssize_t __wrap_read(int fd, void* buffer, size_t bytes) { return call(next.read, SYS_read, fd, buffer, bytes); }
int __wrap_close(int fd) { return call(next.close, SYS_close, fd); }
void* __wrap_mmap(void* start, size_t length, int protection, int flags, int fd, off_t offset) {
  return call(next.mmap, SYS_mmap, start, length, protection, flags, fd, offset);
}
int __wrap_munmap(void* start, size_t length) { return call(next.munmap, SYS_munmap, start, length); }
void* __wrap_mremap(void* from, size_t old_length, size_t new_length, int flags, void* to) {
  return call(next.mremap, SYS_mremap, from, old_length, new_length, flags, to);
}
int __wrap_madvise(void* start, size_t length, int advice) {
  return call(next.madvise, SYS_madvise, start, length, advice);
}
int __wrap_mprotect(void* start, size_t length, int protection) {
  return call(next.mprotect, SYS_mprotect, start, length, protection);
}
pid_t __wrap_fork() { return next.fork(); }
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  return userfault::preload::finish(userfault::engine::user::raw_syscall(number, a, b, c, d, e, f));
}
}
