// SPDX-License-Identifier: Apache-2.0
#include "engine/user/remote/agent_connection.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <cerrno>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/high_fd.h"

namespace userfault::engine::user::remote {

namespace {

constexpr std::size_t kMaxConnections = 64;
constinit AgentConnection connections[kMaxConnections];
constinit Mutex connections_mutex;
constinit std::uint64_t uses = 0;

void disconnect(AgentConnection& connection) noexcept {
  if (connection.socket >= 0 && inode_of(connection.socket) == connection.socket_inode) sys::close(connection.socket);
  connection.socket = -1;
  connection.staging_known = false;
}

void release(AgentConnection& connection) noexcept {
  disconnect(connection);
  if (connection.staging != 0) sys::munmap(connection.staging, kStagingBytes);
  if (connection.staging_fd >= 0) sys::close(connection.staging_fd);
  connection.staging = 0;
  connection.staging_fd = -1;
  connection.inode = 0;
}

// Under connections_mutex.
AgentConnection* find_connection(std::uint64_t inode) noexcept {
  USERFAULT_INVARIANT(inode != 0, "a connection was asked for that leads to no doorbell");
  AgentConnection* best = nullptr;
  for (AgentConnection& connection : connections) {
    if (connection.inode == inode) return &connection;
    if (connection.users == 0 && (best == nullptr || connection.last_use < best->last_use)) best = &connection;
  }
  if (best == nullptr) return nullptr;
  USERFAULT_INVARIANT(best->users == 0, "a connection in use was given to another doorbell");
  release(*best);
  best->inode = inode;
  return best;
}

long connect(AgentConnection& connection) noexcept {
  if (connection.socket >= 0 && inode_of(connection.socket) == connection.socket_inode) return 0;
  connection.staging_known = false;
  const long made = raw_syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (made < 0) return made;
  connection.socket = out_of_the_way(static_cast<int>(made));
  connection.socket_inode = inode_of(connection.socket);
  const AgentName name = name_of_agent(connection.inode);
  long result;
  do result = raw_syscall(SYS_connect, connection.socket, as_long(&name.address), static_cast<long>(name.length));
  while (result == -EINTR);
  if (result == 0 && is_same_user(connection.socket)) return 0;
  disconnect(connection);
  return -ESRCH;
}

bool send(AgentConnection& connection, const Request& request) noexcept {
  USERFAULT_INVARIANT(connection.socket >= 0, "a request was sent without a connection");
  USERFAULT_INVARIANT(request.staged == 0 || connection.staging != 0, "data was sent that was not staged");
  iovec part{const_cast<Request*>(&request), sizeof request};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  PassedDescriptors passed;
  const bool introduces = request.staged > 0 && !connection.staging_known;
  if (introduces) passed.attach(message, &connection.staging_fd, 1);
  long sent;
  do sent = raw_syscall(SYS_sendmsg, connection.socket, as_long(&message), MSG_NOSIGNAL);
  while (sent == -EINTR);
  if (sent > 0 && introduces) connection.staging_known = true;
  return sent > 0;
}

enum class Received : std::uint8_t { kReply, kNothing, kEnd };

Received receive(const AgentConnection& connection, Reply* reply, int* fds, std::size_t* count) noexcept {
  iovec part{reply, sizeof *reply};
  PassedDescriptors passed;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  long got;
  do {
    passed.await(message);
    got = raw_syscall(SYS_recvmsg, connection.socket, as_long(&message), MSG_CMSG_CLOEXEC);
  } while (got == -EINTR);
  *count = got > 0 ? PassedDescriptors::take(message, fds) : 0;
  if (got >= static_cast<long>(offsetof(Reply, messages))) return Received::kReply;
  // A request that nobody took is ECONNRESET (unix(7)).
  return got == 0 ? Received::kEnd : Received::kNothing;
}

}  // namespace

ConnectionGuard::ConnectionGuard(std::uint64_t inode) noexcept {
  // Another thread has closed the descriptor.
  if (inode == 0) return;
  {
    Locked<Mutex> locked(connections_mutex);
    connection_ = find_connection(inode);
    if (connection_ == nullptr) return;
    ++connection_->users;
    connection_->last_use = ++uses;
  }
  connection_->lock.lock();
}

ConnectionGuard::~ConnectionGuard() {
  if (connection_ == nullptr) return;
  connection_->lock.unlock();
  Locked<Mutex> locked(connections_mutex);
  USERFAULT_INVARIANT(connection_->users > 0, "a connection was given back that is not in use");
  --connection_->users;
}

long prepare_staging(AgentConnection& connection) noexcept {
  if (connection.staging != 0) return 0;
  const long fd = raw_syscall(SYS_memfd_create, as_long("userfault-staging"), MFD_CLOEXEC);
  if (fd < 0) return fd;
  connection.staging_fd = out_of_the_way(static_cast<int>(fd));
  if (const long sized = raw_syscall(SYS_ftruncate, connection.staging_fd, kStagingBytes); sized < 0) return sized;
  const long at = sys::mmap(0, kStagingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, connection.staging_fd, 0);
  if (is_error(at)) return at;
  connection.staging = static_cast<std::uintptr_t>(at);
  sys::madvise(connection.staging, kStagingBytes, MADV_DONTFORK);
  return 0;
}

long exchange(AgentConnection& connection, const Request& request, Reply* reply, int* fds,
              std::size_t* count) noexcept {
  // Once more on a new connection when the old one broke: the agent may have ended it for its age.
  bool taken = false;
  for (int attempt = 0; attempt < 2 && connect(connection) == 0; ++attempt) {
    Received received = Received::kNothing;
    if (send(connection, request)) received = receive(connection, reply, fds, count);
    if (received == Received::kReply) return 0;
    // A process that ends closes one descriptor after the other, so a new connection may still be
    // made; it says nothing about the old one.
    taken |= received == Received::kEnd;
    disconnect(connection);
  }
  return taken ? -EPIPE : -ESRCH;
}

void forget_connections() noexcept {
  connections_mutex.reset();
  for (AgentConnection& connection : connections) {
    connection.lock.reset();
    connection.users = 0;
    connection.staging = 0;  // it was not inherited
    release(connection);
  }
}

}  // namespace userfault::engine::user::remote
