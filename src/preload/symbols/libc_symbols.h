// SPDX-License-Identifier: Apache-2.0
// The next definition of each name that we export: libc's, or another preloaded library's.
//
// next<Name::read>(...) finds it on its first use, wherever that is. Constructors of a program's own
// libraries run before ours, and so may an allocator's first mmap(2) or a signal handler, so nothing
// here waits for a constructor. dlsym(3) would not do: it takes the loader's lock and may allocate,
// and the caller may hold that lock or be the allocator. The lookup (libc_symbols.cc) reads the symbol tables
// that the loader left in memory and takes neither.
//
// Where no other library has the name, the system call with the same arguments is made, and where
// there is none it is ENOSYS.
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

#include <atomic>
#include <bit>
#include <cstddef>

#include "engine/user/rt/syscall.h"
#include "preload/preload.h"

extern "C" {
// What _FORTIFY_SOURCE makes of the calls; declared only under that macro.
int pidfd_getfd(int process, int fd, unsigned flags) noexcept;  // glibc 2.36
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

// Every name that is forwarded, with the system call that takes the same arguments. A line here, a
// line in exports.map and a function.
// clang-format off
#define USERFAULT_FORWARDED(NAME)                                                                     \
  NAME(open, SYS_open) NAME(open64, SYS_open) NAME(openat, SYS_openat) NAME(openat64, SYS_openat)     \
  NAME(fopen, kNoNumber) NAME(fopen64, kNoNumber) NAME(freopen, kNoNumber) NAME(freopen64, kNoNumber) \
  NAME(__open_2, SYS_open) NAME(__open64_2, SYS_open)                                                 \
  NAME(__openat_2, SYS_openat) NAME(__openat64_2, SYS_openat)                                         \
  NAME(ioctl, SYS_ioctl) NAME(lseek, SYS_lseek) NAME(close, SYS_close)                                \
  NAME(close_range, SYS_close_range) NAME(closefrom, kNoNumber)                                       \
  NAME(dup, SYS_dup) NAME(dup2, SYS_dup2) NAME(dup3, SYS_dup3) NAME(fcntl, SYS_fcntl) NAME(pidfd_getfd, SYS_pidfd_getfd)                                                           \
  NAME(read, SYS_read) NAME(__read_chk, SYS_read) NAME(readv, SYS_readv)                              \
  NAME(pread, SYS_pread64) NAME(__pread_chk, SYS_pread64) NAME(preadv, SYS_preadv)                    \
  NAME(preadv2, kNoNumber)                                                                            \
  NAME(write, SYS_write) NAME(pwrite, SYS_pwrite64) NAME(writev, SYS_writev)                          \
  NAME(pwritev, SYS_pwritev) NAME(pwritev2, kNoNumber)                                                \
  NAME(poll, SYS_poll) NAME(__poll_chk, SYS_poll) NAME(ppoll, kNoNumber) NAME(__ppoll_chk, kNoNumber) \
  NAME(select, SYS_select) NAME(pselect, kNoNumber)                                                   \
  NAME(epoll_wait, SYS_epoll_wait) NAME(epoll_pwait, kNoNumber) NAME(epoll_pwait2, kNoNumber)         \
  NAME(epoll_ctl, SYS_epoll_ctl)                                                                      \
  NAME(mmap, SYS_mmap) NAME(munmap, SYS_munmap) NAME(mremap, SYS_mremap)                              \
  NAME(madvise, SYS_madvise) NAME(posix_madvise, kNoNumber) NAME(mprotect, SYS_mprotect)              \
  NAME(mincore, SYS_mincore)                                                                          \
  NAME(send, SYS_sendto) NAME(sendto, SYS_sendto) NAME(sendmsg, SYS_sendmsg)                          \
  NAME(sendmmsg, SYS_sendmmsg)                                                                        \
  NAME(recv, SYS_recvfrom) NAME(recvfrom, SYS_recvfrom) NAME(recvmsg, SYS_recvmsg)                    \
  NAME(recvmmsg, SYS_recvmmsg)                                                                        \
  NAME(connect, SYS_connect) NAME(bind, SYS_bind) NAME(accept, SYS_accept) NAME(accept4, SYS_accept4) \
  NAME(setsockopt, SYS_setsockopt) NAME(getsockopt, SYS_getsockopt)                                   \
  NAME(getsockname, SYS_getsockname) NAME(getpeername, SYS_getpeername)                               \
  NAME(socketpair, SYS_socketpair)                                                                    \
  NAME(stat, SYS_stat) NAME(lstat, SYS_lstat) NAME(fstat, SYS_fstat) NAME(fstatat, SYS_newfstatat)    \
  NAME(statx, SYS_statx) NAME(statfs, SYS_statfs) NAME(fstatfs, SYS_fstatfs)                          \
  NAME(readlink, SYS_readlink) NAME(readlinkat, SYS_readlinkat) NAME(getdents64, SYS_getdents64)      \
  NAME(access, SYS_access) NAME(faccessat, kNoNumber) NAME(chdir, SYS_chdir) NAME(mkdir, SYS_mkdir)   \
  NAME(rmdir, SYS_rmdir) NAME(unlink, SYS_unlink) NAME(rename, SYS_rename)                            \
  NAME(uname, SYS_uname) NAME(getrandom, SYS_getrandom) NAME(pipe, SYS_pipe) NAME(pipe2, SYS_pipe2)   \
  NAME(nanosleep, SYS_nanosleep) NAME(clock_nanosleep, kNoNumber)                                     \
  NAME(getrusage, SYS_getrusage) NAME(getrlimit, SYS_getrlimit) NAME(setrlimit, SYS_setrlimit)        \
  NAME(fread, kNoNumber) NAME(fread_unlocked, kNoNumber) NAME(__fread_chk, kNoNumber)                 \
  NAME(fwrite, kNoNumber) NAME(fwrite_unlocked, kNoNumber)                                            \
  NAME(fork, SYS_fork) NAME(_Fork, SYS_fork) NAME(clone, kNoNumber)                                   \
  NAME(execve, SYS_execve) NAME(execvpe, kNoNumber)                                                   \
  NAME(posix_spawn, kNoNumber) NAME(posix_spawnp, kNoNumber)                                          \
  NAME(wait, kNoNumber) NAME(waitpid, kNoNumber) NAME(wait4, SYS_wait4) NAME(waitid, kNoNumber)       \
  NAME(sigaction, kNoNumber) NAME(signal, kNoNumber) NAME(sigprocmask, kNoNumber)                     \
  NAME(pthread_sigmask, kNoNumber) NAME(sigsuspend, kNoNumber) NAME(sigpending, kNoNumber)            \
  NAME(sigtimedwait, kNoNumber) NAME(sigaltstack, SYS_sigaltstack)                                    \
  NAME(swapcontext, kNoNumber) NAME(setcontext, kNoNumber)                                            \
  NAME(pthread_attr_setsigmask_np, kNoNumber) NAME(pthread_attr_getsigmask_np, kNoNumber)
// clang-format on

namespace userfault::preload {

enum class Name : std::uint8_t {
#define USERFAULT_NAME(name, number) name,
  USERFAULT_FORWARDED(USERFAULT_NAME)
#undef USERFAULT_NAME
};

inline constexpr long kNoNumber = -1;

template <Name name>
struct Forwarded;
#define USERFAULT_DESCRIBE(name, number)      \
  template <>                                 \
  struct Forwarded<Name::name> {              \
    using Function = decltype(&::name);       \
    static constexpr long kNumber = (number); \
  };
USERFAULT_FORWARDED(USERFAULT_DESCRIBE)
#undef USERFAULT_DESCRIBE

// The address of the next definition, looked up at the first question; null where there is none. Any
// thread, also inside a signal handler.
[[nodiscard]] void* next_definition(Name name) noexcept;
// The address of a function or variable in libc itself, whatever stands before it; null where there is none.
[[nodiscard]] void* find_in_libc(const char* name) noexcept;

template <typename T>
long argument_of(T value) noexcept {
  if constexpr (std::is_pointer_v<T>) return reinterpret_cast<long>(value);
  else return static_cast<long>(value);
}

// The result of a system call in a function's type.
template <typename Result>
Result result_as(long result) noexcept {
  if constexpr (std::is_pointer_v<Result>) return reinterpret_cast<Result>(result);
  else return static_cast<Result>(result);
}

// The next definition, or the system call with the same arguments.
template <Name name, typename... Arguments>
auto next(Arguments... arguments) {
  using Function = typename Forwarded<name>::Function;
  constexpr long kNumber = Forwarded<name>::kNumber;
  const auto function = reinterpret_cast<Function>(next_definition(name));
  using Result = decltype(function(arguments...));
  if (function != nullptr) return function(arguments...);
  if constexpr (kNumber == kNoNumber) return result_as<Result>(finish(long{-ENOSYS}));
  else return result_as<Result>(finish(engine::user::raw_syscall(kNumber, argument_of(arguments)...)));
}

}  // namespace userfault::preload
