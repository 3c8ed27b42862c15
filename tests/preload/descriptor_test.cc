// SPDX-License-Identifier: Apache-2.0
// The doors, and what a program does to the descriptor itself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "served.h"

namespace preload_test {
namespace {

// Registers `pages` pages of fresh memory with `fd`.
char* registered(int fd, std::size_t pages) {
  void* memory = ::mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uffdio_register range{.range = {reinterpret_cast<std::uintptr_t>(memory), pages * kPage},
                        .mode = UFFDIO_REGISTER_MODE_MISSING,
                        .ioctls = 0};
  EXPECT_EQ(::ioctl(fd, UFFDIO_REGISTER, &range), 0);
  return static_cast<char*>(memory);
}

bool zero(int fd, char* page) {
  uffdio_zeropage request{.range = {reinterpret_cast<std::uintptr_t>(page), kPage}, .mode = 0, .zeropage = 0};
  return ::ioctl(fd, UFFDIO_ZEROPAGE, &request) == 0;
}

TEST(Door, UnknownFlagsAreRefused) {
  EXPECT_EQ(open_uffd(2), -1);
  EXPECT_EQ(errno, EINVAL);
  const int fd = open_uffd(O_CLOEXEC);
  ASSERT_GE(fd, 0);
  EXPECT_FALSE(handshake(fd, std::uint64_t{1} << 60));
  EXPECT_EQ(errno, EINVAL);
  ::close(fd);
}

TEST(Door, TheDeviceGivesDescriptors) {
  const int device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) GTEST_SKIP() << "/dev/userfaultfd cannot be opened by this user: " << errno;
  const int copy = ::dup(device);
  ::close(device);
  const int fd = ::ioctl(copy, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(fd, 0) << errno;
  EXPECT_TRUE(handshake(fd, 0));
  ::close(copy);
  ::close(fd);
}

bool gives_descriptors(int device) {
  const int fd = ::ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
  const bool works = fd >= 0 && handshake(fd, 0);
  ::close(fd);
  return works;
}

// Other names of the same file. Under `userfault run` where the device is not to be had at all, too.
TEST(Door, TheDeviceHasManyNames) {
  const int device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) GTEST_SKIP() << "/dev/userfaultfd cannot be opened by this user: " << errno;
  ::close(device);
  const int folder = ::open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
  const std::array descriptors{::openat(folder, "userfaultfd", O_RDWR | O_CLOEXEC),
                               ::open("/dev/../dev//userfaultfd", O_RDWR | O_CLOEXEC),
                               ::open("/proc/self/root/dev/userfaultfd", O_RDWR | O_CLOEXEC),
                               static_cast<int>(::syscall(SYS_openat, folder, "./userfaultfd", O_RDWR | O_CLOEXEC, 0))};
  for (const int fd : descriptors) {
    EXPECT_TRUE(gives_descriptors(fd)) << errno;
    ::close(fd);
  }
  ::close(folder);
  std::FILE* const stream = std::fopen("/dev/userfaultfd", "r+");
  ASSERT_NE(stream, nullptr);
  EXPECT_TRUE(gives_descriptors(::fileno(stream)));
  std::FILE* const again = std::freopen("/dev/userfaultfd", "r+", stream);
  ASSERT_NE(again, nullptr);
  EXPECT_TRUE(gives_descriptors(::fileno(again)));
  std::fclose(again);
}

TEST(Descriptor, FdinfoSaysWhoWaits) {
  const int fd = open_uffd(O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(fd, 0);
  const auto info = [&](const std::string& process) {
    std::ifstream file("/proc/" + process + "/fdinfo/" + std::to_string(fd));
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_NE(info("self").find("\nAPI:\taa:0:"), std::string::npos) << info("self");
  ASSERT_TRUE(handshake(fd, UFFD_FEATURE_EVENT_UNMAP));
  char* memory = registered(fd, 1);
  std::thread reader([&] { EXPECT_EQ(*memory, 0); });
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, -1), 1);
  EXPECT_NE(info("self").find("\npending:\t1\ntotal:\t1\nAPI:\taa:80000040:"), std::string::npos) << info("self");
  uffd_msg message{};
  EXPECT_EQ(::read(fd, &message, sizeof message), static_cast<ssize_t>(sizeof message));
  EXPECT_NE(info(std::to_string(::getpid())).find("\npending:\t0\ntotal:\t1\n"), std::string::npos);
  EXPECT_TRUE(zero(fd, memory));
  reader.join();
  EXPECT_EQ(::lseek(fd, 5, SEEK_SET), 0);
  ::close(fd);
  ::munmap(memory, kPage);
}

TEST(Descriptor, SelectFindsOneThatBlocksInError) {
  const int fd = open_uffd(O_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_TRUE(handshake(fd, 0));
  fd_set in;
  FD_ZERO(&in);
  FD_SET(fd, &in);
  timeval now{};
  EXPECT_EQ(::select(fd + 1, &in, nullptr, nullptr, &now), 1);
  EXPECT_TRUE(FD_ISSET(fd, &in));
  ASSERT_EQ(::fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(::select(fd + 1, &in, nullptr, nullptr, &now), 0);
  ::close(fd);
}

TEST(Descriptor, FlagsAreWhatTheyWereOpenedWith) {
  const int fd = open_uffd(O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(::write(fd, "x", 1), -1);
  EXPECT_EQ(errno, EBADF);
  ::close(fd);
}

TEST(Descriptor, ReadChecksHandshakeAndSize) {
  const int fd = open_uffd(O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(fd, 0);
  uffd_msg message;
  EXPECT_EQ(::read(fd, &message, sizeof message), -1);
  EXPECT_EQ(errno, EINVAL);
  ASSERT_TRUE(handshake(fd, 0));
  EXPECT_EQ(::read(fd, &message, sizeof message - 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(::read(fd, &message, sizeof message), -1);
  EXPECT_EQ(errno, EAGAIN);
  ::close(fd);
}

TEST(Descriptor, PollErrsUntilItIsUsable) {
  const int fd = open_uffd(O_CLOEXEC);
  ASSERT_GE(fd, 0);
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, -1), 1);
  EXPECT_EQ(entry.revents, POLLERR);
  ASSERT_TRUE(handshake(fd, 0));
  EXPECT_EQ(::poll(&entry, 1, -1), 1) << "it blocks";
  EXPECT_EQ(entry.revents, POLLERR);
  ASSERT_EQ(::fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(::poll(&entry, 1, 0), 0);
  ::close(fd);
}

TEST(Descriptor, DuplicatesAreTheSame) {
  const int first = open_uffd(O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(first, 0);
  const int second = ::fcntl(first, F_DUPFD_CLOEXEC, 100);
  ASSERT_GE(second, 100);
  ASSERT_TRUE(handshake(first, 0));
  char* memory = registered(second, 2);
  std::thread reader([&] { EXPECT_EQ(*memory, 0); });
  pollfd entry{.fd = first, .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, -1), 1);
  EXPECT_EQ(::close(first), 0);
  uffd_msg message{};
  EXPECT_EQ(::syscall(SYS_read, second, &message, sizeof message), static_cast<long>(sizeof message));
  EXPECT_EQ(message.arg.pagefault.address, reinterpret_cast<std::uintptr_t>(memory));
  EXPECT_TRUE(zero(second, memory));
  reader.join();
  ::munmap(memory, 2 * kPage);
  ::close(second);
}

TEST(Descriptor, ReplacingTheLastNumberReleasesWhoWaits) {
  const int fd = open_uffd(O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(fd, 0);
  ASSERT_TRUE(handshake(fd, 0));
  char* memory = registered(fd, 1);
  std::thread reader([&] { EXPECT_EQ(*memory, 0) << "zero pages once nobody serves them"; });
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, -1), 1);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(::dup2(null, fd), fd);
  reader.join();
  char byte;
  EXPECT_EQ(::read(fd, &byte, 1), 0) << "the number is /dev/null's now";
  ::munmap(memory, kPage);
  ::close(fd);
  ::close(null);
}

TEST(Descriptor, CloseRangeReleasesWhoWaits) {
  const int fd = ::fcntl(open_uffd(O_CLOEXEC | O_NONBLOCK), F_DUPFD_CLOEXEC, 200);
  ASSERT_GE(fd, 200);
  ASSERT_TRUE(handshake(fd, 0));
  char* memory = registered(fd, 1);
  std::thread reader([&] { EXPECT_EQ(*memory, 0); });
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, -1), 1);
  ASSERT_EQ(::close_range(3, static_cast<unsigned>(fd), 0), 0);
  reader.join();
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
  ::munmap(memory, kPage);
}

void* read_for_ever(void* argument) {
  uffd_msg message;
  const ssize_t got = ::read(*static_cast<int*>(argument), &message, sizeof message);
  ADD_FAILURE() << "read came back with " << got;
  return nullptr;
}

TEST(Descriptor, AThreadThatBlocksInReadCanBeCancelled) {
  for (int round = 0; round < 200; ++round) {
    int fd = open_uffd(O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ASSERT_TRUE(handshake(fd, 0));
    pthread_t thread;
    ASSERT_EQ(::pthread_create(&thread, nullptr, read_for_ever, &fd), 0);
    ASSERT_EQ(::pthread_cancel(thread), 0);
    void* result = nullptr;
    ASSERT_EQ(::pthread_join(thread, &result), 0);
    EXPECT_EQ(result, PTHREAD_CANCELED);
    ::close(fd);
  }
}

TEST(Descriptor, EpollAndReadvWork) {
  const int fd = open_uffd(O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(fd, 0);
  ASSERT_TRUE(handshake(fd, 0));
  char* memory = registered(fd, 1);
  const int poller = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  ASSERT_EQ(::epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event), 0);
  std::thread reader([&] { EXPECT_EQ(*memory, 0); });
  EXPECT_EQ(::epoll_wait(poller, &event, 1, -1), 1);
  uffd_msg message{};
  const std::array pieces{iovec{&message, 32}};
  EXPECT_EQ(::readv(fd, pieces.data(), 1), 32);
  EXPECT_EQ(message.event, UFFD_EVENT_PAGEFAULT);
  EXPECT_TRUE(zero(fd, memory));
  reader.join();
  ::munmap(memory, kPage);
  ::close(poller);
  ::close(fd);
}

}  // namespace
}  // namespace preload_test
