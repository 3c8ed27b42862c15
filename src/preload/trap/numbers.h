// SPDX-License-Identifier: Apache-2.0
// Every system call that is looked at by its number, once. From this list come the numbers that the
// seccomp filter traps, those that syscall(3) asks about, and what is done with each (dispatch.cc).
//
//   TRAPPED(number, result)  from syscall(3) and by an instruction of watched code
//   ASKED(number, result)    from syscall(3) alone. The words of a futex that instructions of the program's have
//                            touched are there, and a trap for each call would cost more than it mends. So with
//                            those of which only arguments are brought.
//
// `result` is an expression of the number, the arguments a to f, and fd, which is the first of them; its value
// is libc's. brought() makes the call again once its arguments are there.
#pragma once

// clang-format off
#define USERFAULT_NUMBERS(TRAPPED, ASKED)                                                                             \
  TRAPPED(SYS_userfaultfd, finish(open_userfaultfd(fd)))                                                              \
  TRAPPED(SYS_openat, openat(fd, pointer<char>(b), static_cast<int>(c), static_cast<mode_t>(d)))                      \
  TRAPPED(SYS_ioctl, __real_ioctl(fd, static_cast<unsigned long>(b), pointer<void>(c)))                               \
  TRAPPED(SYS_read, __real_read(fd, pointer<void>(b), static_cast<size_t>(c)))                                        \
  TRAPPED(SYS_readv, readv(fd, pointer<iovec>(b), static_cast<int>(c)))                                               \
  TRAPPED(SYS_close, __real_close(fd))                                                                                \
  TRAPPED(SYS_close_range,                                                                                            \
          close_range(static_cast<unsigned>(a), static_cast<unsigned>(b), static_cast<int>(c)))                       \
  TRAPPED(SYS_dup3, dup3(fd, static_cast<int>(b), static_cast<int>(c)))                                               \
  TRAPPED(SYS_mmap,                                                                                                   \
          argument_of(__real_mmap(pointer<void>(a), static_cast<size_t>(b), static_cast<int>(c),                      \
          static_cast<int>(d), static_cast<int>(e), f)))                                                              \
  TRAPPED(SYS_munmap, __real_munmap(pointer<void>(a), static_cast<size_t>(b)))                                        \
  TRAPPED(SYS_mremap,                                                                                                 \
          argument_of(__real_mremap(pointer<void>(a), static_cast<size_t>(b), static_cast<size_t>(c),                 \
          static_cast<int>(d), pointer<void>(e))))                                                                    \
  TRAPPED(SYS_madvise, __real_madvise(pointer<void>(a), static_cast<size_t>(b), static_cast<int>(c)))                 \
  TRAPPED(SYS_mprotect, __real_mprotect(pointer<void>(a), static_cast<size_t>(b), static_cast<int>(c)))               \
  TRAPPED(SYS_rt_sigaction,                                                                                           \
          finish(change_action(fd, pointer<engine::user::KernelSigaction>(b),                                         \
          pointer<engine::user::KernelSigaction>(c), d)))                                                             \
  TRAPPED(SYS_rt_sigprocmask,                                                                                         \
          finish(change_mask(fd, pointer<engine::user::SignalMask>(b), pointer<engine::user::SignalMask>(c),          \
          d)))                                                                                                        \
  TRAPPED(SYS_pread64, pread(fd, pointer<void>(b), static_cast<size_t>(c), d))                                        \
  TRAPPED(SYS_preadv, preadv(fd, pointer<iovec>(b), static_cast<int>(c), d))                                          \
  TRAPPED(SYS_write, write(fd, pointer<void>(b), static_cast<size_t>(c)))                                             \
  TRAPPED(SYS_writev, writev(fd, pointer<iovec>(b), static_cast<int>(c)))                                             \
  TRAPPED(SYS_pwrite64, pwrite(fd, pointer<void>(b), static_cast<size_t>(c), d))                                      \
  TRAPPED(SYS_pwritev, pwritev(fd, pointer<iovec>(b), static_cast<int>(c), d))                                        \
  TRAPPED(SYS_clone, finish(clone_process(a, c, d, e)))                                                               \
  TRAPPED(SYS_brk, static_cast<long>(engine::user::change_break(static_cast<std::uintptr_t>(a))))                     \
  TRAPPED(SYS_ppoll,                                                                                                  \
          poll_under_mask(pointer<pollfd>(a), static_cast<nfds_t>(b), pointer<timespec>(c),                           \
          pointer<engine::user::SignalMask>(d)))                                                                      \
  TRAPPED(SYS_rt_sigsuspend, wait_under_mask(number, a, b, c, d, e, f))                                               \
  TRAPPED(SYS_preadv2, preadv2(fd, pointer<iovec>(b), static_cast<int>(c), d, static_cast<int>(f)))                   \
  TRAPPED(SYS_pwritev2, pwritev2(fd, pointer<iovec>(b), static_cast<int>(c), d, static_cast<int>(f)))                 \
  TRAPPED(SYS_sendto,                                                                                                 \
          sendto(fd, pointer<void>(b), static_cast<size_t>(c), static_cast<int>(d), pointer<sockaddr>(e),             \
          static_cast<socklen_t>(f)))                                                                                 \
  TRAPPED(SYS_recvfrom,                                                                                               \
          recvfrom(fd, pointer<void>(b), static_cast<size_t>(c), static_cast<int>(d), pointer<sockaddr>(e),           \
          pointer<socklen_t>(f)))                                                                                     \
  TRAPPED(SYS_sendmsg, sendmsg(fd, pointer<msghdr>(b), static_cast<int>(c)))                                          \
  TRAPPED(SYS_recvmsg, recvmsg(fd, pointer<msghdr>(b), static_cast<int>(c)))                                          \
  TRAPPED(SYS_openat2, open_how(a, b, c, d))                                                                          \
  TRAPPED(SYS_dup, dup(fd))                                                                                           \
  TRAPPED(SYS_fcntl, fcntl(fd, static_cast<int>(b), c))                                                               \
  TRAPPED(SYS_pidfd_getfd, pidfd_getfd(fd, static_cast<int>(b), static_cast<unsigned>(c)))                            \
  TRAPPED(SYS_recvmmsg,                                                                                               \
          recvmmsg(fd, pointer<mmsghdr>(b), static_cast<unsigned>(c), static_cast<int>(d),                            \
          pointer<timespec>(e)))                                                                                      \
  TRAPPED(SYS_io_uring_setup, set_up_ring(a, b))                                                                      \
  ASKED(SYS_futex, wait_on_word(number, a, b, c, d, e, f))                                                            \
  ASKED(SYS_exit, (engine::user::end_thread(fd), 0))                                                                  \
  ASKED(SYS_clone3, finish(clone3_process(a, b)))                                                                     \
  ASKED(SYS_pselect6, wait_under_mask(number, a, b, c, d, e, f))                                                      \
  ASKED(SYS_epoll_pwait, wait_under_mask(number, a, b, c, d, e, f))                                                   \
  ASKED(SYS_epoll_pwait2, wait_under_mask(number, a, b, c, d, e, f))                                                  \
  ASKED(SYS_lseek, lseek(fd, b, static_cast<int>(c)))                                                                 \
  ASKED(SYS_wait4, wait4(fd, pointer<int>(b), static_cast<int>(c), pointer<rusage>(d)))                               \
  ASKED(SYS_accept4, accept4(fd, pointer<sockaddr>(b), pointer<socklen_t>(c), static_cast<int>(d)))                   \
  ASKED(SYS_newfstatat, brought(number, a, b, c, d, e, f))                                                            \
  ASKED(SYS_fstat, brought(number, a, b, c, d, e, f))                                                                 \
  ASKED(SYS_statx, brought(number, a, b, c, d, e, f))                                                                 \
  ASKED(SYS_readlinkat, brought(number, a, b, c, d, e, f))                                                            \
  ASKED(SYS_faccessat, brought(number, a, b, c, d, e, f))                                                             \
  ASKED(SYS_chdir, brought(number, a, b, c, d, e, f))                                                                 \
  ASKED(SYS_getcwd, brought(number, a, b, c, d, e, f))                                                                \
  ASKED(SYS_getrandom, brought(number, a, b, c, d, e, f))                                                             \
  ASKED(SYS_uname, brought(number, a, b, c, d, e, f))                                                                 \
  ASKED(SYS_sysinfo, brought(number, a, b, c, d, e, f))                                                               \
  ASKED(SYS_times, brought(number, a, b, c, d, e, f))                                                                 \
  ASKED(SYS_getrusage, brought(number, a, b, c, d, e, f))                                                             \
  ASKED(SYS_prlimit64, brought(number, a, b, c, d, e, f))                                                             \
  ASKED(SYS_clock_gettime, brought(number, a, b, c, d, e, f))                                                         \
  ASKED(SYS_clock_nanosleep, brought(number, a, b, c, d, e, f))                                                       \
  ASKED(SYS_nanosleep, brought(number, a, b, c, d, e, f))                                                             \
  ASKED(SYS_sigaltstack, brought(number, a, b, c, d, e, f))                                                           \
  ASKED(SYS_getdents64, brought(number, a, b, c, d, e, f))                                                            \
  ASKED(SYS_epoll_ctl, brought(number, a, b, c, d, e, f))                                                             \
  ASKED(SYS_pipe2, brought(number, a, b, c, d, e, f))                                                                 \
  ASKED(SYS_setsockopt, brought(number, a, b, c, d, e, f))                                                            \
  ASKED(SYS_getsockopt, brought(number, a, b, c, d, e, f))                                                            \
  ASKED(SYS_connect, brought(number, a, b, c, d, e, f))                                                               \
  ASKED(SYS_bind, brought(number, a, b, c, d, e, f))                                                                  \
  ASKED(SYS_getsockname, brought(number, a, b, c, d, e, f))                                                           \
  ASKED(SYS_getpeername, brought(number, a, b, c, d, e, f))                                                           \
  ASKED(SYS_mincore, brought(number, a, b, c, d, e, f))
// clang-format on
