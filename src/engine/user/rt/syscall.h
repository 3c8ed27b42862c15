// SPDX-License-Identifier: Apache-2.0
// System calls without libc: nothing here touches errno, thread-local storage or a lock, so all of
// it may run inside a signal handler and in a thread that libc does not know. Every function
// returns what the kernel returned: a value, or a negative errno.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include "engine/user/rt/syscall_x86_64.h"
#elif defined(__aarch64__)
#include "engine/user/rt/syscall_aarch64.h"
#else
#error "userfault: this architecture has no syscall_*.h yet"
#endif

namespace userfault::engine::user {

inline long as_long(const void* pointer) noexcept { return reinterpret_cast<long>(pointer); }

// Whether the kernel refused: a negative errno. An address or a length above LONG_MAX is none.
[[nodiscard]] constexpr bool is_error(long result) noexcept { return result < 0 && result > -4096; }

// The kernel's sigset_t: 64 signals in one word.
using SignalMask = std::uint64_t;

inline constexpr SignalMask bit_of(int signal) noexcept { return SignalMask{1} << (signal - 1); }

namespace sys {

inline long mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd, long offset) noexcept {
  return raw_syscall(SYS_mmap, static_cast<long>(start), static_cast<long>(length), protection, flags, fd, offset);
}
inline long munmap(std::uintptr_t start, std::size_t length) noexcept {
  return raw_syscall(SYS_munmap, static_cast<long>(start), static_cast<long>(length));
}
inline long mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept {
  return raw_syscall(SYS_mprotect, static_cast<long>(start), static_cast<long>(length), protection);
}
inline long madvise(std::uintptr_t start, std::size_t length, int advice) noexcept {
  return raw_syscall(SYS_madvise, static_cast<long>(start), static_cast<long>(length), advice);
}
inline long mremap(std::uintptr_t from, std::size_t old_length, std::size_t new_length, int flags,
                   std::uintptr_t to) noexcept {
  return raw_syscall(SYS_mremap, static_cast<long>(from), static_cast<long>(old_length), static_cast<long>(new_length),
                     flags, static_cast<long>(to));
}
inline long mincore(std::uintptr_t start, std::size_t length, unsigned char* vector) noexcept {
  return raw_syscall(SYS_mincore, static_cast<long>(start), static_cast<long>(length), as_long(vector));
}
inline long openat(const char* path, int flags) noexcept {
  return raw_syscall(SYS_openat, -100, as_long(path), flags, 0);
}
inline long close(int fd) noexcept { return raw_syscall(SYS_close, fd); }
inline long read(int fd, void* buffer, std::size_t bytes) noexcept {
  return raw_syscall(SYS_read, fd, as_long(buffer), static_cast<long>(bytes));
}
inline long write(int fd, const void* buffer, std::size_t bytes) noexcept {
  return raw_syscall(SYS_write, fd, as_long(buffer), static_cast<long>(bytes));
}
inline long pread(int fd, void* buffer, std::size_t bytes, long offset) noexcept {
  return raw_syscall(SYS_pread64, fd, as_long(buffer), static_cast<long>(bytes), offset);
}
inline long pwrite(int fd, const void* buffer, std::size_t bytes, long offset) noexcept {
  return raw_syscall(SYS_pwrite64, fd, as_long(buffer), static_cast<long>(bytes), offset);
}
inline long fallocate(int fd, int mode, long offset, long length) noexcept {
  return raw_syscall(SYS_fallocate, fd, mode, offset, length);
}
inline long punch_hole(int fd, long offset, std::size_t bytes) noexcept {
  constexpr int kPunchHoleKeepSize = 1 | 2;  // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, <linux/falloc.h>
  return fallocate(fd, kPunchHoleKeepSize, offset, static_cast<long>(bytes));
}
inline int gettid() noexcept { return static_cast<int>(raw_syscall(SYS_gettid)); }
inline int getpid() noexcept { return static_cast<int>(raw_syscall(SYS_getpid)); }
inline long tgkill(int pid, int tid, int signal) noexcept { return raw_syscall(SYS_tgkill, pid, tid, signal); }

// Sleeps while *word == expected. A relative timeout makes the call end with -EINTR after a signal
// handler ran; without one the kernel would restart it after a handler with SA_RESTART.
inline long futex_wait(const void* word, std::uint32_t expected, const timespec* timeout) noexcept {
  return raw_syscall(SYS_futex, as_long(word), FUTEX_WAIT_PRIVATE, static_cast<long>(expected), as_long(timeout));
}
inline long futex_wake(const void* word, int count) noexcept {
  return raw_syscall(SYS_futex, as_long(word), FUTEX_WAKE_PRIVATE, count);
}
inline void set_signal_mask(SignalMask mask) noexcept {
  raw_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, as_long(&mask), 0, sizeof mask);
}
// Returns the mask that was in force.
inline SignalMask swap_signal_mask(SignalMask mask) noexcept {
  SignalMask previous = 0;
  raw_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, as_long(&mask), as_long(&previous), sizeof mask);
  return previous;
}

}  // namespace sys
}  // namespace userfault::engine::user
