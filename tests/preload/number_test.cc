// SPDX-License-Identifier: Apache-2.0
// A userfaultfd is one whatever the number and however it came there: each way of a descriptor to a number
// (src/preload/open/numbers.h) is a test. None makes an ioctl, by which a number would be learned.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "raw_call.h"
#include "served.h"

namespace preload_test {
namespace {

// A userfaultfd has no room for a part of a message (EINVAL), where a pipe that is empty says EAGAIN, and one
// without a handshake is in error.
bool is_userfaultfd(int fd) {
  char part[sizeof(uffd_msg) - 1];
  errno = 0;
  if (::read(fd, part, sizeof part) != -1 || errno != EINVAL) return false;
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) == 1 && entry.revents == POLLERR;
}

class Number : public testing::Test {
 protected:
  void SetUp() override {
    fd_ = open_uffd(O_CLOEXEC | O_NONBLOCK);
    ASSERT_GE(fd_, 0) << errno;
  }
  void TearDown() override { ::close(fd_); }

  // `number` is the descriptor's, and is closed.
  void expect_is_one(long number, const char* how) {
    EXPECT_GE(number, 0) << how << ": " << errno;
    EXPECT_TRUE(is_userfaultfd(static_cast<int>(number))) << how;
    ::close(static_cast<int>(number));
  }

  int fd_ = -1;
};

TEST_F(Number, ItIsOneWhereItWasOpened) { EXPECT_TRUE(is_userfaultfd(fd_)); }

TEST_F(Number, Duplicates) {
  expect_is_one(::dup(fd_), "dup");
  expect_is_one(::dup2(fd_, 300), "dup2");
  expect_is_one(::dup3(fd_, 300, O_CLOEXEC), "dup3");
  expect_is_one(::fcntl(fd_, F_DUPFD, 310), "F_DUPFD");
  expect_is_one(::fcntl(fd_, F_DUPFD_CLOEXEC, 310), "F_DUPFD_CLOEXEC");
}

TEST_F(Number, DuplicatesByNumberOfTheCall) {
  expect_is_one(::syscall(SYS_dup, fd_), "dup");
  expect_is_one(::syscall(SYS_dup3, fd_, 320, O_CLOEXEC), "dup3");
  expect_is_one(::syscall(SYS_fcntl, fd_, F_DUPFD, 330), "F_DUPFD");
  expect_is_one(::syscall(SYS_fcntl, fd_, F_DUPFD_CLOEXEC, 330), "F_DUPFD_CLOEXEC");
}

TEST_F(Number, DuplicatesByAnInstruction) {
  expect_is_one(raw_call(SYS_dup, fd_), "dup");
  expect_is_one(raw_call(SYS_dup3, fd_, 340, O_CLOEXEC), "dup3");
  expect_is_one(raw_call(SYS_fcntl, fd_, F_DUPFD, 350), "F_DUPFD");
  expect_is_one(raw_call(SYS_fcntl, fd_, F_DUPFD_CLOEXEC, 350), "F_DUPFD_CLOEXEC");
  EXPECT_EQ(raw_call(SYS_fcntl, fd_, F_GETFD), FD_CLOEXEC);
}

TEST_F(Number, ADuplicateOfADuplicate) {
  const int second = ::dup(fd_);
  const int third = static_cast<int>(raw_call(SYS_dup, second));
  ::close(second);
  expect_is_one(::fcntl(third, F_DUPFD_CLOEXEC, 360), "the fourth");
  expect_is_one(third, "the third");
}

TEST_F(Number, BeyondAnyTable) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  constexpr rlim_t kMany = 70000;
  if (limit.rlim_max <= kMany) GTEST_SKIP() << "no more than " << limit.rlim_max << " descriptors are allowed";
  rlimit more{.rlim_cur = kMany + 1, .rlim_max = limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &more), 0);
  expect_is_one(::fcntl(fd_, F_DUPFD_CLOEXEC, static_cast<int>(kMany)), "a high number");
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// What comes through a socket.
struct Passing {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  char byte = 'x';
  iovec piece{&byte, 1};
  mmsghdr message{};

  Passing() {
    message.msg_hdr.msg_iov = &piece;
    message.msg_hdr.msg_iovlen = 1;
    message.msg_hdr.msg_control = control.data();
    message.msg_hdr.msg_controllen = control.size();
  }
  void put(int fd) {
    cmsghdr* const header = CMSG_FIRSTHDR(&message.msg_hdr);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  [[nodiscard]] int got() const {
    int fd = -1;
    const cmsghdr* const header = CMSG_FIRSTHDR(&message.msg_hdr);
    if (header != nullptr) std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
  }
};

int passed(int fd, const std::function<long(int, mmsghdr*)>& receive) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -1;
  Passing out;
  out.put(fd);
  EXPECT_EQ(::sendmsg(ends[0], &out.message.msg_hdr, 0), 1);
  Passing in;
  EXPECT_EQ(receive(ends[1], &in.message), 1);
  ::close(ends[0]);
  ::close(ends[1]);
  return in.got();
}

TEST_F(Number, PassedThroughASocket) {
  const std::pair<const char*, std::function<long(int, mmsghdr*)>> ways[] = {
      {"recvmsg", [](int end, mmsghdr* in) { return ::recvmsg(end, &in->msg_hdr, 0); }},
      {"recvmmsg", [](int end, mmsghdr* in) { return ::recvmmsg(end, in, 1, 0, nullptr); }},
      {"SYS_recvmsg", [](int end, mmsghdr* in) { return ::syscall(SYS_recvmsg, end, &in->msg_hdr, 0); }},
      {"SYS_recvmmsg", [](int end, mmsghdr* in) { return ::syscall(SYS_recvmmsg, end, in, 1, 0, nullptr); }},
      {"raw recvmsg", [](int end, mmsghdr* in) { return raw_call(SYS_recvmsg, end, as_long(&in->msg_hdr)); }},
      {"raw recvmmsg", [](int end, mmsghdr* in) { return raw_call(SYS_recvmmsg, end, as_long(in), 1); }}};
  for (const auto& [how, receive] : ways) expect_is_one(passed(fd_, receive), how);
}

TEST_F(Number, TakenFromAProcess) {
  const long self = ::syscall(SYS_pidfd_open, ::getpid(), 0);
  if (self < 0) GTEST_SKIP() << "pidfd_open(2) is not there: " << errno;
  expect_is_one(::syscall(SYS_pidfd_getfd, self, fd_, 0), "pidfd_getfd");
  expect_is_one(raw_call(SYS_pidfd_getfd, self, fd_, 0), "raw pidfd_getfd");
  ::close(static_cast<int>(self));
}

// Whether a child, which has the descriptors of its parent, says yes.
bool child_says(const std::function<bool()>& is_right) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(is_right() ? 0 : 1);
  int how = -1;
  return ::waitpid(child, &how, 0) == child && how == 0;
}

bool takes_no_part(int fd) {
  char part[sizeof(uffd_msg) - 1];
  errno = 0;
  return ::read(fd, part, sizeof part) == -1 && errno == EINVAL;
}

TEST_F(Number, InAChild) {
  EXPECT_TRUE(child_says([this] { return takes_no_part(fd_); }));
  EXPECT_TRUE(child_says([this] { return takes_no_part(::dup(fd_)); }));
  EXPECT_TRUE(child_says([this] { return takes_no_part(static_cast<int>(raw_call(SYS_dup, fd_))); }));
}

TEST_F(Number, OfAForkEvent) {
  if (!handshake(fd_, UFFD_FEATURE_EVENT_FORK)) GTEST_SKIP() << "fork events are not for this user: " << errno;
  void* const memory = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uffdio_register range{
      .range = {reinterpret_cast<std::uintptr_t>(memory), kPage}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
  ASSERT_EQ(::ioctl(fd_, UFFDIO_REGISTER, &range), 0);
  std::thread forking([] { EXPECT_TRUE(child_says([] { return true; })); });
  pollfd entry{.fd = fd_, .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, -1), 1);
  uffd_msg message{};
  EXPECT_EQ(::read(fd_, &message, sizeof message), static_cast<ssize_t>(sizeof message));
  forking.join();
  ASSERT_EQ(message.event, UFFD_EVENT_FORK);
  EXPECT_TRUE(takes_no_part(static_cast<int>(message.arg.fork.ufd)));
  ::close(static_cast<int>(message.arg.fork.ufd));
  ::munmap(memory, kPage);
}

// This program again, which finds the descriptor open.
TEST_F(Number, OverExec) {
  if (const char* const inherited = std::getenv("NUMBER_OVER_EXEC"); inherited != nullptr) {
    EXPECT_TRUE(takes_no_part(std::atoi(inherited)));
    EXPECT_TRUE(takes_no_part(::dup(std::atoi(inherited))));
    return;
  }
  const int kept = ::dup(fd_);
  ::setenv("NUMBER_OVER_EXEC", std::to_string(kept).c_str(), 1);
  char name[] = "preload_tests";
  char filter[] = "--gtest_filter=Number.OverExec";
  char* const arguments[] = {name, filter, nullptr};
  pid_t child = 0;
  EXPECT_EQ(::posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environ), 0);
  ::unsetenv("NUMBER_OVER_EXEC");
  int how = -1;
  EXPECT_EQ(::waitpid(child, &how, 0), child);
  EXPECT_EQ(how, 0);
  ::close(kept);
}

// A task with memory of its own whose descriptors are this one's.
TEST_F(Number, GivenByATaskThatSharesTheDescriptors) {
  const long child = raw_call(SYS_clone, CLONE_FILES | SIGCHLD);
  if (child == 0) raw_call(SYS_exit_group, raw_call(SYS_dup3, fd_, 370, O_CLOEXEC) == 370 ? 0 : 1);
  ASSERT_GT(child, 0);
  int how = -1;
  EXPECT_EQ(::waitpid(static_cast<pid_t>(child), &how, 0), child);
  EXPECT_EQ(how, 0);
  expect_is_one(370, "the child's duplicate");
}

TEST_F(Number, WhatFollowsAtTheNumberIsItself) {
  const int number = ::dup(fd_);
  const int zero = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::dup2(zero, number), number);
  char byte = 'x';
  EXPECT_EQ(::read(number, &byte, 1), 1);
  EXPECT_EQ(byte, 0);
  pollfd entry{.fd = number, .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 1);
  EXPECT_EQ(entry.revents, POLLIN);
  EXPECT_EQ(::close(number), 0);
  EXPECT_EQ(::close(number), -1);
  ::close(zero);
}

}  // namespace
}  // namespace preload_test
