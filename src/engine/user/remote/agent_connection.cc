// SPDX-License-Identifier: Apache-2.0
#include "engine/user/remote/agent_connection.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <cerrno>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/rt/high_fd.h"

namespace userfault::engine::user::foreign {

namespace {

constexpr std::size_t kMaxLinks = 64;
constinit Link links[kMaxLinks];
constinit Mutex table;
constinit std::uint64_t uses = 0;

bool failed(long result) noexcept { return result < 0 && result > -4096; }

void disconnect(Link& link) noexcept {
  if (link.socket >= 0 && inode_of(link.socket) == link.socket_inode) sys::close(link.socket);
  link.socket = -1;
  link.staging_known = false;
}

void release(Link& link) noexcept {
  disconnect(link);
  if (link.staging != 0) sys::munmap(link.staging, kStagingBytes);
  if (link.staging_fd >= 0) sys::close(link.staging_fd);
  link.staging = 0;
  link.staging_fd = -1;
  link.inode = 0;
}

// Under the table's lock.
Link* find_link(std::uint64_t inode) noexcept {
  Link* best = nullptr;
  for (Link& link : links) {
    if (link.inode == inode) return &link;
    if (link.users == 0 && (best == nullptr || link.last_use < best->last_use)) best = &link;
  }
  if (best == nullptr) return nullptr;
  release(*best);
  best->inode = inode;
  return best;
}

long connect(Link& link) noexcept {
  if (link.socket >= 0 && inode_of(link.socket) == link.socket_inode) return 0;
  link.staging_known = false;
  const long made = raw_syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (made < 0) return made;
  link.socket = out_of_the_way(static_cast<int>(made));
  link.socket_inode = inode_of(link.socket);
  const AgentName name = name_of_agent(link.inode);
  long result;
  do result = raw_syscall(SYS_connect, link.socket, as_long(&name.address), static_cast<long>(name.length));
  while (result == -EINTR);
  if (result == 0 && is_same_user(link.socket)) return 0;
  disconnect(link);
  return -ESRCH;
}

bool send(Link& link, const Request& request) noexcept {
  iovec part{const_cast<Request*>(&request), sizeof request};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  PassedDescriptors passed;
  const bool introduces = request.staged > 0 && !link.staging_known;
  if (introduces) passed.attach(message, &link.staging_fd, 1);
  long sent;
  do sent = raw_syscall(SYS_sendmsg, link.socket, as_long(&message), MSG_NOSIGNAL);
  while (sent == -EINTR);
  if (sent > 0 && introduces) link.staging_known = true;
  return sent > 0;
}

enum class Received : std::uint8_t { kReply, kNothing, kEnd };

Received receive(const Link& link, Reply* reply, int* fds, std::size_t* count) noexcept {
  iovec part{reply, sizeof *reply};
  PassedDescriptors passed;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  long got;
  do {
    passed.await(message);
    got = raw_syscall(SYS_recvmsg, link.socket, as_long(&message), MSG_CMSG_CLOEXEC);
  } while (got == -EINTR);
  *count = got > 0 ? PassedDescriptors::take(message, fds) : 0;
  if (got >= static_cast<long>(offsetof(Reply, messages))) return Received::kReply;
  // A request that nobody took is ECONNRESET (unix(7)).
  return got == 0 ? Received::kEnd : Received::kNothing;
}

}  // namespace

ConnectionGuard::ConnectionGuard(std::uint64_t inode) noexcept {
  {
    Locked<Mutex> locked(table);
    link_ = find_link(inode);
    if (link_ == nullptr) return;
    ++link_->users;
    link_->last_use = ++uses;
  }
  link_->lock.lock();
}

ConnectionGuard::~ConnectionGuard() {
  if (link_ == nullptr) return;
  link_->lock.unlock();
  Locked<Mutex> locked(table);
  --link_->users;
}

long prepare_staging(Link& link) noexcept {
  if (link.staging != 0) return 0;
  const long fd = raw_syscall(SYS_memfd_create, as_long("userfault-staging"), MFD_CLOEXEC);
  if (fd < 0) return fd;
  link.staging_fd = out_of_the_way(static_cast<int>(fd));
  if (const long sized = raw_syscall(SYS_ftruncate, link.staging_fd, kStagingBytes); sized < 0) return sized;
  const long at = sys::mmap(0, kStagingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, link.staging_fd, 0);
  if (failed(at)) return at;
  link.staging = static_cast<std::uintptr_t>(at);
  sys::madvise(link.staging, kStagingBytes, MADV_DONTFORK);
  return 0;
}

long exchange(Link& link, const Request& request, Reply* reply, int* fds, std::size_t* count) noexcept {
  // Once more on a new connection when the old one broke: the agent may have ended it for its age.
  bool taken = false;
  for (int attempt = 0; attempt < 2 && connect(link) == 0; ++attempt) {
    Received received = Received::kNothing;
    if (send(link, request)) received = receive(link, reply, fds, count);
    if (received == Received::kReply) return 0;
    // A process that ends closes one descriptor after the other, so a new connection may still be
    // made; it says nothing about the old one.
    taken |= received == Received::kEnd;
    disconnect(link);
  }
  return taken ? -EPIPE : -ESRCH;
}

void forget_links() noexcept {
  table.reset();
  for (Link& link : links) {
    link.lock.reset();
    link.users = 0;
    link.staging = 0;  // it was not inherited
    release(link);
  }
}

}  // namespace userfault::engine::user::foreign
