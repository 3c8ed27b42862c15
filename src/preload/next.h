// SPDX-License-Identifier: Apache-2.0
// The next definition of each name that we export: libc's, or another preloaded library's.
//
// All are looked up by the constructor, because dlsym(3) may allocate and an allocator may be the
// one that calls mmap(2) here: a lookup at the first call would then wait for itself. Until then,
// and where no other library has the name, `call` makes the system call itself.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <bit>
#include <cstddef>

#include "engine/user/rt/syscall.h"
#include "preload/preload.h"

extern "C" {
// What _FORTIFY_SOURCE makes of the calls; declared only under that macro.
int __open_2(const char* path, int flags);
int __open64_2(const char* path, int flags);
int __openat_2(int directory, const char* path, int flags);
int __openat64_2(int directory, const char* path, int flags);
ssize_t __read_chk(int fd, void* buffer, size_t bytes, size_t size);
size_t __fread_chk(void* into, size_t room, size_t size, size_t count, FILE* stream);
ssize_t __pread_chk(int fd, void* buffer, size_t bytes, off_t offset, size_t size);
int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t size);
int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t size);
}

// Every name that is forwarded. A line here, a line in exports.map and a function.
// clang-format off
#define USERFAULT_FORWARDED(NAME)                                                                       \
  NAME(open) NAME(open64) NAME(openat) NAME(openat64) NAME(fopen) NAME(fopen64)                         \
  NAME(freopen) NAME(freopen64) NAME(lseek)                                                             \
  NAME(__open_2) NAME(__open64_2) NAME(__openat_2) NAME(__openat64_2)                                   \
  NAME(ioctl) NAME(close) NAME(close_range) NAME(closefrom) NAME(dup2) NAME(dup3)                       \
  NAME(read) NAME(__read_chk) NAME(readv) NAME(pread) NAME(__pread_chk) NAME(preadv) NAME(preadv2)      \
  NAME(poll) NAME(__poll_chk) NAME(ppoll) NAME(__ppoll_chk)                                             \
  NAME(select) NAME(pselect) NAME(epoll_pwait) NAME(epoll_pwait2)                                       \
  NAME(mmap) NAME(munmap) NAME(mremap) NAME(madvise) NAME(posix_madvise) NAME(mprotect)                 \
  NAME(write) NAME(pwrite) NAME(writev) NAME(pwritev) NAME(pwritev2)                                    \
  NAME(send) NAME(recv) NAME(sendto) NAME(recvfrom) NAME(sendmsg) NAME(recvmsg)                         \
  NAME(stat) NAME(lstat) NAME(fstatat) NAME(fstat) NAME(readlink) NAME(readlinkat) NAME(getdents64)     \
  NAME(fork) NAME(_Fork) NAME(clone) NAME(execve) NAME(execvpe) NAME(posix_spawn) NAME(posix_spawnp)     \
  NAME(sigaction) NAME(signal) NAME(sigprocmask) NAME(pthread_sigmask) NAME(sigsuspend)                 \
  NAME(access) NAME(faccessat) NAME(chdir) NAME(mkdir) NAME(rmdir) NAME(unlink) NAME(rename) NAME(statx)\
  NAME(statfs) NAME(fstatfs) NAME(uname) NAME(getrandom) NAME(pipe) NAME(pipe2) NAME(socketpair)        \
  NAME(nanosleep) NAME(connect) NAME(bind) NAME(setsockopt) NAME(getsockopt) NAME(getsockname)          \
  NAME(getpeername) NAME(accept) NAME(accept4) NAME(epoll_wait) NAME(epoll_ctl) NAME(wait) NAME(waitpid)\
  NAME(wait4) NAME(waitid) NAME(sendmmsg) NAME(recvmmsg) NAME(clock_nanosleep) NAME(getrusage)          \
  NAME(getrlimit) NAME(setrlimit) NAME(sigaltstack) NAME(mincore) NAME(fwrite) NAME(fwrite_unlocked)    \
  NAME(fread) NAME(fread_unlocked) NAME(__fread_chk)                                                    \
  NAME(sigpending) NAME(sigtimedwait) NAME(swapcontext) NAME(setcontext)                                \
  NAME(pthread_attr_setsigmask_np) NAME(pthread_attr_getsigmask_np)
// clang-format on

namespace userfault::preload {

struct Next {
#define USERFAULT_POINTER(name) decltype(&::name) name = nullptr;
  USERFAULT_FORWARDED(USERFAULT_POINTER)
#undef USERFAULT_POINTER
};

extern constinit Next next;
// Once, from the constructor.
void resolve_next() noexcept;

template <typename T>
long argument_of(T value) noexcept {
  if constexpr (std::is_pointer_v<T>) return reinterpret_cast<long>(value);
  else return static_cast<long>(value);
}

// The next definition, or the system call `number` with the same arguments.
template <typename Function, typename... Arguments>
auto call(Function function, long number, Arguments... arguments) noexcept {
  using Result = decltype(function(arguments...));
  if (function != nullptr) return function(arguments...);
  const long result = finish(engine::user::raw_syscall(number, argument_of(arguments)...));
  if constexpr (std::is_pointer_v<Result>) return reinterpret_cast<Result>(result);
  else return static_cast<Result>(result);
}

}  // namespace userfault::preload
