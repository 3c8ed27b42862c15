// SPDX-License-Identifier: Apache-2.0
// System calls whose buffers lie on pages that nobody has brought yet.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "served.h"

namespace preload_test {
namespace {

// A file of four pages of 'x', removed when it is closed.
class File {
 public:
  File() : fd_(::memfd_create("preload-test", MFD_CLOEXEC)) {
    const std::string text(4 * kPage, 'x');
    EXPECT_EQ(::pwrite(fd_, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }
  ~File() { ::close(fd_); }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] std::string text(std::size_t bytes) const {
    std::string result(bytes, '\0');
    EXPECT_EQ(::pread(fd_, result.data(), bytes, 0), static_cast<ssize_t>(bytes));
    return result;
  }

 private:
  int fd_;
};

struct Pipe {
  int ends[2];
  Pipe() { EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
};

TEST(Repair, ReadIntoMissingPagesOfAFileIsWhole) {
  const Served served(8);
  ASSERT_TRUE(served.ready());
  const File file;
  EXPECT_EQ(::pread(file.fd(), served.at(1, 100), 3 * kPage, 0), static_cast<ssize_t>(3 * kPage));
  EXPECT_EQ(std::string(served.at(1, 100), 3 * kPage), std::string(3 * kPage, 'x'));
  EXPECT_EQ(*served.at(1, 99), content(1)) << "what the read did not write is the monitor's";
  EXPECT_EQ(*served.at(4, 100), content(4));
}

TEST(Repair, ReadMovesTheFilePositionOnce) {
  const Served served(4);
  ASSERT_TRUE(served.ready());
  const File file;
  EXPECT_EQ(::read(file.fd(), served.at(0), 2 * kPage), static_cast<ssize_t>(2 * kPage));
  EXPECT_EQ(::lseek(file.fd(), 0, SEEK_CUR), static_cast<off_t>(2 * kPage));
  EXPECT_EQ(::read(file.fd(), served.at(2), 2 * kPage), static_cast<ssize_t>(2 * kPage));
  EXPECT_EQ(::read(file.fd(), served.at(0), kPage), 0) << "the end of the file";
}

TEST(Repair, WriteFromMissingPagesIsWhole) {
  const Served served(4);
  ASSERT_TRUE(served.ready());
  const File file;
  EXPECT_EQ(::pwrite(file.fd(), served.at(0), 3 * kPage, 0), static_cast<ssize_t>(3 * kPage));
  EXPECT_EQ(file.text(3 * kPage),
            std::string(kPage, content(0)) + std::string(kPage, content(1)) + std::string(kPage, content(2)));
}

TEST(Repair, VectorsGoOnInTheMiddleOfAPiece) {
  const Served served(6);
  ASSERT_TRUE(served.ready());
  const File file;
  std::array<char, 10> present{};
  const std::array pieces{iovec{present.data(), present.size()}, iovec{served.at(0, 50), 2 * kPage},
                          iovec{served.at(4), kPage}};
  EXPECT_EQ(::preadv(file.fd(), pieces.data(), pieces.size(), 0), static_cast<ssize_t>(10 + 3 * kPage));
  EXPECT_EQ(std::string(served.at(4), kPage), std::string(kPage, 'x'));
  EXPECT_EQ(::pwritev(file.fd(), pieces.data(), pieces.size(), 0), static_cast<ssize_t>(10 + 3 * kPage));
}

TEST(Repair, PipesLoseNothing) {
  const Served served(6);
  ASSERT_TRUE(served.ready());
  const Pipe pipe;
  ASSERT_EQ(::write(pipe.ends[1], served.at(0), 2 * kPage), static_cast<ssize_t>(2 * kPage));
  std::size_t got = 0;
  while (got < 2 * kPage) {
    const ssize_t part = ::read(pipe.ends[0], served.at(3, got), 2 * kPage - got);
    ASSERT_GT(part, 0);
    got += static_cast<std::size_t>(part);
  }
  EXPECT_EQ(std::string(served.at(3), kPage), std::string(kPage, content(0)));
  EXPECT_EQ(std::string(served.at(4), kPage), std::string(kPage, content(1)));
}

TEST(Repair, DatagramsArriveWhole) {
  const Served served(4);
  ASSERT_TRUE(served.ready());
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
  EXPECT_EQ(::send(ends[0], served.at(0, 3000), 2000, 0), 2000);
  EXPECT_EQ(::recv(ends[1], served.at(2, 3000), 2096, 0), 2000);
  EXPECT_EQ(std::string(served.at(2, 3000), 2000), std::string(1096, content(0)) + std::string(904, content(1)));
  iovec piece{served.at(0), 100};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  EXPECT_EQ(::sendmsg(ends[0], &message, 0), 100);
  EXPECT_EQ(::recvmsg(ends[1], &message, 0), 100);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Repair, CountersAreNotLost) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  const int counter = ::eventfd(42, EFD_CLOEXEC);
  EXPECT_EQ(::read(counter, served.at(1), 8), 8);
  std::uint64_t value;
  __builtin_memcpy(&value, served.at(1), sizeof value);
  EXPECT_EQ(value, 42U);
  ::close(counter);
}

TEST(Repair, ResultsAreWrittenToMissingPages) {
  const Served served(3);
  ASSERT_TRUE(served.ready());
  auto* status = reinterpret_cast<struct stat*>(served.at(0, kPage - 64));
  ASSERT_EQ(::stat("/", status), 0);
  EXPECT_TRUE(S_ISDIR(status->st_mode));
}

TEST(Repair, ArgumentsOfIoctlAreBrought) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  const Pipe pipe;
  ASSERT_EQ(::write(pipe.ends[1], "abc", 3), 3);
  ASSERT_EQ(::ioctl(pipe.ends[0], FIONREAD, served.at(0)), 0);
  int count = 0;
  __builtin_memcpy(&count, served.at(0), sizeof count);
  EXPECT_EQ(count, 3);
}

TEST(Repair, MessagesBringTheirNamesAndControlData) {
  const Served served(4);
  ASSERT_TRUE(served.ready());
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
  const int on = 1;
  ASSERT_EQ(::setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
  ASSERT_EQ(::send(ends[0], "abcd", 4, 0), 4);
  iovec piece{served.at(0), 4};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_name = served.at(1);
  message.msg_namelen = 110;
  message.msg_control = served.at(2);
  message.msg_controllen = 100;
  ASSERT_EQ(::recvmsg(ends[1], &message, 0), 4) << errno;
  EXPECT_EQ(*served.at(0), 'a');
  ASSERT_NE(CMSG_FIRSTHDR(&message), nullptr);
  EXPECT_EQ(CMSG_FIRSTHDR(&message)->cmsg_type, SCM_CREDENTIALS);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Repair, VectorsWithFlags) {
  const Served served(3);
  ASSERT_TRUE(served.ready());
  const File file;
  const std::array pieces{iovec{served.at(0), 2 * kPage}};
  EXPECT_EQ(::preadv2(file.fd(), pieces.data(), 1, 0, 0), static_cast<ssize_t>(2 * kPage));
  EXPECT_EQ(*served.at(1), 'x');
  EXPECT_EQ(::pwritev2(file.fd(), pieces.data(), 1, -1, 0), static_cast<ssize_t>(2 * kPage));
  EXPECT_EQ(::lseek(file.fd(), 0, SEEK_CUR), static_cast<off_t>(2 * kPage));
}

TEST(Repair, FutexWordsAreBrought) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  errno = 0;
  EXPECT_EQ(::syscall(SYS_futex, served.at(0), 128 /* FUTEX_WAIT_PRIVATE */, 1, nullptr, nullptr, 0), -1);
  EXPECT_EQ(errno, EAGAIN) << "the page holds another word";
  EXPECT_EQ(served.faults(), 1U);
}

TEST(Repair, ReadIntoAProtectedPageDeliversItsMessage) {
  const Served served(2, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
  ASSERT_TRUE(served.ready());
  const File file;
  *served.at(0) = 'q';
  ASSERT_TRUE(served.protect(0, 1));
  EXPECT_EQ(::pread(file.fd(), served.at(0), 16, 0), 16);
  EXPECT_EQ(served.protects(), 1U);
  EXPECT_EQ(*served.at(0), 'x');
}

// Registered again without write protection, where what was protected before means nothing any more.
TEST(Repair, ReadIntoAPageWhoseProtectionHasLostItsMode) {
  for (const int flags : {0, UFFD_USER_MODE_ONLY}) {
    const int fd = open_uffd(flags);
    ASSERT_GE(fd, 0) << errno;
    ASSERT_TRUE(handshake(fd, 0));
    auto* memory =
        static_cast<char*>(::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory, MAP_FAILED);
    *memory = 'q';
    uffdio_register registration{};
    registration.range = {reinterpret_cast<std::uintptr_t>(memory), kPage};
    registration.mode = UFFDIO_REGISTER_MODE_WP;
    ASSERT_EQ(::ioctl(fd, UFFDIO_REGISTER, &registration), 0) << errno;
    uffdio_writeprotect protection{.range = registration.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    ASSERT_EQ(::ioctl(fd, UFFDIO_WRITEPROTECT, &protection), 0) << errno;
    registration.mode = UFFDIO_REGISTER_MODE_MISSING;
    ASSERT_EQ(::ioctl(fd, UFFDIO_REGISTER, &registration), 0) << errno;
    const File file;
    EXPECT_EQ(::pread(file.fd(), memory, 1, 0), 1) << errno;
    EXPECT_EQ(*memory, 'x');
    ::munmap(memory, kPage);
    ::close(fd);
  }
}

// Pages that are registered for write protection alone are the kernel's to provide: nothing is closed, and nothing may
// be touched for ever.
TEST(Repair, DatagramsArriveInMemoryThatIsOnlyWriteProtected) {
  const Served served(2, UFFDIO_REGISTER_MODE_WP);
  ASSERT_TRUE(served.ready());
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
  ASSERT_EQ(::send(ends[0], "abcd", 4, 0), 4);
  EXPECT_EQ(::recv(ends[1], served.at(1), 4, 0), 4);
  EXPECT_EQ(*served.at(1), 'a');
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Repair, WithUserModeOnlyTheCallFails) {
  const Served served(2, UFFDIO_REGISTER_MODE_MISSING, UFFD_USER_MODE_ONLY);
  ASSERT_TRUE(served.ready());
  const File file;
  errno = 0;
  EXPECT_EQ(::pread(file.fd(), served.at(0), 16, 0), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(served.faults(), 0U);
}

TEST(Repair, WhatIsNotMappedStillFails) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  const File file;
  void* hole = ::mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  errno = 0;
  EXPECT_EQ(::pread(file.fd(), hole, 16, 0), -1);
  EXPECT_EQ(errno, EFAULT);
  ::munmap(hole, kPage);
}

}  // namespace
}  // namespace preload_test
