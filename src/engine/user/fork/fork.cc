// SPDX-License-Identifier: Apache-2.0
// The problem: fork promises the child its own copy of private memory, of one moment. Private memory
// that the engine serves is a shared memfd, which fork would not copy. And FEATURE_EVENT_FORK promises the
// monitor a descriptor for the child's ranges before fork returns.
//
// The way: before the fork the table of areas is locked and writers are kept off converted memory
// (they wait in the fault handler for the table). The child, born without those mappings
// (MADV_DONTFORK), puts private memory in their places and reads the content out of the memfd, which
// it has inherited; the parent waits for that and lets the writers go on. The child then owns no
// instance: a descriptor that it inherited acts on the parent's memory, through the parent's agent.
// For an instance with FEATURE_EVENT_FORK it is different: the child's areas stay as they are, over
// a memfd of its own, registered with an instance that takes the parent's slot; the read end of its
// doorbell travels to the monitor in the fork event, and a process that holds it reaches the child's agent.
//
// Where nothing was converted neither side waits. What is copied is copied at once, not on write: a fork
// costs what its present converted pages cost. vfork and posix_spawn copy nothing.
//
// Limits. A thread that waits for a fault while it holds a lock that libc's fork takes (malloc's)
// makes the fork wait for ever, because the resolver waits for the table. System calls that write
// to converted memory in another thread during the copy fail with EFAULT (docs/divergences.md).
//
// Rejected: turning both sides private at the fork (the parent's pages would have to be copied too,
// and its areas served another way from then on); stopping the other threads by signals (a thread
// in a system call goes on writing); MAP_PRIVATE of the memfd in the child (the parent's later
// writes would show through).
#include "engine/user/fork/fork.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include <cerrno>
#include <iterator>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/fork/inherit.h"
#include "engine/user/memory/address_space.h"
#include "engine/user/remote/agent.h"
#include "engine/user/remote/remote_descriptor.h"
#include "engine/user/rt/check.h"
#include "engine/user/wait/fault_queue.h"
#include "engine/user/wait/instance.h"
#include "engine/user/wait/layout_events.h"

namespace userfault::engine::user {
namespace {

// An instance of the parent whose ranges the child keeps.
struct Heir {
  Instance* instance = nullptr;
  std::uint32_t generation = 0;
  Pipe pipe;
};

// Of the fork under way. Under `opening`, which is held from before it until after it.
struct UnderWay {
  SignalMask interrupted = 0;
  bool served = false;  // there is something to do at all
  bool copies = false;  // the child has to copy memory
  bool waits = false;   // the parent waits for the child
  bool frozen = false;
  Pipe ready;  // the child writes one byte when it has its memory
  Pipe go;     // the parent writes one byte when the fork events were read
  Heir heirs[32];
  std::size_t heir_count = 0;
};
constinit UnderWay fork_state;

bool has_areas(const Instance& instance) noexcept {
  for (const Area* area = space.begin(); area != space.end(); ++area)
    if (area->instance == &instance) return true;
  return false;
}

// The kernel duplicates what has a range in the child (dup_userfaultfd is called for each mapping).
void find_heirs() noexcept {
  fork_state.heir_count = 0;
  for (Instance& instance : instances) {
    if (!instance.used.load() || (instance.features & USERFAULT_FEATURE_EVENT_FORK) == 0) continue;
    if (fork_state.heir_count == std::size(fork_state.heirs) || !has_areas(instance)) continue;
    Heir& heir = fork_state.heirs[fork_state.heir_count];
    if (make_pipe(instance.open_flags, &heir.pipe) < 0) continue;
    heir.instance = &instance;
    heir.generation = begin_change(instance);
    ++fork_state.heir_count;
  }
}

// A directory has a link for each of its directories beside "." and ".." (proc(5) has one a thread).
bool has_other_threads() noexcept {
  struct stat status;
  if (raw_syscall(SYS_newfstatat, AT_FDCWD, as_long("/proc/self/task"), as_long(&status), 0) < 0) return true;
  return status.st_nlink > (agent::is_running() ? 4U : 3U);
}

// In the kernel the child does not run before the events were read.
void make_go_pipe() noexcept {
  int ends[2];
  fork_state.go = {};
  if (fork_state.heir_count > 0 && raw_syscall(SYS_pipe2, as_long(ends), O_CLOEXEC) == 0)
    fork_state.go = {.reader = ends[0], .writer = ends[1]};
}

void wait_for_go() noexcept {
  if (fork_state.go.reader < 0) return;
  sys::close(fork_state.go.writer);
  char byte;
  while (sys::read(fork_state.go.reader, &byte, 1) == -EINTR) {
  }
  sys::close(fork_state.go.reader);
}

void make_ready_pipe() noexcept {
  int ends[2];
  fork_state.waits = raw_syscall(SYS_pipe2, as_long(ends), O_CLOEXEC) == 0;
  fork_state.ready = {.reader = ends[0], .writer = ends[1]};
}

// Whether the child said that it is ready; false when there is none, or it died.
bool wait_for_child() noexcept {
  sys::close(fork_state.ready.writer);
  char byte;
  long got;
  do got = sys::read(fork_state.ready.reader, &byte, 1);
  while (got == -EINTR);
  sys::close(fork_state.ready.reader);
  return got == 1;
}

[[noreturn]] void give_up() noexcept {
  constexpr char kText[] =
      "userfault: the forked process could not get its copy of memory that userfault serves (out of memory or "
      "mappings); it ends here rather than go on with wrong pages\n";
  sys::write(2, kText, sizeof kText - 1);
  for (;;) sys::tgkill(sys::getpid(), sys::gettid(), SIGKILL);
}

Heir* heir_of(const Instance& instance) noexcept {
  for (std::size_t i = 0; i < fork_state.heir_count; ++i)
    if (fork_state.heirs[i].instance == &instance) return &fork_state.heirs[i];
  return nullptr;
}

void take_over_instances() noexcept {
  USERFAULT_INVARIANT(space.lock.is_held_exclusively(), "instances were inherited without the table's lock");
  agent::forget_all();
  for (Instance& instance : instances) {
    if (!instance.used.load()) continue;
    instance.listener = -1;
    if (const Heir* heir = heir_of(instance); heir != nullptr) {
      inherit_instance(instance, heir->pipe);
      sys::close(heir->pipe.reader);
    } else {
      forget_instance(instance);
    }
  }
  for (std::size_t i = 0; i < fork_state.heir_count; ++i) agent::publish(*fork_state.heirs[i].instance);
}

void unlock_all() noexcept {
  USERFAULT_INVARIANT(space.lock.is_held_exclusively() && opening.is_held(), "a fork ended that did not begin");
  space.lock.unlock();
  opening.unlock();
}

// Tells the monitors, and lets the child go on when they have read it. Signals are blocked.
void tell(const Heir* heirs, std::size_t count, bool born, const Pipe& go) noexcept {
  Events events;
  userfault_msg message{};
  message.event = USERFAULT_EVENT_FORK;
  for (const Heir* heir = heirs; heir != heirs + count; ++heir) {
    sys::close(heir->pipe.writer);
    if (born) events.prepare(heir->instance, USERFAULT_FEATURE_EVENT_FORK, message, heir->pipe.reader);
    else sys::close(heir->pipe.reader);
    end_change(*heir->instance, heir->generation);
  }
  events.deliver();
  if (go.reader < 0) return;
  const char byte = 1;
  sys::write(go.writer, &byte, 1);  // with the read end here still open: a child that died costs no SIGPIPE
  sys::close(go.writer);
  sys::close(go.reader);
}

[[gnu::constructor]] void when_loaded() noexcept { watch_forks(); }

}  // namespace

void watch_forks() noexcept {
  static constinit std::atomic<bool> watching{false};
  if (!watching.exchange(true)) pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void before_fork() noexcept {
  const SignalMask interrupted = sys::swap_signal_mask(~kSynchronous);
  opening.lock();
  space.lock.lock();
  fork_state.interrupted = interrupted;
  fork_state.served = was_used();
  fork_state.copies = fork_state.waits = fork_state.frozen = false;
  fork_state.heir_count = 0;
  fork_state.go = {};
  if (!fork_state.served) return;
  find_heirs();
  make_go_pipe();
  fork_state.copies = has_converted_memory();
  if (fork_state.copies || fork_state.heir_count > 0) make_ready_pipe();
  fork_state.frozen = fork_state.copies && has_other_threads();
  if (fork_state.frozen) freeze_writers();
}

void after_fork_in_parent() noexcept {
  const SignalMask interrupted = fork_state.interrupted;
  const bool served = fork_state.served;
  USERFAULT_INVARIANT(fork_state.heir_count <= std::size(fork_state.heirs),
                      "a fork has more heirs than there is room for");
  const bool born = served && fork_state.waits && wait_for_child();
  if (served && fork_state.frozen) thaw_writers();
  // Out of the fork's state, which the next one takes as soon as the locks are free.
  Heir heirs[std::size(fork_state.heirs)];
  const std::size_t count = served ? fork_state.heir_count : 0;
  for (std::size_t i = 0; i < count; ++i) heirs[i] = fork_state.heirs[i];
  const Pipe go = fork_state.go;
  unlock_all();
  if (served) tell(heirs, count, born, go);
  sys::set_signal_mask(interrupted);
}

void after_fork_in_child() noexcept {
  opening.reset();
  space.lock.reset();
  if (fork_state.served) {
    // The parent's threads are gone, and what they left half done with them.
    Locked locked(space.lock);
    if (fork_state.waits) sys::close(fork_state.ready.reader);
    reset_waiters();
    remote::forget_all();
    take_over_instances();
    // A parent that could not be made to wait is changing what would be copied.
    if ((fork_state.copies && !fork_state.waits) || inherit_memory() < 0) give_up();
    if (fork_state.waits) {
      const char byte = 1;
      sys::write(fork_state.ready.writer, &byte, 1);
      sys::close(fork_state.ready.writer);
    }
  }
  wait_for_go();
  sys::swap_signal_mask(fork_state.interrupted);
}

void end_thread(int status) noexcept {
  const bool last = agent::is_running() && !has_other_threads();
  for (;;) raw_syscall(last ? SYS_exit_group : SYS_exit, status);
}

}  // namespace userfault::engine::user
