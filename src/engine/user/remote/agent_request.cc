// SPDX-License-Identifier: Apache-2.0
// Runs in the agent's thread: no libc (agent.cc).
#include "engine/user/remote/agent_request.h"

#include <sys/mman.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>

#include "engine/user/ops/dispatch.h"
#include "engine/user/ops/fill.h"
#include "engine/user/remote/protocol.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/lock.h"
#include "engine/user/wait/readers.h"

namespace userfault::engine::user::agent {
namespace {

// The requester's memfd goes into the first half; nothing is in the second, where a source ends.
bool reserve_staging(Connection& connection) noexcept {
  if (connection.staging != 0) return true;
  const long at = sys::mmap(0, 2 * kStagingBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (is_error(at)) return false;
  connection.staging = static_cast<std::uintptr_t>(at);
  return true;
}

bool map_staging(Connection& connection, int fd) noexcept {
  if (!reserve_staging(connection)) return false;
  return !is_error(sys::mmap(connection.staging, kStagingBytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
}

// False: no whole request, or the other side is gone.
bool receive(Connection& connection, Request* request) noexcept {
  iovec part{request, sizeof *request};
  PassedDescriptors passed;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  passed.await(message);
  const long got = raw_syscall(SYS_recvmsg, connection.socket, as_long(&message), MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  int fds[kMostMessages];
  const std::size_t count = got > 0 ? PassedDescriptors::take(message, fds) : 0;
  bool good = got == static_cast<long>(sizeof *request);
  if (good && count == 1) good = map_staging(connection, fds[0]);
  for (std::size_t i = 0; i < count; ++i) sys::close(fds[i]);
  return good;
}

// The first part of a longer COPY is checked against all of it, as one call would be.
long check_whole(const userfault_copy& copy, std::uint64_t whole_length) noexcept {
  if (whole_length <= copy.len) return 0;
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  return check_mapping(copy.dst, whole_length);
}

// A source that is none of the program's is left as it is, to be refused; any other is in the
// staging area by now, and what is not there of it could not be read.
long copy_here(Connection& connection, const Request& request, Reply* reply) noexcept {
  userfault_copy copy;
  __builtin_memcpy(&copy, request.argument, sizeof copy);
  if (request.staged > kStagingBytes || copy.len > kTaskSize) return -EINVAL;
  if (connection.instance->changing.load() == 0 && request.staged > 0) {
    if (const long bad = check_whole(copy, request.whole_length); bad < 0) {
      __builtin_memcpy(reply->argument + offsetof(userfault_copy, copy), &bad, sizeof bad);
      return bad;
    }
  }
  if (copy.src < kTaskSize && copy.len <= kTaskSize - copy.src) {
    if (!reserve_staging(connection)) return -ENOMEM;
    copy.src = connection.staging + kStagingBytes - request.staged;
    __builtin_memcpy(reply->argument, &copy, sizeof copy);
  }
  return operate(*connection.instance, request.operation, reply->argument);
}

void operate_here(Connection& connection, const Request& request, Reply* reply) noexcept {
  for (std::size_t i = 0; i < kMostArgument; ++i) reply->argument[i] = request.argument[i];
  reply->result = request.operation == USERFAULT_IOC_COPY
                      ? copy_here(connection, request, reply)
                      : operate(*connection.instance, request.operation, reply->argument);
}

// Sends what is filled of the reply; the descriptors are duplicated on the way and closed here.
bool send(const Connection& connection, Reply& reply, std::size_t messages) noexcept {
  iovec part{&reply, offsetof(Reply, messages) + messages * sizeof(userfault_msg)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  int fds[kMostMessages];
  std::size_t count = 0;
  for (std::size_t i = 0; i < messages; ++i) {
    const userfault_msg& one = reply.messages[i];
    if (one.event == USERFAULT_EVENT_FORK) fds[count++] = static_cast<int>(one.arg.fork.ufd);
  }
  PassedDescriptors passed;
  if (count > 0) passed.attach(message, fds, count);
  const long sent = raw_syscall(SYS_sendmsg, connection.socket, as_long(&message), MSG_NOSIGNAL | MSG_DONTWAIT);
  for (std::size_t i = 0; i < count; ++i) sys::close(fds[i]);
  return sent > 0;
}

std::size_t take(Instance& instance, std::uint32_t wanted, Reply* reply) noexcept {
  if (!instance.enabled.load()) {
    reply->result = -EINVAL;
    return 0;
  }
  instance.defer_bell.store(false, std::memory_order_relaxed);
  const std::size_t taken = take_messages(instance, reply->messages, wanted < kMostMessages ? wanted : kMostMessages);
  reply->result = static_cast<std::int64_t>(taken);
  return taken;
}

}  // namespace

bool answer(Connection& connection) noexcept {
  Request request;
  if (!receive(connection, &request)) return false;
  Instance& instance = *connection.instance;
  if (!instance.used.load() || instance.pipe_inode != connection.inode) return false;
  Reply reply;
  std::size_t messages = 0;
  switch (request.kind) {
    case RequestKind::kOperate: operate_here(connection, request, &reply); break;
    case RequestKind::kRead: messages = take(instance, request.count, &reply); break;
    case RequestKind::kState: break;
    default: return false;
  }
  reply.enabled = instance.enabled.load() ? 1 : 0;
  reply.open_flags = static_cast<std::uint32_t>(instance.open_flags);
  return send(connection, reply, messages);
}

void close_connection(Connection& connection) noexcept {
  USERFAULT_INVARIANT(connection.socket >= 0, "a connection was closed twice");
  sys::close(connection.socket);
  connection.socket = -1;
  if (connection.staging != 0) sys::munmap(connection.staging, 2 * kStagingBytes);
  connection.staging = 0;
}

}  // namespace userfault::engine::user::agent
