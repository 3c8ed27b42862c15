// SPDX-License-Identifier: Apache-2.0
// syscall(3): the numbers that are about userfaultfd, its descriptors, memory or signals go the way
// that libc's functions go. syscall_entry_*.S asks `userfault_preload_takes` and makes every
// other call itself, on the caller's stack: what it returns twice (fork, clone) returns as it would
// from libc's syscall().
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "engine/user/fork/fork.h"
#include "engine/user/layout/brk.h"
#include "engine/user/signal/chain.h"
#include "preload/calls/fork_calls.h"
#include "preload/open/numbers.h"
#include "preload/open/userfaultfd.h"
#include "preload/repair/repair.h"
#include "preload/signals/masks.h"
#include "preload/symbols/libc_symbols.h"
#include "preload/symbols/own_definitions.h"
#include "preload/trap/dispatch.h"
#include "preload/trap/old_calls.h"

namespace userfault::preload {
namespace {

template <typename T>
T* pointer(long argument) noexcept {
  return reinterpret_cast<T*>(argument);
}

// rt_sigaction(2) with the kernel's own struct.
long change_action(int signal, const engine::user::KernelSigaction* action, engine::user::KernelSigaction* old,
                   long mask_bytes) noexcept {
  if (mask_bytes != 8)
    return engine::user::raw_syscall(SYS_rt_sigaction, signal, argument_of(action), argument_of(old), mask_bytes);
  if (!engine::user::is_installed(signal)) {
    engine::user::KernelSigaction real{};
    if (action != nullptr) {
      real = *action;
      real.mask = real_mask_of(action->mask);
    }
    const long result = engine::user::raw_sigaction(signal, action != nullptr ? &real : nullptr, old);
    if (result == 0 && old != nullptr) old->mask = shown_mask_of(old->mask);
    return result;
  }
  const auto before =
      action != nullptr ? engine::user::set_program_action(signal, *action) : engine::user::get_program_action(signal);
  if (old != nullptr) *old = before;
  return 0;
}

// The kernel reads and writes 8 bytes where libc's sigset_t has 128.
long change_mask(int how, const engine::user::SignalMask* mask, engine::user::SignalMask* old,
                 long mask_bytes) noexcept {
  if (mask_bytes != 8) return -EINVAL;
  const engine::user::SignalMask real = mask != nullptr ? real_mask_of(*mask) : 0;
  engine::user::SignalMask read = 0;
  const long result = engine::user::raw_syscall(SYS_rt_sigprocmask, how, mask != nullptr ? argument_of(&real) : 0,
                                                argument_of(&read), 8);
  if (result == 0 && old != nullptr) *old = shown_mask_of(read);
  return result;
}

constexpr int kOpenat2 = 437;  // SYS_openat2, Linux 5.6

constexpr std::array kCalls = {
    SYS_userfaultfd,    SYS_openat,        SYS_ioctl,   SYS_read,          SYS_readv,   SYS_close,    SYS_close_range,
    SYS_dup3,           SYS_mmap,          SYS_munmap,  SYS_mremap,        SYS_madvise, SYS_mprotect, SYS_rt_sigaction,
    SYS_rt_sigprocmask, SYS_pread64,       SYS_preadv,  SYS_write,         SYS_writev,  SYS_pwrite64, SYS_pwritev,
    SYS_clone,          SYS_brk,           SYS_ppoll,   SYS_rt_sigsuspend, SYS_preadv2, SYS_pwritev2, SYS_sendto,
    SYS_recvfrom,       SYS_sendmsg,       SYS_recvmsg, kOpenat2,          SYS_dup,     SYS_fcntl,    SYS_pidfd_getfd,
    SYS_recvmmsg,       SYS_io_uring_setup};

consteval auto with_old_calls() {
  std::array<int, kCalls.size() + kOldCalls.size()> all{};
  std::size_t count = 0;
  for (const int number : kCalls) all[count++] = number;
  for (const int number : kOldCalls) all[count++] = number;
  return all;
}
constexpr auto kTaken = with_old_calls();

using Bits = std::array<std::uint64_t, 16>;

// Masks that are in force while a call waits.
long wait_under_mask(long number, long a, long b, long c, long d, long e, long f) noexcept {
  const auto with_mask = [&](const engine::user::SignalMask* mask, auto make) {
    engine::user::SignalMask real = mask != nullptr ? real_mask_of(*mask) : 0;
    return finish(make(mask != nullptr ? argument_of(&real) : 0));
  };
  if (number == SYS_rt_sigsuspend)
    return with_mask(pointer<engine::user::SignalMask>(a),
                     [&](long mask) { return engine::user::raw_syscall(number, mask, b); });
  if (number != SYS_pselect6)
    return with_mask(pointer<engine::user::SignalMask>(e),
                     [&](long mask) { return engine::user::raw_syscall(number, a, b, c, d, mask, f); });
  struct {
    engine::user::SignalMask* mask;
    long bytes;
  } last{};
  if (f != 0) std::memcpy(&last, pointer<void>(f), sizeof last);
  return with_mask(last.mask, [&](long mask) {
    const long pair[] = {mask, last.bytes};
    return engine::user::raw_syscall(number, a, b, c, d, e, f != 0 ? argument_of(&pair[0]) : 0);
  });
}

// openat2(2). What stands in is opened whatever `resolve` says: a path that may not be walked is refused
// by the kernel, which is asked for every other one.
long open_how(long directory, long path, long how, long size) noexcept {
  std::uint64_t flags = 0;
  if (how != 0 && size >= 8) std::memcpy(&flags, pointer<void>(how), sizeof flags);
  if (wants_stand_in(static_cast<int>(directory), pointer<char>(path)))
    return finish(open_stand_in(static_cast<int>(flags)));
  return retried([](auto... arguments) { return finish(engine::user::raw_syscall(kOpenat2, arguments...)); }, directory,
                 path, how, size);
}

// The kernel's mask as libc's, for a call of libc's.
int poll_under_mask(pollfd* fds, nfds_t count, const timespec* timeout, const engine::user::SignalMask* mask) {
  sigset_t set;
  sigemptyset(&set);
  if (mask != nullptr) std::memcpy(&set, mask, sizeof *mask);
  return ppoll(fds, count, timeout, mask != nullptr ? &set : nullptr);
}

// What comes through a ring is seen by nobody (open/numbers.h).
long set_up_ring(long entries, long parameters) noexcept {
  mark_all_numbers();
  return retried([](auto... arguments) { return finish(engine::user::raw_syscall(SYS_io_uring_setup, arguments...)); },
                 entries, parameters);
}

constexpr int kEpollWait2 = 441;  // SYS_epoll_pwait2, Linux 5.11

// Only through syscall(3): the words of a futex that instructions of the program's have touched are there, and
// a trap for each call would cost more than it mends. So with those of which only arguments are brought.
constexpr int kFutex = SYS_futex;
constexpr std::array kThroughSyscall = {kFutex,
                                        static_cast<int>(SYS_exit),
                                        static_cast<int>(SYS_clone3),
                                        static_cast<int>(SYS_pselect6),
                                        static_cast<int>(SYS_epoll_pwait),
                                        kEpollWait2,
                                        static_cast<int>(SYS_lseek),
                                        static_cast<int>(SYS_wait4),
                                        static_cast<int>(SYS_accept4),
                                        static_cast<int>(SYS_newfstatat),
                                        static_cast<int>(SYS_fstat),
                                        static_cast<int>(SYS_statx),
                                        static_cast<int>(SYS_readlinkat),
                                        static_cast<int>(SYS_faccessat),
                                        static_cast<int>(SYS_chdir),
                                        static_cast<int>(SYS_getcwd),
                                        static_cast<int>(SYS_getrandom),
                                        static_cast<int>(SYS_uname),
                                        static_cast<int>(SYS_sysinfo),
                                        static_cast<int>(SYS_times),
                                        static_cast<int>(SYS_getrusage),
                                        static_cast<int>(SYS_prlimit64),
                                        static_cast<int>(SYS_clock_gettime),
                                        static_cast<int>(SYS_clock_nanosleep),
                                        static_cast<int>(SYS_nanosleep),
                                        static_cast<int>(SYS_sigaltstack),
                                        static_cast<int>(SYS_getdents64),
                                        static_cast<int>(SYS_epoll_ctl),
                                        static_cast<int>(SYS_pipe2),
                                        static_cast<int>(SYS_setsockopt),
                                        static_cast<int>(SYS_getsockopt),
                                        static_cast<int>(SYS_connect),
                                        static_cast<int>(SYS_bind),
                                        static_cast<int>(SYS_getsockname),
                                        static_cast<int>(SYS_getpeername),
                                        static_cast<int>(SYS_mincore)};

consteval Bits bits_of_calls() {
  Bits bits{};
  for (const int number : kOldThroughSyscall) bits[number / 64] |= std::uint64_t{1} << (number % 64);
  for (const int number : kThroughSyscall) bits[number / 64] |= std::uint64_t{1} << (number % 64);
  for (const int number : kTaken) bits[number / 64] |= std::uint64_t{1} << (number % 64);
  return bits;
}

}  // namespace

std::span<const int> taken_numbers() noexcept { return kTaken; }

}  // namespace userfault::preload

// A bit for each number that the switch below has a case for.
extern "C" {
[[gnu::visibility("hidden")]] extern const userfault::preload::Bits userfault_preload_taken;
constinit const userfault::preload::Bits userfault_preload_taken = userfault::preload::bits_of_calls();
}

using namespace userfault;
using namespace userfault::preload;

extern "C" [[gnu::visibility("hidden")]] long userfault_preload_syscall(long number, long a, long b, long c, long d,
                                                                        long e, long f) {
  const auto fd = static_cast<int>(a);
  switch (number) {
    case SYS_userfaultfd: return finish(open_userfaultfd(fd));
    case SYS_openat: return openat(fd, pointer<char>(b), static_cast<int>(c), static_cast<mode_t>(d));
    case SYS_ioctl: return __real_ioctl(fd, static_cast<unsigned long>(b), pointer<void>(c));
    case SYS_read: return __real_read(fd, pointer<void>(b), static_cast<size_t>(c));
    case SYS_readv: return readv(fd, pointer<iovec>(b), static_cast<int>(c));
    case SYS_pread64: return pread(fd, pointer<void>(b), static_cast<size_t>(c), d);
    case SYS_preadv: return preadv(fd, pointer<iovec>(b), static_cast<int>(c), d);
    case SYS_write: return write(fd, pointer<void>(b), static_cast<size_t>(c));
    case SYS_writev: return writev(fd, pointer<iovec>(b), static_cast<int>(c));
    case SYS_pwrite64: return pwrite(fd, pointer<void>(b), static_cast<size_t>(c), d);
    case SYS_pwritev: return pwritev(fd, pointer<iovec>(b), static_cast<int>(c), d);
    case SYS_brk: return static_cast<long>(engine::user::change_break(static_cast<std::uintptr_t>(a)));
    case SYS_clone: return finish(clone_process(a, c, d, e));
    case SYS_clone3: return finish(clone3_process(a, b));
    case SYS_exit: engine::user::end_thread(fd);
    case SYS_lseek: return lseek(fd, b, static_cast<int>(c));
    case SYS_wait4: return wait4(fd, pointer<int>(b), static_cast<int>(c), pointer<rusage>(d));
    case SYS_accept4: return accept4(fd, pointer<sockaddr>(b), pointer<socklen_t>(c), static_cast<int>(d));
    case SYS_preadv2: return preadv2(fd, pointer<iovec>(b), static_cast<int>(c), d, static_cast<int>(f));
    case SYS_pwritev2: return pwritev2(fd, pointer<iovec>(b), static_cast<int>(c), d, static_cast<int>(f));
    case SYS_sendto:
      return sendto(fd, pointer<void>(b), static_cast<size_t>(c), static_cast<int>(d), pointer<sockaddr>(e),
                    static_cast<socklen_t>(f));
    case SYS_recvfrom:
      return recvfrom(fd, pointer<void>(b), static_cast<size_t>(c), static_cast<int>(d), pointer<sockaddr>(e),
                      pointer<socklen_t>(f));
    case SYS_sendmsg: return sendmsg(fd, pointer<msghdr>(b), static_cast<int>(c));
    case SYS_recvmsg: return recvmsg(fd, pointer<msghdr>(b), static_cast<int>(c));
    case kOpenat2: return open_how(a, b, c, d);
    case kFutex:
      return repaired(Access::kWrite, pointer<void>(a), 4, [=] {
        return repaired(Access::kWrite, pointer<void>(e), 4,
                        [=] { return finish(engine::user::raw_syscall(number, a, b, c, d, e, f)); });
      });
    case SYS_close: return __real_close(fd);
    case SYS_close_range: return close_range(static_cast<unsigned>(a), static_cast<unsigned>(b), static_cast<int>(c));
    case SYS_dup: return dup(fd);
    case SYS_fcntl: return fcntl(fd, static_cast<int>(b), c);
    case SYS_pidfd_getfd: return pidfd_getfd(fd, static_cast<int>(b), static_cast<unsigned>(c));
    case SYS_recvmmsg:
      return recvmmsg(fd, pointer<mmsghdr>(b), static_cast<unsigned>(c), static_cast<int>(d), pointer<timespec>(e));
    case SYS_io_uring_setup: return set_up_ring(a, b);
    case SYS_dup3: return dup3(fd, static_cast<int>(b), static_cast<int>(c));
    case SYS_mmap:
      return argument_of(__real_mmap(pointer<void>(a), static_cast<size_t>(b), static_cast<int>(c), static_cast<int>(d),
                                     static_cast<int>(e), f));
    case SYS_munmap: return __real_munmap(pointer<void>(a), static_cast<size_t>(b));
    case SYS_mremap:
      return argument_of(__real_mremap(pointer<void>(a), static_cast<size_t>(b), static_cast<size_t>(c),
                                       static_cast<int>(d), pointer<void>(e)));
    case SYS_madvise: return __real_madvise(pointer<void>(a), static_cast<size_t>(b), static_cast<int>(c));
    case SYS_mprotect: return __real_mprotect(pointer<void>(a), static_cast<size_t>(b), static_cast<int>(c));
    case SYS_ppoll:
      return poll_under_mask(pointer<pollfd>(a), static_cast<nfds_t>(b), pointer<timespec>(c),
                             pointer<engine::user::SignalMask>(d));
    case SYS_rt_sigsuspend:
    case SYS_pselect6:
    case SYS_epoll_pwait:
    case kEpollWait2: return wait_under_mask(number, a, b, c, d, e, f);
    case SYS_rt_sigaction:
      return finish(
          change_action(fd, pointer<engine::user::KernelSigaction>(b), pointer<engine::user::KernelSigaction>(c), d));
    case SYS_rt_sigprocmask:
      return finish(change_mask(fd, pointer<engine::user::SignalMask>(b), pointer<engine::user::SignalMask>(c), d));
    default: {
      long result = 0;
      if (old_call(number, a, b, c, &result)) return result;
      return retried([=](auto... arguments) { return finish(engine::user::raw_syscall(number, arguments...)); }, a, b,
                     c, d, e, f);
    }
  }
}
