// SPDX-License-Identifier: Apache-2.0
// Transfers through sockets.
#include <sys/socket.h>

#include "preload/next.h"
#include "preload/repair.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

char* behind(const void* buffer, std::size_t done) noexcept {
  return static_cast<char*>(const_cast<void*>(buffer)) + done;
}

}  // namespace

USERFAULT_PRELOADED ssize_t send(int fd, const void* buffer, size_t bytes, int flags) {
  const iovec piece{const_cast<void*>(buffer), bytes};
  return transferred(fd, {&piece, 1}, Access::kRead, [=](std::size_t done) {
    return call(next.send, SYS_sendto, fd, behind(buffer, done), bytes - done, flags);
  });
}

USERFAULT_PRELOADED ssize_t sendto(int fd, const void* buffer, size_t bytes, int flags, const sockaddr* to,
                                   socklen_t length) {
  const iovec piece{const_cast<void*>(buffer), bytes};
  return transferred(fd, {&piece, 1}, Access::kRead, [=](std::size_t done) {
    return call(next.sendto, SYS_sendto, fd, behind(buffer, done), bytes - done, flags, to, length);
  });
}

USERFAULT_PRELOADED ssize_t recv(int fd, void* buffer, size_t bytes, int flags) {
  const iovec piece{buffer, bytes};
  return transferred(fd, {&piece, 1}, Access::kWrite, [=](std::size_t done) {
    return call(next.recv, SYS_recvfrom, fd, behind(buffer, done), bytes - done, flags);
  });
}

USERFAULT_PRELOADED ssize_t recvfrom(int fd, void* buffer, size_t bytes, int flags, sockaddr* from,
                                     socklen_t* length) {
  const iovec piece{buffer, bytes};
  return transferred(fd, {&piece, 1}, Access::kWrite, [=](std::size_t done) {
    return call(next.recvfrom, SYS_recvfrom, fd, behind(buffer, done), bytes - done, flags, from, length);
  });
}

// A message goes whole or not at all as far as we repair it: names and control data cannot be given
// twice. What a stream took before a closed page is a short transfer, which a stream may always be.
USERFAULT_PRELOADED ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (!active() || message == nullptr) return call(next.sendmsg, SYS_sendmsg, fd, message, flags);
  touch_all({message->msg_iov, message->msg_iovlen}, Access::kRead);
  return call(next.sendmsg, SYS_sendmsg, fd, message, flags);
}

namespace {

// Descriptors of other processes arrive here: owns() takes note of one.
void meet_descriptors(const msghdr& message) noexcept {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message), header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; at + sizeof(int) <= header->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int passed = -1;
      __builtin_memcpy(&passed, CMSG_DATA(header) + at, sizeof passed);
      static_cast<void>(user_engine().owns(passed));
    }
  }
}

}  // namespace

USERFAULT_PRELOADED ssize_t recvmsg(int fd, msghdr* message, int flags) {
  if (active() && message != nullptr) touch_all({message->msg_iov, message->msg_iovlen}, Access::kWrite);
  const ssize_t got = call(next.recvmsg, SYS_recvmsg, fd, message, flags);
  if (got >= 0 && message->msg_controllen != 0) meet_descriptors(*message);
  return got;
}
