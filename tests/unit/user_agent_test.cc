// SPDX-License-Identifier: Apache-2.0
// Descriptors of the user engine in other processes than the owner (FD-03, FD-04, GEN-08, REAL-15).
//
// An owner is a child here and the requester is the test, or the other way round; both know each
// other's addresses because one is forked from the other.
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <string>
#include <thread>

#include "user_support.h"

namespace userfault::test {
namespace {

// A child of the test that operates the test's descriptor, which it has inherited.
class UserAgent : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::pipe(gate_), 0); }
  void TearDown() override {
    ::close(gate_[0]);
    ::close(gate_[1]);
  }
  void wait_at_gate() const {
    char byte;
    if (::read(gate_[0], &byte, 1) != 1) ::_exit(250);
  }
  void open_gate(std::size_t times = 1) const {
    for (std::size_t i = 0; i < times; ++i) ASSERT_EQ(::write(gate_[1], "x", 1), 1);
  }
  int gate_[2] = {-1, -1};
};

TEST_F(UserAgent, ReadsAndResolvesForTheOwner) {
  constexpr std::size_t kPages = 200;
  const Served served(kPages);
  const pid_t monitor = start_child([&] {
    for (std::size_t i = 0; i < kPages; ++i) {
      userfault_msg message{};
      if (!read_message(served.fd, &message)) return 1;
      if (message.arg.pagefault.address != reinterpret_cast<std::uintptr_t>(served.page(i))) return 2;
      if (served.copy(i) != 0) return 3;
    }
    return 0;
  });
  for (std::size_t i = 0; i < kPages; ++i) ASSERT_EQ(served.content(i), Content::kPattern) << i;
  EXPECT_EQ(status_of(monitor), 0);
}

TEST_F(UserAgent, ABlockingReadWaits) {
  const Served served(4);
  ASSERT_EQ(::fcntl(served.fd, F_SETFL, 0), 0);
  const pid_t monitor = start_child([&] {
    userfault_msg message{};
    for (std::size_t i = 0; i < 4; ++i) {
      open_gate();
      if (userfault_read(served.fd, &message, sizeof message) != sizeof message) return 1;
      if (served.copy(i) != 0) return 2;
    }
    return 0;
  });
  for (std::size_t i = 0; i < 4; ++i) {
    wait_at_gate();
    ASSERT_EQ(served.content(i), Content::kPattern);
  }
  EXPECT_EQ(status_of(monitor), 0);
}

// Larger than what goes over at a time, from a source that is not aligned.
TEST_F(UserAgent, CopiesAnyLength) {
  constexpr std::size_t kPages = 3 * 512 + 17;
  const Served served(kPages);
  const pid_t helper = start_child([&] {
    std::vector<char> source(served.bytes() + 3);
    for (std::size_t i = 0; i < kPages; ++i) {
      alignas(8) char page[kPage];
      fill_page(page, 1, i);
      std::memcpy(&source[3 + i * kPage], page, kPage);
    }
    std::int64_t done = 0;
    if (userfault_ioctl_copy(served.fd, served.memory, &source[3], served.bytes(), 0, &done) != 0) return 1;
    return done == static_cast<std::int64_t>(served.bytes()) ? 0 : 2;
  });
  ASSERT_EQ(status_of(helper), 0);
  for (std::size_t i = 0; i < kPages; ++i) ASSERT_EQ(served.content(i), Content::kPattern) << i;
}

struct Outcome {
  int error = 0;
  std::int64_t done = 0;
};

bool gives(const Outcome& got, int error, std::int64_t done) { return got.error == error && got.done == done; }

TEST_F(UserAgent, ErrorsAsForTheOwner) {
  constexpr std::size_t kPages = 1024;
  const Served served(kPages);
  ASSERT_EQ(served.copy(3), 0);
  ASSERT_EQ(served.copy(600), 0);
  char* const half =
      static_cast<char*>(::mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(::munmap(half + 2 * kPage, 2 * kPage), 0);
  const pid_t helper = start_child([&] {
    std::vector<char> source(served.bytes() + kPage);
    const auto copy = [&](char* to, const void* from, std::size_t bytes, std::uint64_t mode = 0) {
      Outcome outcome{.done = 77};
      const int result = userfault_ioctl_copy(served.fd, to, from, bytes, mode, &outcome.done);
      outcome.error = result == 0 ? 0 : errno;
      return outcome;
    };
    if (!gives(copy(served.page(3), source.data(), kPage), EEXIST, -EEXIST)) return 1;
    if (!gives(copy(served.page(2), source.data(), 3 * kPage), EAGAIN, kPage)) return 2;
    if (!gives(copy(served.page(4), source.data(), 1000 * kPage), EAGAIN, 596 * kPage)) return 3;
    if (!gives(copy(served.page(700), half, 4 * kPage), EAGAIN, 2 * kPage)) return 4;
    if (!gives(copy(served.page(702), half + 2 * kPage, kPage), EFAULT, -EFAULT)) return 5;
    if (!gives(copy(served.page(kPages - 1), source.data(), 2 * kPage), ENOENT, -ENOENT)) return 6;
    if (!gives(copy(served.page(500), source.data(), served.bytes()), ENOENT, -ENOENT)) return 7;
    if (copy(served.page(710) + 1, source.data(), kPage).error != EINVAL) return 8;
    if (copy(served.page(710), source.data(), kPage + 1).error != EINVAL) return 9;
    if (copy(served.page(710), source.data(), kPage, 1 << 5).error != EINVAL) return 10;
    if (userfault_ioctl(served.fd, USERFAULT_IOC_COPY, nullptr) != -1 || errno != EFAULT) return 11;
    if (userfault_ioctl(served.fd, 0x1234, nullptr) != -1) return 12;
    std::int64_t done = 0;
    if (userfault_ioctl_zeropage(served.fd, served.page(720), kPage, 0, &done) != 0 || done != kPage) return 13;
    if (userfault_ioctl_poison(served.fd, served.page(721), kPage, 0, &done) != 0 || done != kPage) return 14;
    if (userfault_ioctl_writeprotect(served.fd, served.page(3), kPage, 1) != -1 || errno != ENOENT) return 15;
    if (userfault_in_thread(served.fd, nullptr, nullptr) != -1 || errno != EINVAL) return 16;
    return 0;
  });
  EXPECT_EQ(status_of(helper), 0);
  EXPECT_EQ(served.content(720), Content::kZero);
  ::munmap(half, 2 * kPage);
}

TEST_F(UserAgent, RegistersAndUnregistersTheOwnersMemory) {
  const Served served(8);
  ASSERT_EQ(userfault_ioctl_unregister(served.fd, served.memory, served.bytes()), 0);
  const pid_t helper = start_child([&] {
    std::uint64_t ioctls = 0;
    const auto modes = USERFAULT_REGISTER_MODE_MISSING;
    if (userfault_ioctl_register(served.fd, served.memory, served.bytes(), modes, &ioctls) != 0) return 1;
    if (ioctls != 0x13c || served.copy(5) != 0) return 2;
    return userfault_ioctl_unregister(served.fd, served.memory, 2 * kPage) == 0 ? 0 : 3;
  });
  ASSERT_EQ(status_of(helper), 0);
  EXPECT_EQ(served.content(5), Content::kPattern);
  EXPECT_EQ(served.content(0), Content::kZero);
  EXPECT_EQ(served.copy(6), 0);
}

// The owner dies between two operations, and in the middle of many.
TEST_F(UserAgent, AKilledOwnerIsEsrch) {
  for (int round = 0; round < 20; ++round) {
    int sockets[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    char* place = static_cast<char*>(::mmap(nullptr, 64 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const pid_t owner = start_child([&] {
      const int fd = userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC | O_NONBLOCK);
      ::mmap(place, 64 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      if (userfault_ioctl_api(fd, 0, nullptr, nullptr) != 0) return 1;
      if (userfault_ioctl_register(fd, place, 64 * kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr) != 0) return 2;
      char control[CMSG_SPACE(sizeof fd)] = {};
      char byte = 'x';
      iovec part{&byte, 1};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      *header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
      std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
      if (::sendmsg(sockets[1], &message, 0) != 1) return 3;
      for (;;) ::pause();
    });
    char control[CMSG_SPACE(sizeof(int))] = {};
    char byte;
    iovec part{&byte, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ASSERT_EQ(::recvmsg(sockets[0], &message, 0), 1);
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    const std::vector<char> source(kPage);
    std::thread killer([&] { ::kill(owner, SIGKILL); });
    int last = 0;
    for (std::size_t i = 0; last == 0 || last == EEXIST; ++i)
      last = userfault_ioctl_copy(fd, place + i % 64 * kPage, source.data(), kPage, 0, nullptr) == 0 ? 0 : errno;
    EXPECT_EQ(last, ESRCH);
    killer.join();
    EXPECT_EQ(status_of(owner), 1000 + SIGKILL);
    EXPECT_EQ(userfault_ioctl_zeropage(fd, place, kPage, 0, nullptr), -1);
    EXPECT_EQ(errno, ESRCH);
    EXPECT_EQ(userfault_ioctl_unregister(fd, place, kPage), -1);
    EXPECT_EQ(errno, ENOMEM);
    userfault_msg none;
    EXPECT_EQ(userfault_read(fd, &none, sizeof none), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(userfault_close(fd), 0);
    ::close(sockets[0]);
    ::close(sockets[1]);
    ::munmap(place, 64 * kPage);
  }
}

// Requesters that are killed at any point, more of them than the agent keeps connections.
TEST_F(UserAgent, KilledRequestersCostNothing) {
  const Served served(64);
  for (int round = 0; round < 300; ++round) {
    const pid_t requester = start_child([&] {
      for (std::size_t i = 0;; ++i) {
        if (served.copy(i % 64) == ESRCH) return 1;
        if (i == 0) open_gate();
      }
    });
    wait_at_gate();
    ASSERT_EQ(::kill(requester, SIGKILL), 0);
    ASSERT_EQ(status_of(requester), 1000 + SIGKILL);
  }
  for (std::size_t i = 0; i < 64; ++i) {
    const int error = served.copy(i);
    ASSERT_TRUE(error == 0 || error == EEXIST) << error;
    ASSERT_EQ(served.content(i), Content::kPattern);
  }
}

TEST_F(UserAgent, ManyAtOnce) {
  constexpr std::size_t kPages = 1024;
  const Served served(kPages);
  std::vector<pid_t> helpers;
  for (std::size_t h = 0; h < 8; ++h)
    helpers.push_back(start_child([&, h] {
      std::vector<std::thread> threads;
      std::atomic<int> bad{0};
      for (std::size_t t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
          for (std::size_t i = 0; i < kPages; ++i) {
            const int error = served.copy((i * 7 + h * 131 + t * 17) % kPages);
            if (error != 0 && error != EEXIST) bad = error;
          }
        });
      for (std::thread& thread : threads) thread.join();
      return bad.load();
    }));
  std::vector<std::thread> readers;
  for (std::size_t t = 0; t < 4; ++t)
    readers.emplace_back([&, t] {
      for (std::size_t i = 0; i < kPages; ++i) EXPECT_EQ(served.content((i * 5 + t * 251) % kPages), Content::kPattern);
    });
  for (const pid_t helper : helpers) EXPECT_EQ(status_of(helper), 0);
  for (std::thread& reader : readers) reader.join();
}

// Whoever connects and says nothing, or nonsense, holds nobody up.
TEST_F(UserAgent, StrangersHoldNobodyUp) {
  const Served served(8);
  struct stat status;
  ASSERT_EQ(::fstat(served.fd, &status), 0);
  const std::string name = "userfault-" + std::to_string(::geteuid()) + "-" + std::to_string(status.st_ino);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  std::vector<int> strangers;
  for (int i = 0; i < 300; ++i) {
    const int socket = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(socket, reinterpret_cast<const sockaddr*>(&address), length), 0);
    const std::string nonsense(static_cast<std::size_t>(i), 'z');
    if (i % 2 == 0) static_cast<void>(::send(socket, nonsense.data(), nonsense.size(), MSG_NOSIGNAL));
    strangers.push_back(socket);
  }
  const pid_t helper = start_child([&] { return served.copy(1); });
  EXPECT_EQ(status_of(helper), 0);
  EXPECT_EQ(served.content(1), Content::kPattern);
  for (const int socket : strangers) ::close(socket);
}

// FD-03: the last copy is another process's, and goes with it; the owner never called close there.
TEST_F(UserAgent, TheLastCopyElsewhereEndsTheTracking) {
  Served served(4);
  const pid_t holder = start_child([&] {
    userfault_msg message{};
    return read_message(served.fd, &message) ? 0 : 1;  // and ends without resolving
  });
  ASSERT_EQ(::close(served.fd), 0) << "behind the engine's back";
  served.fd = -1;
  EXPECT_EQ(served.content(2), Content::kZero) << "a thread that waits goes on and sees zeroes";
  EXPECT_EQ(status_of(holder), 0);
}

TEST_F(UserAgent, ClosedBehindOurBack) {
  Served served(4);
  std::thread waiting([&] { EXPECT_EQ(served.content(2), Content::kZero); });
  ASSERT_TRUE(wait_readable(served.fd));
  ASSERT_EQ(::close(served.fd), 0);
  served.fd = -1;
  waiting.join();
}

TEST_F(UserAgent, PollTellsReadinessAndErrors) {
  const Served served(4);
  const pid_t helper = start_child([&] {
    pollfd entry{.fd = served.fd, .events = POLLIN, .revents = 0};
    if (userfault_poll(&entry, 1, 0) != 0) return 1;
    open_gate();
    if (!wait_readable(served.fd)) return 2;
    ::fcntl(served.fd, F_SETFL, 0);
    if (userfault_poll(&entry, 1, 0) != 1 || entry.revents != POLLERR) return 3;
    ::fcntl(served.fd, F_SETFL, O_NONBLOCK);
    return served.copy(0) == 0 && userfault_poll(&entry, 1, 0) == 0 ? 0 : 4;
  });
  wait_at_gate();
  EXPECT_EQ(served.content(0), Content::kPattern);
  EXPECT_EQ(status_of(helper), 0);
}

}  // namespace
}  // namespace userfault::test
