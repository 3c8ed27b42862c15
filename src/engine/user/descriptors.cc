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
#include "engine/user/descriptors.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <cerrno>

#include "engine/user/agent.h"
#include "engine/user/fork.h"
#include "engine/user/registration.h"
#include "engine/user/sigsafe/handler.h"
#include "engine/user/sigsafe/out_of_the_way.h"
#include "engine/user/user_engine.h"

namespace userfault::engine::user {

using namespace sigsafe;

constinit Mutex opening;

namespace {

constexpr long kMark = SIGSTKFLT;
// From <linux/fcntl.h>; the libc hides them without _GNU_SOURCE.
constexpr int kSetSignal = 10;
constexpr int kGetSignal = 11;

constinit std::atomic<int> instances_used{0};
constinit std::atomic<bool> prepared{false};
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

long prepare() noexcept {
  // Every time: the program may have taken the signals for itself since the last one. Its handler is
  // then what ours chains to.
  if (const long result = install_handlers(); result < 0) return result;
  if (prepared.load()) return 0;
  if (const long result = prepare_waiters(); result < 0) return result;
  watch_forks();
  prepared.store(true);
  return 0;
}

Instance* free_instance() noexcept {
  for (Instance& instance : instances)
    if (!instance.used.load()) return &instance;
  return nullptr;
}

void start_over(Instance& instance, const Pipe& pipe) noexcept {
  instance.pipe_inode = inode_of(pipe.reader);
  instance.doorbell = pipe.writer;
  instance.reader = pipe.reader;
  instance.bell_rung.store(false);
  instance.rings_late.store(false);
  instance.in_thread.store(nullptr);
}

// Whether any read end of the pipe is open anywhere: its write end reports POLLERR when none is.
bool has_readers(const Instance& instance) noexcept {
  pollfd entry{.fd = instance.doorbell, .events = 0, .revents = 0};
  const timespec now{};
  raw_syscall(SYS_ppoll, as_long(&entry), 1, as_long(&now), 0, 8);
  return (entry.revents & POLLERR) == 0;
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
    instance.reader = fd;
    return &instance;
  }
  return nullptr;
}

int open_instance(int flags) noexcept {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY)) != 0) return -EINVAL;
  // Its faults would be nobody's, and a thread of the parent may have held the locks.
  if (!is_own_process()) return -EPERM;
  SignalsBlocked blocked;
  Locked locked(opening);
  if (const long result = prepare(); result < 0) return static_cast<int>(result);
  Instance* instance = free_instance();
  if (instance == nullptr) return -EMFILE;
  Pipe pipe;
  if (const long result = make_pipe(flags, &pipe); result < 0) return static_cast<int>(result);
  start_over(*instance, pipe);
  instance->open_flags = flags & (O_CLOEXEC | O_NONBLOCK);
  instance->user_mode_only = (flags & USERFAULT_USER_MODE_ONLY) != 0;
  instance->enabled.store(false);
  instance->features = 0;
  instance->used.store(true, std::memory_order_release);
  instances_used.fetch_add(1, std::memory_order_release);
  agent::serve(*instance);
  return pipe.reader;
}

void end_if_closed(Instance& instance) noexcept {
  SignalsBlocked blocked;
  Locked locked(opening);
  // Asked again under the lock: the slot may have been given to another one meanwhile.
  if (!instance.used.load() || has_readers(instance)) return;
  unregister_all(instance);
  instance.used.store(false);
  release_all(instance);
  agent::forget(instance);
  sys::close(instance.doorbell);
  instance.doorbell = -1;
  instances_used.fetch_sub(1);
}

bool was_used() noexcept { return prepared.load(); }
bool met_foreign() noexcept { return marked_was_met.load(std::memory_order_relaxed); }
bool has_instances() noexcept { return instances_used.load(std::memory_order_acquire) != 0; }

namespace {

void drop_queues(Instance& instance) noexcept {
  instance.lock.reset();
  instance.pending = instance.delivered = {};
  instance.events = instance.last_event = nullptr;
  instance.readable.store(0);
  instance.readers.store(0);
  instance.sleeping_readers.store(0);
  instance.changing.store(0);
  instance.generation.fetch_add(1);
}

}  // namespace

void forget_instance(Instance& instance) noexcept {
  drop_queues(instance);
  sys::close(instance.doorbell);
  instance.doorbell = -1;
  instance.used.store(false);
  instances_used.fetch_sub(1);
}

void inherit_instance(Instance& instance, const Pipe& pipe) noexcept {
  drop_queues(instance);
  sys::close(instance.doorbell);
  start_over(instance, pipe);
  instance.reader = -1;
}

}  // namespace userfault::engine::user
