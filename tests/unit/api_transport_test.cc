// SPDX-License-Identifier: Apache-2.0
// Passing a descriptor to another process, and operating there upon this one's memory. FD-04.
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <thread>

#include "api_support.h"
#include "child.h"

namespace userfault::test {
namespace {

struct Sockets {
  Sockets() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0); }
  ~Sockets() {
    for (const int end : ends)
      if (end >= 0) ::close(end);
  }
  int ends[2] = {-1, -1};
};

int open_descriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  int count = 0;
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

// `count` descriptors with one byte of data, as a stranger might send them.
void send_raw(int socket, char byte, const int* fds, std::size_t count) {
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds, count * sizeof(int));
  }
  ASSERT_EQ(::sendmsg(socket, &message, 0), 1);
}

class ApiTransport : public ApiTest {};
USERFAULT_ON_BOTH_ENGINES(ApiTransport);

// The monitor is a child that gets the descriptor over a socket; what it fills is our memory.
TEST_P(ApiTransport, MonitorInAnotherProcess) {
  Sockets sockets;
  const pid_t monitor = ::fork();
  if (monitor == 0) {
    ::alarm(20);
    ::close(sockets.ends[0]);
    const auto received = Descriptor::receive_from(sockets.ends[1]);
    if (!received) ::_exit(1);
    const auto fault = next<Fault>(*received);
    if (!fault) ::_exit(2);
    const auto source = page_of('r');
    const auto copied = received->copy({fault->address, kPage}, source.data());
    ::_exit(copied && copied->complete() ? 0 : 3);
  }
  const auto descriptor = open(feature::kThreadId);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kThreadId);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  const auto sent = descriptor->send_to(sockets.ends[0]);
  ASSERT_TRUE(sent) << why(sent);
  EXPECT_EQ(static_cast<char>(memory->data()[0]), 'r');
  int status = 0;
  ASSERT_EQ(::waitpid(monitor, &status, 0), monitor);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_P(ApiTransport, ReceivedCopyKnowsItsFeatures) {
  Sockets sockets;
  const auto descriptor = open(feature::kThreadId);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kThreadId);
  ASSERT_TRUE(descriptor->send_to(sockets.ends[0]));
  const auto received = Descriptor::receive_from(sockets.ends[1]);
  ASSERT_TRUE(received) << why(received);
  EXPECT_NE(received->fd(), descriptor->fd());
  EXPECT_EQ(received->engine(), GetParam());
  EXPECT_NE(::fcntl(received->fd(), F_GETFD) & FD_CLOEXEC, 0);
  if (GetParam() == EngineKind::kKernel) {
    EXPECT_EQ(received->features(), feature::kThreadId);
  }
}

TEST_P(ApiTransport, WhatIsNoDescriptorIsRefusedAndNotLeaked) {
  Sockets sockets;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const int before = open_descriptors();
  const auto refused = [&](char byte, std::initializer_list<int> fds) {
    send_raw(sockets.ends[0], byte, fds.begin(), fds.size());
    const auto received = Descriptor::receive_from(sockets.ends[1]);
    EXPECT_FALSE(received);
    return received ? 0 : received.error().code;
  };
  EXPECT_EQ(refused('U', {}), EBADMSG);
  EXPECT_EQ(refused('?', {descriptor->fd()}), EBADMSG);
  EXPECT_EQ(refused('U', {descriptor->fd(), ends[0]}), EBADMSG);
  EXPECT_EQ(refused('U', {ends[0]}), EINVAL);
  EXPECT_EQ(open_descriptors(), before);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_P(ApiTransport, ClosedPeer) {
  Sockets sockets;
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  ::close(std::exchange(sockets.ends[1], -1));
  EXPECT_EQ(descriptor->send_to(sockets.ends[0]).error().code, EPIPE);
  EXPECT_EQ(Descriptor::receive_from(sockets.ends[0]).error().code, EPIPE);
}

}  // namespace
}  // namespace userfault::test
