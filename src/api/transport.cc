// SPDX-License-Identifier: Apache-2.0
// Passing a descriptor to another process: SCM_RIGHTS, unix(7).
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "userfault/descriptor.h"

namespace userfault {
namespace {

// A descriptor has to travel with at least one byte; this one tells ours from a stranger's.
constexpr char kMark = 'U';

union Control {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

std::unexpected<Error> failure(Operation operation, int code) {
  return std::unexpected(Error{.operation = operation, .code = code});
}

}  // namespace

Result<void> Descriptor::send_to(int socket) const {
  char mark = kMark;
  iovec data{&mark, 1};
  Control control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd_, sizeof fd_);
  ssize_t sent;
  do sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return failure(Operation::kSend, errno);
  return {};
}

Result<Descriptor> Descriptor::receive_from(int socket) {
  char mark = 0;
  iovec data{&mark, 1};
  Control control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ssize_t received;
  do received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  if (received < 0) return failure(Operation::kReceive, errno);
  if (received == 0) return failure(Operation::kReceive, EPIPE);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int)))
    return failure(Operation::kReceive, EBADMSG);
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  auto adopted = mark == kMark ? adopt(fd) : Result<Descriptor>(failure(Operation::kReceive, EBADMSG));
  if (!adopted) ::close(fd);
  return adopted;
}

}  // namespace userfault
