// SPDX-License-Identifier: Apache-2.0
// The problem: a userfaultfd acts on the memory of whoever registered, whatever process uses it. In
// user space only the owner can do that: fill its memfds, open its pages, wake its threads.
//
// The way: the owner has one thread for it, made when its first descriptor is opened, because a
// descriptor may leave (fork, SCM_RIGHTS) without our hearing of it. It sleeps in epoll until another
// process connects to the socket of an instance (protocol.h), or a doorbell reports that its last
// reader is gone. It is made with a plain clone(2): libc does not know it, so a program stays as
// single-threaded as libc thinks, pthread_exit of the last thread ends the process, and no handler
// of the program runs in it. Hence nothing here may use libc: no errno, no allocation. It has a thread
// pointer of its own all the same, so that code which looks at thread-local storage (a lazy binding,
// a stack protector) finds zeroes of its own and not another thread's.
//
// A requester that is killed, stopped or hostile costs nothing: no packet is waited for, a reply that
// does not fit into the socket ends the connection, and the one that was idle longest makes room for
// a new one. Only processes of the same user are answered (SO_PEERCRED).
//
// Limits. setresuid(2) of libc does not reach this thread: open descriptors after dropping
// privileges, not before (docs/divergences.md). Abstract sockets end at a network namespace.
//
// Rejected: making it when it is first needed (nobody can say when that is); a pthread (it keeps the
// process alive after the last thread of the program, and runs its signal handlers).
#include "engine/user/remote/agent.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include <cerrno>
#include <iterator>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/remote/agent_request.h"
#include "engine/user/remote/protocol.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/high_fd.h"
#include "engine/user/rt/start_thread.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user::agent {
namespace {

// What an event of the epoll is about, with an index into instances or connections.
enum class Source : std::uint32_t { kDoorbell = 1, kListener, kConnection };

constinit int epoll_fd = -1;
constinit bool running = false;
constinit std::uintptr_t stack = 0;
constinit std::atomic<EndFunction> end_unused{nullptr};

constexpr std::size_t kMaxConnections = 256;
constinit Connection connections[kMaxConnections];
constinit std::uint64_t requests = 0;

void watch(int fd, std::uint32_t events, Source source, std::size_t index) noexcept {
  epoll_event event{.events = events, .data = {.u64 = (static_cast<std::uint64_t>(source) << 32) | index}};
  raw_syscall(SYS_epoll_ctl, epoll_fd, EPOLL_CTL_ADD, fd, as_long(&event));
}
// Not left to close(2): a process forked past us may still have the file.
void unwatch(int fd) noexcept { raw_syscall(SYS_epoll_ctl, epoll_fd, EPOLL_CTL_DEL, fd, 0); }

// ---- connections; only the agent's thread ----

void hang_up(Connection& connection) noexcept {
  unwatch(connection.socket);
  close_connection(connection);
}

Connection& free_connection() noexcept {
  Connection* oldest = &connections[0];
  for (Connection& connection : connections) {
    if (connection.socket < 0) return connection;
    if (connection.last_request < oldest->last_request) oldest = &connection;
  }
  hang_up(*oldest);
  return *oldest;
}

void accept_from(Instance& instance) noexcept {
  const long socket = raw_syscall(SYS_accept4, instance.listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (socket < 0) return;
  if (!is_same_user(static_cast<int>(socket))) {
    sys::close(static_cast<int>(socket));
    return;
  }
  Connection& connection = free_connection();
  USERFAULT_INVARIANT(connection.socket < 0, "a connection was taken that is in use");
  connection.socket = out_of_the_way(static_cast<int>(socket));
  connection.instance = &instance;
  connection.inode = instance.pipe_inode;
  connection.last_request = ++requests;
  watch(connection.socket, EPOLLIN, Source::kConnection, static_cast<std::size_t>(&connection - connections));
}

void handle(const epoll_event& event) noexcept {
  const std::size_t index = event.data.u64 & 0xffffffff;
  switch (static_cast<Source>(event.data.u64 >> 32)) {
    case Source::kDoorbell: end_unused.load()(instances[index]); break;
    case Source::kListener: accept_from(instances[index]); break;
    case Source::kConnection: {
      Connection& connection = connections[index];
      if (connection.socket < 0) break;
      connection.last_request = ++requests;
      if (!answer(connection)) hang_up(connection);
      break;
    }
  }
}

void run() {
  constexpr int kSetName = 15;  // PR_SET_NAME
  raw_syscall(SYS_prctl, kSetName, as_long("userfault"));
  for (;;) {
    epoll_event events[16];
    const long count = raw_syscall(SYS_epoll_pwait, epoll_fd, as_long(events), std::size(events), -1, 0, 8);
    // The descriptor is the process's; whoever closed it behind our back has no agent any more.
    if (count < 0 && count != -EINTR) raw_syscall(SYS_exit, 0);
    for (long i = 0; i < count; ++i) handle(events[i]);
  }
}

// ---- the thread ----

constexpr std::size_t kStack = std::size_t{256} << 10;
constexpr std::size_t kThreadBlock = std::size_t{32} << 10;

// A guard page, the stack, and a block for the thread pointer to point into.
long make_stack() noexcept {
  if (stack != 0) return 0;
  constexpr std::size_t kBytes = 4096 + kStack + kThreadBlock;
  const long at = sys::mmap(0, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (is_error(at)) return at;
  sys::mprotect(static_cast<std::uintptr_t>(at), 4096, PROT_NONE);
  stack = static_cast<std::uintptr_t>(at) + 4096;
  return 0;
}

long start() noexcept {
  if (running) return 0;
  if (const long result = make_stack(); result < 0) return result;
  const long epoll = raw_syscall(SYS_epoll_create1, O_CLOEXEC);
  if (epoll < 0) return epoll;
  epoll_fd = out_of_the_way(static_cast<int>(epoll));
  const std::uintptr_t top = stack + kStack;
  const std::uintptr_t thread_pointer = top + kThreadBlock / 2;
  // On x86-64 the thread pointer is read from where it points to, by two names.
  auto* block = reinterpret_cast<std::uintptr_t*>(thread_pointer);
  block[0] = block[2] = thread_pointer;
  constexpr unsigned long kFlags =
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
  const long tid = userfault_rt_start_thread(kFlags, top, thread_pointer, run);
  if (tid < 0) {
    sys::close(epoll_fd);
    epoll_fd = -1;
    return tid;
  }
  running = true;
  return 0;
}

int listen_for(const Instance& instance) noexcept {
  const AgentName name = name_of_agent(instance.pipe_inode);
  const long socket = raw_syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return -1;
  constexpr long kBacklog = 64;
  if (raw_syscall(SYS_bind, socket, as_long(&name.address), static_cast<long>(name.length)) < 0 ||
      raw_syscall(SYS_listen, socket, kBacklog) < 0) {
    sys::close(static_cast<int>(socket));
    return -1;
  }
  return out_of_the_way(static_cast<int>(socket));
}

}  // namespace

void when_unused(EndFunction end) noexcept { end_unused.store(end); }

void publish(Instance& instance) noexcept {
  instance.listener = -1;
  if (start() < 0) return;
  const auto index = static_cast<std::size_t>(&instance - instances);
  watch(instance.doorbell, 0, Source::kDoorbell, index);
  instance.listener = listen_for(instance);
  if (instance.listener >= 0) watch(instance.listener, EPOLLIN, Source::kListener, index);
}

void forget(Instance& instance) noexcept {
  unwatch(instance.doorbell);
  if (instance.listener < 0) return;
  unwatch(instance.listener);
  sys::close(instance.listener);
  instance.listener = -1;
}

void forget_all() noexcept {
  for (Connection& connection : connections)
    if (connection.socket >= 0) close_connection(connection);
  for (Instance& instance : instances) {
    if (!instance.used.load() || instance.listener < 0) continue;
    sys::close(instance.listener);
    instance.listener = -1;
  }
  if (epoll_fd >= 0) sys::close(epoll_fd);
  epoll_fd = -1;
  running = false;
}

bool is_running() noexcept { return running; }

}  // namespace userfault::engine::user::agent
