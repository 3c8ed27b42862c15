// SPDX-License-Identifier: Apache-2.0
// Passing a descriptor to another process: SCM_RIGHTS, unix(7).
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "userfault/descriptor.h"

namespace userfault {
namespace {

// A descriptor has to travel with at least one byte; this one tells ours from a stranger's.
constexpr char kMark = 'U';

union Control {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

// The padding of CMSG_SPACE has room for a second descriptor: whatever came has an owner from here.
struct Received {
  base::Fd first;
  base::Fd second;
};

Received descriptors_of(msghdr& message) {
  Received received;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return received;
  int numbers[2] = {-1, -1};
  std::memcpy(numbers, CMSG_DATA(header), std::min<std::size_t>(header->cmsg_len - CMSG_LEN(0), sizeof numbers));
  return {base::Fd(numbers[0]), base::Fd(numbers[1])};
}

Unexpected<Error> failure(Operation operation, int code) {
  return Unexpected(Error{.operation = operation, .code = code});
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
  Received descriptors = descriptors_of(message);
  if (mark != kMark || !descriptors.first.valid() || descriptors.second.valid())
    return failure(Operation::kReceive, EBADMSG);
  auto adopted = adopt(descriptors.first.get());
  if (adopted) static_cast<void>(descriptors.first.release());
  return adopted;
}

}  // namespace userfault
