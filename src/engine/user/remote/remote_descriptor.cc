// SPDX-License-Identifier: Apache-2.0
#include "engine/user/remote/remote_descriptor.h"

#include <asm/ioctl.h>
#include <fcntl.h>
#include <poll.h>

#include <cerrno>
#include <cstddef>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/remote/agent_connection.h"
#include "engine/user/remote/owner_exited.h"
#include "engine/user/rt/guarded_copy.h"

namespace userfault::engine::user::remote {
namespace {

// Where the kernel writes when an operation ends.
struct Output {
  std::size_t offset = 0;
  std::size_t size = 0;
};

Output output_of(unsigned long operation) noexcept {
  switch (operation) {
    case USERFAULT_IOC_API: return {0, sizeof(userfault_api)};
    case USERFAULT_IOC_REGISTER: return {offsetof(userfault_register, ioctls), 8};
    case USERFAULT_IOC_COPY: return {offsetof(userfault_copy, copy), 8};
    case USERFAULT_IOC_ZEROPAGE: return {offsetof(userfault_zeropage, zeropage), 8};
    case USERFAULT_IOC_CONTINUE: return {offsetof(userfault_continue, mapped), 8};
    case USERFAULT_IOC_POISON: return {offsetof(userfault_poison, updated), 8};
    default: return {};
  }
}

// The owner took the request and ended before it replied: a thread that was woken has exited. In the
// kernel the operation would have returned first, so it counts as done; nobody can see that memory
// any more.
int ended(Request& request) noexcept {
  const auto done = [&](std::size_t length_at) {
    __builtin_memcpy(request.argument + output_of(request.operation).offset, request.argument + length_at, 8);
    return 0;
  };
  switch (request.operation) {
    case USERFAULT_IOC_COPY: return done(offsetof(userfault_copy, len));
    case USERFAULT_IOC_ZEROPAGE:
    case USERFAULT_IOC_CONTINUE:
    case USERFAULT_IOC_POISON: return done(offsetof(userfault_range, len));
    case USERFAULT_IOC_WRITEPROTECT: return 0;
    default: return errno_when_owner_exited(request.operation, request.argument);
  }
}

long call(AgentConnection& connection, const Request& request, Reply* reply) noexcept {
  int fds[kMostMessages];
  std::size_t count = 0;
  const long result = exchange(connection, request, reply, fds, &count);
  for (std::size_t i = 0; i < count; ++i) sys::close(fds[i]);
  return result;
}

// Writes back what the operation has changed. A result that is what stood there before needs no
// writing, and the checks that leave the field alone leave it alone here.
int store_output(const Request& request, const Reply& reply, void* argument) noexcept {
  const Output output = output_of(request.operation);
  if (__builtin_memcmp(request.argument + output.offset, reply.argument + output.offset, output.size) == 0) return 0;
  auto* to = static_cast<char*>(argument) + output.offset;
  return guarded_copy(to, reply.argument + output.offset, output.size) ? 0 : -EFAULT;
}

int operate_there(std::uint64_t inode, const Request& request, void* argument) noexcept {
  const ConnectionGuard connection(inode);
  if (connection.get() == nullptr) return -EAGAIN;
  Reply reply;
  const long called = call(*connection.get(), request, &reply);
  if (called == -ESRCH) return errno_when_owner_exited(request.operation, request.argument);
  if (called < 0) {
    Request finished = request;
    reply.result = ended(finished);
    __builtin_memcpy(reply.argument, finished.argument, kMostArgument);
  }
  if (store_output(request, reply, argument) < 0) return -EFAULT;
  return static_cast<int>(reply.result);
}

// ---- COPY: the data goes first ----

struct Part {
  std::int64_t done = 0;  // bytes, or what the output field says; only if `written`
  bool written = false;
  int result = 0;
};

// One request for `wanted` bytes at most. What cannot be read of the source is waited for without
// the connection, where it is served memory itself; after that it is left out, and the agent runs into the
// end of the staging area where the kernel would run into the end of the source.
Part copy_part(std::uint64_t inode, Request& request, std::uint64_t source, std::size_t wanted) noexcept {
  for (std::uint64_t brought = 0;;) {
    std::uint64_t stuck = 0;
    {
      const ConnectionGuard connection(inode);
      if (connection.get() == nullptr) return {.result = -EAGAIN};
      if (wanted > 0 && prepare_staging(*connection.get()) < 0) return {.result = -ENOMEM};
      const std::uintptr_t to = connection.get()->staging + kStagingBytes - wanted;
      const std::size_t left =
          userfault_rt_guarded_copy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(source), wanted);
      if (left == 0) {
        request.staged = wanted;
        Reply reply;
        userfault_copy before;
        userfault_copy after;
        __builtin_memcpy(&before, request.argument, sizeof before);
        const long called = call(*connection.get(), request, &reply);
        if (called == -ESRCH) return {.result = errno_when_owner_exited(request.operation, request.argument)};
        if (called < 0) return {static_cast<std::int64_t>(before.len), true, ended(request)};
        __builtin_memcpy(&after, reply.argument, sizeof after);
        return {after.copy, after.copy != before.copy, static_cast<int>(reply.result)};
      }
      stuck = source + (wanted - left);
    }
    if (stuck == brought || !touch(reinterpret_cast<const void*>(stuck)))
      wanted = (stuck - source) & ~std::uint64_t{4095};
    brought = stuck;
  }
}

int copy_there(std::uint64_t inode, const userfault_copy& copy, void* argument) noexcept {
  auto* const output = static_cast<char*>(argument) + offsetof(userfault_copy, copy);
  const auto store = [&](std::int64_t value) { return guarded_copy(output, &value, sizeof value); };
  // What the agent will refuse needs no data.
  const bool valid = copy.len != 0 && (copy.len & 4095) == 0 && copy.src + copy.len > copy.src;
  std::uint64_t done = 0;
  do {
    userfault_copy part = copy;
    part.dst += done;
    part.src += done;
    part.copy = INT64_MIN;  // nothing that the agent would write
    if (valid && part.len - done > kStagingBytes) part.len = kStagingBytes;
    else part.len -= done;
    Request request{.kind = RequestKind::kOperate, .operation = USERFAULT_IOC_COPY, .whole_length = copy.len - done};
    __builtin_memcpy(request.argument, &part, sizeof part);
    const Part got = copy_part(inode, request, part.src, valid ? part.len : 0);
    if (got.result == 0 || (got.written && got.done > 0)) done += static_cast<std::uint64_t>(got.done);
    if (got.result == 0) continue;
    if (done > 0) return store(static_cast<std::int64_t>(done)) ? -EAGAIN : -EFAULT;
    return !got.written || store(got.done) ? got.result : -EFAULT;
  } while (done < copy.len);
  return store(static_cast<std::int64_t>(done)) ? 0 : -EFAULT;
}

// ---- reading ----

ssize_t deliver(Reply& reply, const int* fds, std::size_t count, char* buffer) noexcept {
  const auto messages = static_cast<std::size_t>(reply.result);
  std::size_t next = 0;
  for (std::size_t i = 0; i < messages; ++i) {
    if (reply.messages[i].event != USERFAULT_EVENT_FORK) continue;
    // It was closed on the way when this process may have no more of them.
    const int fd = next < count ? fds[next++] : -1;
    if (fd >= 0 && (reply.open_flags & O_CLOEXEC) == 0) raw_syscall(SYS_fcntl, fd, F_SETFD, 0);
    reply.messages[i].arg.fork.ufd = static_cast<std::uint32_t>(fd);
  }
  const std::size_t bytes = messages * sizeof(userfault_msg);
  return guarded_copy(buffer, reply.messages, bytes) ? static_cast<ssize_t>(bytes) : -EFAULT;
}

// Bytes, -EAGAIN when there is nothing, -ESRCH when the owner is gone.
ssize_t read_once(std::uint64_t inode, char* buffer, std::size_t count) noexcept {
  const ConnectionGuard connection(inode);
  if (connection.get() == nullptr) return -EAGAIN;
  const Request request{.kind = RequestKind::kRead, .count = static_cast<std::uint32_t>(count)};
  Reply reply;
  int fds[kMostMessages];
  std::size_t passed = 0;
  if (exchange(*connection.get(), request, &reply, fds, &passed) < 0) return -ESRCH;
  if (reply.result < 0) return static_cast<ssize_t>(reply.result);
  return reply.result == 0 ? -EAGAIN : deliver(reply, fds, passed, buffer);
}

// -EINTR, or 0 when it may be worth asking again.
long wait_for_bell(int fd, bool owner_is_gone) noexcept {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  const long result = raw_syscall(SYS_ppoll, as_long(&entry), owner_is_gone ? 0 : 1, 0, 0, 8);
  return result < 0 ? result : 0;
}

}  // namespace

int operate(int fd, unsigned long request, void* argument) noexcept {
  const std::uint64_t inode = inode_of(fd);
  if (inode == 0) return -EBADF;
  Request packet{.kind = RequestKind::kOperate, .operation = request};
  const std::size_t size = _IOC_SIZE(request);
  if (size > kMostArgument) return -EINVAL;
  const Output output = output_of(request);
  const std::size_t input = output.offset == 0 ? size : output.offset;
  if (!guarded_copy(packet.argument, argument, input)) return -EFAULT;
  // MOVE takes the caller's own pages, and gives them to no other process (userfaultfd_move()).
  if (request == USERFAULT_IOC_MOVE) return -EINVAL;
  if (request != USERFAULT_IOC_COPY) {
    // A value that no operation writes, so that any that is written is seen.
    if (output.offset != 0) __builtin_memset(packet.argument + output.offset, 0x80, output.size);
    return operate_there(inode, packet, argument);
  }
  userfault_copy copy;
  __builtin_memcpy(&copy, packet.argument, sizeof copy);
  return copy_there(inode, copy, argument);
}

namespace {

// Bytes or -errno; -ESRCH when the owner is gone.
ssize_t try_to_read(int fd, char* buffer, std::size_t bytes) noexcept {
  const std::size_t count = bytes / sizeof(userfault_msg);
  if (count == 0) return -EINVAL;
  const std::uint64_t inode = inode_of(fd);
  if (inode == 0) return -EBADF;
  return read_once(inode, buffer, count < kMostMessages ? count : kMostMessages);
}

}  // namespace

ssize_t read_now(int fd, char* buffer, std::size_t bytes) noexcept {
  const ssize_t result = try_to_read(fd, buffer, bytes);
  return result == -ESRCH ? -EAGAIN : result;
}

ssize_t read(int fd, char* buffer, std::size_t bytes) noexcept {
  for (;;) {
    const ssize_t result = try_to_read(fd, buffer, bytes);
    if (result != -EAGAIN && result != -ESRCH) return result;
    if (!is_blocking(fd)) return -EAGAIN;
    if (const long waited = wait_for_bell(fd, result == -ESRCH); waited < 0) return waited;
  }
}

short poll_events(int fd, short reported) noexcept {
  if (is_blocking(fd)) return POLLERR;
  const ConnectionGuard connection(inode_of(fd));
  Reply reply;
  if (connection.get() == nullptr || call(*connection.get(), {.kind = RequestKind::kState}, &reply) < 0) {
    // The pipe's hang-up is our affair: a userfaultfd whose owner is gone stays silent.
    return static_cast<short>(reported & ~(POLLHUP | POLLERR));
  }
  return reply.enabled != 0 ? static_cast<short>(reported & ~POLLHUP) : static_cast<short>(POLLERR);
}

void forget_all() noexcept { forget_connections(); }

}  // namespace userfault::engine::user::remote
