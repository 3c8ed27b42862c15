// SPDX-License-Identifier: Apache-2.0
// How a number is known.
//
// The pipe's inode is the identity: it survives dup, inheritance and SCM_RIGHTS, and a number that
// was closed behind our back and given to something else is not mistaken for it. That a pipe is a
// doorbell at all is written on its read end: F_SETSIG with a signal that Linux never sends belongs
// to the open file description, so it goes wherever the descriptor goes, through exec too, and does
// nothing as long as nobody sets O_ASYNC. Rejected: asking a socket named after every unknown pipe's
// inode, which costs a connection for each pipe that a program reads, and cannot know a descriptor
// whose owner is gone.
#include "engine/user/descriptor/descriptor_table.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "engine/user/rt/check.h"
#include "engine/user/rt/high_fd.h"
#include "engine/user/rt/process_identity.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

constinit Mutex opening;

namespace {

constexpr long kMark = SIGSTKFLT;
// From <linux/fcntl.h>; the libc hides them without _GNU_SOURCE.
constexpr int kSetSignal = 10;
constexpr int kGetSignal = 11;

constinit std::atomic<int> instances_used{0};
constinit std::atomic<bool> ever_used{false};
// Stands for itself: whoever sees it late asks one number less.
constinit std::atomic<bool> marked_was_met{false};

long fcntl_call(int fd, int command, long argument = 0) noexcept {
  return raw_syscall(SYS_fcntl, fd, command, argument);
}

std::uint64_t fifo_inode(int fd) noexcept {
  struct stat status;
  if (raw_syscall(SYS_newfstatat, fd, as_long(""), as_long(&status), AT_EMPTY_PATH) < 0) return 0;
  return S_ISFIFO(status.st_mode) ? status.st_ino : 0;
}

void start_over(Instance& instance, const Pipe& pipe) noexcept {
  instance.pipe_inode = inode_of(pipe.reader);
  instance.doorbell = pipe.writer;
  instance.read_fd = pipe.reader;
  instance.bell_rung.store(false);
  instance.defer_bell.store(false);
  set_in_thread(instance, {});
}

}  // namespace

long make_pipe(int flags, Pipe* pipe) noexcept {
  int ends[2];
  if (const long result = raw_syscall(SYS_pipe2, as_long(ends), O_CLOEXEC); result < 0) return result;
  *pipe = {.reader = ends[0], .writer = out_of_the_way(ends[1])};
  fcntl_call(pipe->writer, F_SETFL, O_WRONLY | O_NONBLOCK);
  fcntl_call(pipe->reader, kSetSignal, kMark);
  if ((flags & O_CLOEXEC) == 0) fcntl_call(pipe->reader, F_SETFD, 0);
  if ((flags & O_NONBLOCK) != 0) fcntl_call(pipe->reader, F_SETFL, O_NONBLOCK);
  return 0;
}

std::uint64_t inode_of(int fd) noexcept {
  struct stat status;
  if (raw_syscall(SYS_newfstatat, fd, as_long(""), as_long(&status), AT_EMPTY_PATH) < 0) return 0;
  return status.st_ino;
}

bool is_blocking(int fd) noexcept { return (fcntl_call(fd, F_GETFL) & O_NONBLOCK) == 0; }

bool is_marked(int fd) noexcept {
  if (fd < 0 || fcntl_call(fd, kGetSignal) != kMark || fifo_inode(fd) == 0) return false;
  if ((fcntl_call(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) return false;
  marked_was_met.store(true, std::memory_order_relaxed);
  return true;
}

Instance* find_instance(int fd) noexcept {
  // What a copy of the process that was made past us holds is the parent's: another process's.
  if (instances_used.load(std::memory_order_acquire) == 0 || fd < 0 || !is_own_process()) return nullptr;
  const std::uint64_t inode = fifo_inode(fd);
  if (inode == 0) return nullptr;
  for (Instance& instance : instances) {
    if (!instance.used.load(std::memory_order_acquire) || instance.pipe_inode != inode) continue;
    instance.read_fd = fd;
    return &instance;
  }
  return nullptr;
}

void enter_instance(Instance& instance, const Pipe& pipe) noexcept {
  USERFAULT_INVARIANT(!instance.used.load(), "a descriptor was opened in a slot that is in use");
  USERFAULT_INVARIANT(instance.pending.count == 0 && instance.delivered.count == 0 && instance.events == nullptr,
                      "threads wait for a descriptor that is being opened");
  start_over(instance, pipe);
  instance.used.store(true, std::memory_order_release);
  ever_used.store(true);
  instances_used.fetch_add(1, std::memory_order_release);
}

void leave_instance(Instance& instance) noexcept {
  USERFAULT_INVARIANT(!instance.used.load(), "the slot of a descriptor in use was given up");
  USERFAULT_INVARIANT(instance.doorbell >= 0, "a descriptor was closed twice");
  sys::close(instance.doorbell);
  instance.doorbell = -1;
  const int before = instances_used.fetch_sub(1);
  USERFAULT_INVARIANT(before > 0, "more descriptors were closed than opened");
}

bool was_used() noexcept { return ever_used.load(); }
bool met_remote() noexcept { return marked_was_met.load(std::memory_order_relaxed); }
bool has_instances() noexcept { return instances_used.load(std::memory_order_acquire) != 0; }

void forget_instance(Instance& instance) noexcept {
  empty_instance(instance);
  sys::close(instance.doorbell);
  instance.doorbell = -1;
  instance.used.store(false);
  instances_used.fetch_sub(1);
}

void inherit_instance(Instance& instance, const Pipe& pipe) noexcept {
  empty_instance(instance);
  sys::close(instance.doorbell);
  start_over(instance, pipe);
  instance.read_fd = -1;
}

}  // namespace userfault::engine::user
