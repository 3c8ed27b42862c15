// SPDX-License-Identifier: Apache-2.0
// Transfers through sockets.
#include <sys/socket.h>

#include <initializer_list>

#include "preload/open/numbers.h"
#include "preload/repair/repair.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

iovec piece_of(const void* start, std::size_t bytes) noexcept { return {const_cast<void*>(start), bytes}; }

// What is beside the data of a message: closed pages there are brought before the call, because one that
// fails for their sake may have taken the data already.
void bring(Access access, std::initializer_list<iovec> pieces) noexcept {
  if (active()) touch_all({pieces.begin(), pieces.size()}, access);
}
void bring_message(Access access, const msghdr& message) noexcept {
  bring(access,
        {piece_of(message.msg_name, message.msg_namelen), piece_of(message.msg_control, message.msg_controllen)});
  touch_all({message.msg_iov, message.msg_iovlen}, access);
}

char* behind(const void* buffer, std::size_t done) noexcept {
  return static_cast<char*>(const_cast<void*>(buffer)) + done;
}

}  // namespace

USERFAULT_PRELOADED ssize_t send(int fd, const void* buffer, size_t bytes, int flags) {
  const iovec piece{const_cast<void*>(buffer), bytes};
  return transferred(fd, {&piece, 1}, Access::kRead,
                     [=](std::size_t done) { return next<Name::send>(fd, behind(buffer, done), bytes - done, flags); });
}

USERFAULT_PRELOADED ssize_t sendto(int fd, const void* buffer, size_t bytes, int flags, const sockaddr* to,
                                   socklen_t length) {
  const iovec piece{const_cast<void*>(buffer), bytes};
  bring(Access::kRead, {piece_of(to, length)});
  return transferred(fd, {&piece, 1}, Access::kRead, [=](std::size_t done) {
    return next<Name::sendto>(fd, behind(buffer, done), bytes - done, flags, to, length);
  });
}

USERFAULT_PRELOADED ssize_t recv(int fd, void* buffer, size_t bytes, int flags) {
  const iovec piece{buffer, bytes};
  return transferred(fd, {&piece, 1}, Access::kWrite,
                     [=](std::size_t done) { return next<Name::recv>(fd, behind(buffer, done), bytes - done, flags); });
}

USERFAULT_PRELOADED ssize_t recvfrom(int fd, void* buffer, size_t bytes, int flags, sockaddr* from, socklen_t* length) {
  const iovec piece{buffer, bytes};
  if (from != nullptr && length != nullptr)
    bring(Access::kWrite, {piece_of(length, sizeof *length), piece_of(from, *length)});
  return transferred(fd, {&piece, 1}, Access::kWrite, [=](std::size_t done) {
    return next<Name::recvfrom>(fd, behind(buffer, done), bytes - done, flags, from, length);
  });
}

// A message goes whole or not at all as far as we repair it. What a stream took before a closed page is a
// short transfer, which a stream may always be.
USERFAULT_PRELOADED ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (!active() || message == nullptr) return next<Name::sendmsg>(fd, message, flags);
  bring_message(Access::kRead, *message);
  return next<Name::sendmsg>(fd, message, flags);
}

namespace {

// Descriptors arrive here, those of other processes too (open/numbers.h).
void meet_descriptors(const msghdr& message) noexcept {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message), header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; at + sizeof(int) <= header->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int passed = -1;
      __builtin_memcpy(&passed, CMSG_DATA(header) + at, sizeof passed);
      note_arrival(passed);
    }
  }
}

}  // namespace

USERFAULT_PRELOADED ssize_t recvmsg(int fd, msghdr* message, int flags) {
  if (active() && message != nullptr) bring_message(Access::kWrite, *message);
  const ssize_t got = next<Name::recvmsg>(fd, message, flags);
  if (got >= 0 && message->msg_controllen != 0) meet_descriptors(*message);
  return got;
}

USERFAULT_PRELOADED int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  if (active())
    for (unsigned i = 0; i < count; ++i) bring_message(Access::kRead, messages[i].msg_hdr);
  return next<Name::sendmmsg>(fd, messages, count, flags);
}

USERFAULT_PRELOADED int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  if (active())
    for (unsigned i = 0; i < count; ++i) bring_message(Access::kWrite, messages[i].msg_hdr);
  const int got = next<Name::recvmmsg>(fd, messages, count, flags, timeout);
  for (int i = 0; i < got; ++i)
    if (messages[i].msg_hdr.msg_controllen != 0) meet_descriptors(messages[i].msg_hdr);
  return got;
}
