// SPDX-License-Identifier: Apache-2.0
// Which descriptor numbers may stand for something that this library serves: a userfaultfd of the
// user engine, of this process or another one, or /proc/self/pagemap.
//
// The problem: what is behind a number only the kernel knows, and to ask it for each read(2), write(2)
// and close(2) of a program costs more than the call. The way: a bit for each number, set where such a
// descriptor can come to it and never taken back, so that a number without one is passed on at once. A
// bit decides nothing but whether the kernel is asked (by the inode, engine/user/descriptor). When in
// doubt a number is marked.
//
// The ways by which a descriptor comes to a number, and where each is seen:
//   1. userfaultfd(2), USERFAULTFD_IOC_NEW, the replacement of a refused one    open_ours()
//   2. dup, dup2, dup3, fcntl with F_DUPFD and F_DUPFD_CLOEXEC                  calls/duplicate_calls.cc
//   3. SCM_RIGHTS in recvmsg, recvmmsg                                          calls/socket_calls.cc
//   4. pidfd_getfd(2)                                                           calls/duplicate_calls.cc
//   5. the descriptor in a message of a fork event                              calls/messages.cc
//   6. fork, vfork, posix_spawn: the bits are copied or shared with the memory
//   7. exec, and whatever else is open at the start                             mark_inherited()
//   8. clone with CLONE_FILES but without CLONE_VM: the other task's descriptors
//      appear here without a call of ours, so everything is marked              calls/fork_calls.cc
//   9. io_uring (received SCM_RIGHTS, an installed fixed file): everything is
//      marked when a ring is set up, or is found with the first descriptor      trap/, watch_numbers()
//  10. open of pagemap under /proc                                              open/open_calls.cc
// 2, 3, 4, 8 and 9 are seen as libc's functions, through syscall(), and as instructions that are trapped
// (trap/trap.h). Where the filter is not in force (--no-trap, or the kernel refuses it) everything is
// marked. unshare(2) and CLOSE_RANGE_UNSHARE only make copies of what is known.
//
// Not seen are the same calls by code that is not watched (loaded later, made at run time, at a fixed
// address), by a debugger, and a descriptor that a supervisor (SECCOMP_IOCTL_NOTIF_ADDFD) or a driver
// puts there. Such a number is marked at its first UFFDIO ioctl, which is never passed on unlooked at.
// Not a userfaultfd is a doorbell that is opened anew through /proc/self/fd, which the kernel refuses
// for its own (ENXIO).
//
// Threads: everything from any thread and any signal handler.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "preload/preload.h"

namespace userfault::preload {

inline constexpr unsigned kMarkedNumbers = 65536;
inline constinit std::array<std::atomic<std::uint64_t>, kMarkedNumbers / 64> number_marks{};
inline constinit std::atomic<bool> inherited_marked = false;

// Marks what was inherited, once: from the constructor, or from a call that comes earlier.
void mark_inherited() noexcept;
void mark_number(int fd) noexcept;
// A descriptor came from another process, or back from it: marks its number if it is the engine's.
void note_arrival(int fd) noexcept;
void mark_all_numbers() noexcept;
// Once, when the first descriptor of ours is there: whether the filter for instructions is in force. Marks
// everything if it is not, or if this process has an io_uring, whose completions may bring descriptors.
void watch_numbers(bool filtered) noexcept;

// Whether the kernel has to be asked what `fd` is. A number beyond the table counts as marked.
[[nodiscard]] inline bool may_be_served(int fd) noexcept {
  if (fd < 0) return false;
  // Acquire pairs with the release in mark_inherited().
  if (!inherited_marked.load(std::memory_order_acquire)) [[unlikely]]
    mark_inherited();
  const auto number = static_cast<unsigned>(fd);
  // Relaxed: a thread that was told the number saw the mark with it.
  return number >= kMarkedNumbers ||
         (number_marks[number / 64].load(std::memory_order_relaxed) >> (number % 64) & 1) != 0;
}

// Whether a descriptor is the user engine's, this process's or another one's.
[[nodiscard]] inline bool is_ours(int fd) noexcept { return may_be_served(fd) && user_engine().owns(fd); }

}  // namespace userfault::preload
