// SPDX-License-Identifier: Apache-2.0
// Every name of libc's that the preload library exports, once. From this list come the lookup of the next
// definitions (libc_symbols.h), the version script (CMakeLists.txt) and the test that calls each name
// before the library's constructor ran (tests/preload/early); docs/preload.md names them all, which
// preload.links holds it to.
//
//   FORWARDED(name, number)  goes on to the next definition; `number` is the system call with the same
//                            arguments, or kNoNumber
//   ALIAS(name, of)          another name of libc's for the function `of`
//   OWN(name)                is made of the others and goes on to nothing
//
// System calls by number have a list of their own in trap/numbers.h.
#pragma once

// clang-format off
#define USERFAULT_CALLS(FORWARDED, ALIAS, OWN)              \
  FORWARDED(open, SYS_open)                                 \
  ALIAS(__open, open)                                       \
  FORWARDED(open64, SYS_open)                               \
  ALIAS(__open64, open64)                                   \
  FORWARDED(openat, SYS_openat)                             \
  FORWARDED(openat64, SYS_openat)                           \
  FORWARDED(fopen, kNoNumber)                               \
  FORWARDED(fopen64, kNoNumber)                             \
  FORWARDED(freopen, kNoNumber)                             \
  FORWARDED(freopen64, kNoNumber)                           \
  FORWARDED(__open_2, SYS_open)                             \
  FORWARDED(__open64_2, SYS_open)                           \
  FORWARDED(__openat_2, SYS_openat)                         \
  FORWARDED(__openat64_2, SYS_openat)                       \
  FORWARDED(ioctl, SYS_ioctl)                               \
  FORWARDED(lseek, SYS_lseek)                               \
  ALIAS(lseek64, lseek)                                     \
  ALIAS(__lseek, lseek)                                     \
  FORWARDED(close, SYS_close)                               \
  ALIAS(__close, close)                                     \
  FORWARDED(close_range, SYS_close_range)                   \
  FORWARDED(closefrom, kNoNumber)                           \
  FORWARDED(dup, SYS_dup)                                   \
  FORWARDED(dup2, SYS_dup2)                                 \
  ALIAS(__dup2, dup2)                                       \
  FORWARDED(dup3, SYS_dup3)                                 \
  FORWARDED(fcntl, SYS_fcntl)                               \
  ALIAS(fcntl64, fcntl)                                     \
  ALIAS(__fcntl, fcntl)                                     \
  FORWARDED(pidfd_getfd, SYS_pidfd_getfd)                   \
  FORWARDED(read, SYS_read)                                 \
  ALIAS(__read, read)                                       \
  FORWARDED(__read_chk, SYS_read)                           \
  FORWARDED(readv, SYS_readv)                               \
  FORWARDED(pread, SYS_pread64)                             \
  ALIAS(pread64, pread)                                     \
  ALIAS(__pread64, pread)                                   \
  FORWARDED(__pread_chk, SYS_pread64)                       \
  ALIAS(__pread64_chk, __pread_chk)                         \
  FORWARDED(preadv, SYS_preadv)                             \
  ALIAS(preadv64, preadv)                                   \
  FORWARDED(preadv2, kNoNumber)                             \
  ALIAS(preadv64v2, preadv2)                                \
  FORWARDED(write, SYS_write)                               \
  ALIAS(__write, write)                                     \
  FORWARDED(pwrite, SYS_pwrite64)                           \
  ALIAS(pwrite64, pwrite)                                   \
  ALIAS(__pwrite64, pwrite)                                 \
  FORWARDED(writev, SYS_writev)                             \
  FORWARDED(pwritev, SYS_pwritev)                           \
  ALIAS(pwritev64, pwritev)                                 \
  FORWARDED(pwritev2, kNoNumber)                            \
  ALIAS(pwritev64v2, pwritev2)                              \
  FORWARDED(poll, SYS_poll)                                 \
  ALIAS(__poll, poll)                                       \
  FORWARDED(__poll_chk, SYS_poll)                           \
  FORWARDED(ppoll, kNoNumber)                               \
  FORWARDED(__ppoll_chk, kNoNumber)                         \
  FORWARDED(select, SYS_select)                             \
  FORWARDED(pselect, kNoNumber)                             \
  FORWARDED(epoll_wait, SYS_epoll_wait)                     \
  FORWARDED(epoll_pwait, kNoNumber)                         \
  FORWARDED(epoll_pwait2, kNoNumber)                        \
  FORWARDED(epoll_ctl, SYS_epoll_ctl)                       \
  FORWARDED(mmap, SYS_mmap)                                 \
  ALIAS(mmap64, mmap)                                       \
  FORWARDED(munmap, SYS_munmap)                             \
  FORWARDED(mremap, SYS_mremap)                             \
  FORWARDED(madvise, SYS_madvise)                           \
  FORWARDED(posix_madvise, kNoNumber)                       \
  FORWARDED(mprotect, SYS_mprotect)                         \
  FORWARDED(mincore, SYS_mincore)                           \
  FORWARDED(send, SYS_sendto)                               \
  FORWARDED(sendto, SYS_sendto)                             \
  FORWARDED(sendmsg, SYS_sendmsg)                           \
  FORWARDED(sendmmsg, SYS_sendmmsg)                         \
  FORWARDED(recv, SYS_recvfrom)                             \
  FORWARDED(recvfrom, SYS_recvfrom)                         \
  FORWARDED(recvmsg, SYS_recvmsg)                           \
  FORWARDED(recvmmsg, SYS_recvmmsg)                         \
  FORWARDED(connect, SYS_connect)                           \
  FORWARDED(bind, SYS_bind)                                 \
  FORWARDED(accept, SYS_accept)                             \
  FORWARDED(accept4, SYS_accept4)                           \
  FORWARDED(setsockopt, SYS_setsockopt)                     \
  FORWARDED(getsockopt, SYS_getsockopt)                     \
  FORWARDED(getsockname, SYS_getsockname)                   \
  FORWARDED(getpeername, SYS_getpeername)                   \
  FORWARDED(socketpair, SYS_socketpair)                     \
  FORWARDED(stat, SYS_stat)                                 \
  ALIAS(stat64, stat)                                       \
  FORWARDED(lstat, SYS_lstat)                               \
  ALIAS(lstat64, lstat)                                     \
  FORWARDED(fstat, SYS_fstat)                               \
  ALIAS(fstat64, fstat)                                     \
  FORWARDED(fstatat, SYS_newfstatat)                        \
  ALIAS(fstatat64, fstatat)                                 \
  FORWARDED(statx, SYS_statx)                               \
  FORWARDED(statfs, SYS_statfs)                             \
  ALIAS(statfs64, statfs)                                   \
  FORWARDED(fstatfs, SYS_fstatfs)                           \
  ALIAS(fstatfs64, fstatfs)                                 \
  FORWARDED(readlink, SYS_readlink)                         \
  FORWARDED(readlinkat, SYS_readlinkat)                     \
  FORWARDED(getdents64, SYS_getdents64)                     \
  FORWARDED(access, SYS_access)                             \
  FORWARDED(faccessat, kNoNumber)                           \
  FORWARDED(chdir, SYS_chdir)                               \
  FORWARDED(mkdir, SYS_mkdir)                               \
  FORWARDED(rmdir, SYS_rmdir)                               \
  FORWARDED(unlink, SYS_unlink)                             \
  FORWARDED(rename, SYS_rename)                             \
  FORWARDED(uname, SYS_uname)                               \
  FORWARDED(getrandom, SYS_getrandom)                       \
  FORWARDED(pipe, SYS_pipe)                                 \
  FORWARDED(pipe2, SYS_pipe2)                               \
  FORWARDED(nanosleep, SYS_nanosleep)                       \
  FORWARDED(clock_nanosleep, kNoNumber)                     \
  FORWARDED(getrusage, SYS_getrusage)                       \
  FORWARDED(getrlimit, SYS_getrlimit)                       \
  ALIAS(getrlimit64, getrlimit)                             \
  FORWARDED(setrlimit, SYS_setrlimit)                       \
  ALIAS(setrlimit64, setrlimit)                             \
  FORWARDED(fread, kNoNumber)                               \
  FORWARDED(fread_unlocked, kNoNumber)                      \
  FORWARDED(__fread_chk, kNoNumber)                         \
  FORWARDED(fwrite, kNoNumber)                              \
  FORWARDED(fwrite_unlocked, kNoNumber)                     \
  FORWARDED(fork, SYS_fork)                                 \
  ALIAS(__fork, fork)                                       \
  FORWARDED(_Fork, SYS_fork)                                \
  FORWARDED(clone, kNoNumber)                               \
  FORWARDED(execve, SYS_execve)                             \
  FORWARDED(execvpe, kNoNumber)                             \
  FORWARDED(posix_spawn, kNoNumber)                         \
  FORWARDED(posix_spawnp, kNoNumber)                        \
  FORWARDED(wait, kNoNumber)                                \
  FORWARDED(waitpid, kNoNumber)                             \
  FORWARDED(wait4, SYS_wait4)                               \
  FORWARDED(waitid, kNoNumber)                              \
  FORWARDED(sigaction, kNoNumber)                           \
  ALIAS(__sigaction, sigaction)                             \
  FORWARDED(signal, kNoNumber)                              \
  ALIAS(bsd_signal, signal)                                 \
  ALIAS(ssignal, signal)                                    \
  FORWARDED(sigprocmask, kNoNumber)                         \
  FORWARDED(pthread_sigmask, kNoNumber)                     \
  FORWARDED(sigsuspend, kNoNumber)                          \
  FORWARDED(sigpending, kNoNumber)                          \
  FORWARDED(sigtimedwait, kNoNumber)                        \
  FORWARDED(sigaltstack, SYS_sigaltstack)                   \
  FORWARDED(swapcontext, kNoNumber)                         \
  FORWARDED(setcontext, kNoNumber)                          \
  FORWARDED(pthread_attr_setsigmask_np, kNoNumber)          \
  FORWARDED(pthread_attr_getsigmask_np, kNoNumber)          \
  OWN(syscall)                                              \
  OWN(execv)                                                \
  OWN(execvp)                                               \
  OWN(sigwait)                                              \
  OWN(sigwaitinfo)                                          \
  OWN(sysv_signal)                                          \
  ALIAS(__sysv_signal, sysv_signal)                         \
  OWN(sigset)                                               \
  OWN(sighold)                                              \
  OWN(sigrelse)                                             \
  OWN(sigignore)                                            \
  OWN(sigblock)                                             \
  OWN(sigsetmask)
// clang-format on
