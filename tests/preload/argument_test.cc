// SPDX-License-Identifier: Apache-2.0
// Paths, structs and streams on pages that nobody has brought yet. The monitor fills page i of Served with one
// letter; what a path needs is written before.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>

#include "served.h"

namespace preload_test {
namespace {

template <typename T>
T* on_page(const Served& served, std::size_t page) {
  return reinterpret_cast<T*>(served.at(page));
}

// The child of posix_spawn shares the memory until it runs the program.
TEST(Arguments, OfAProgramThatIsStarted) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  *served.at(1) = '\0';
  std::string words[] = {"sh", "-c", "[ \"$1\" = aaa ]", "sh"};
  char* arguments[] = {words[0].data(), words[1].data(),         words[2].data(),
                       words[3].data(), served.at(0, kPage - 3), nullptr};
  pid_t child = 0;
  ASSERT_EQ(::posix_spawn(&child, "/bin/sh", nullptr, nullptr, arguments, environ), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(served.faults(), 2U);
}

TEST(Arguments, BadOnesOfAProgramStayTheKernelsToRefuse) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  char* const nothing = reinterpret_cast<char*>(kPage);
  char* arguments[] = {nothing, nullptr};
  EXPECT_EQ(::execve("/bin/true", arguments, environ), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(::execve(nothing, arguments, environ), -1);
  EXPECT_EQ(errno, EFAULT);
}

// Each touches a page of its own, and the kernel is the first to do so.
TEST(Arguments, ResultsOfManyCalls) {
  const Served served(16);
  ASSERT_TRUE(served.ready());
  EXPECT_EQ(::statx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, on_page<struct statx>(served, 0)), 0) << errno;
  EXPECT_EQ(::statfs("/", on_page<struct statfs>(served, 1)), 0) << errno;
  EXPECT_EQ(::uname(on_page<utsname>(served, 2)), 0) << errno;
  EXPECT_EQ(::getrandom(served.at(3), 16, 0), 16) << errno;
  EXPECT_EQ(::pipe(on_page<int>(served, 4)), 0) << errno;
  EXPECT_EQ(::getrlimit(RLIMIT_CORE, on_page<rlimit>(served, 5)), 0) << errno;
  EXPECT_EQ(::readlinkat(AT_FDCWD, "/proc/self/exe", served.at(6), 10), 10) << errno;
  EXPECT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, on_page<sigset_t>(served, 7)), 0);
  EXPECT_EQ(::sigpending(on_page<sigset_t>(served, 8)), 0) << errno;
  EXPECT_EQ(::syscall(SYS_newfstatat, AT_FDCWD, "/", served.at(9), 0), 0) << errno;
  EXPECT_EQ(::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, served.at(10)), 0) << errno;
  EXPECT_GT(::syscall(SYS_getcwd, served.at(11), kPage), 0) << errno;
  EXPECT_EQ(served.faults(), 12U);
  ::close(on_page<int>(served, 4)[0]);
  ::close(on_page<int>(served, 4)[1]);
}

// The letters name no file, so ENOENT says that the path was read.
TEST(Arguments, Paths) {
  const Served served(8);
  ASSERT_TRUE(served.ready());
  struct stat status {};
  *served.at(6, kPage - 1) = '\0';
  *served.at(7, kPage - 1) = '\0';
  EXPECT_EQ(served.faults(), 2U);
  // The last letters of one page and the first of the next, up to its end.
  EXPECT_EQ(::open(served.at(5, kPage - 8), O_RDONLY), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  EXPECT_EQ(::stat(served.at(4, kPage - 8), &status), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  EXPECT_EQ(::access(served.at(3, kPage - 8), R_OK), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
}

TEST(Arguments, Sockets) {
  const Served served(8);
  ASSERT_TRUE(served.ready());
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  socklen_t length = sizeof(int);
  EXPECT_EQ(::getsockopt(ends[0], SOL_SOCKET, SO_TYPE, served.at(0), &length), 0) << errno;
  EXPECT_EQ(*on_page<int>(served, 0), SOCK_STREAM);
  length = sizeof(sockaddr_un);
  EXPECT_EQ(::getsockname(ends[0], on_page<sockaddr>(served, 1), &length), 0) << errno;
  EXPECT_EQ(::syscall(SYS_sendto, ends[0], served.at(2), 8, 0, nullptr, 0), 8) << errno;
  EXPECT_EQ(::syscall(SYS_recvfrom, ends[1], served.at(3), 8, 0, nullptr, nullptr), 8) << errno;
  EXPECT_EQ(*served.at(3), content(2));
  iovec piece{served.at(4), 8};
  mmsghdr message{};
  message.msg_hdr.msg_iov = &piece;
  message.msg_hdr.msg_iovlen = 1;
  EXPECT_EQ(::sendmmsg(ends[0], &message, 1, 0), 1) << errno;
  piece.iov_base = served.at(5);
  EXPECT_EQ(::recvmmsg(ends[1], &message, 1, 0, nullptr), 1) << errno;
  EXPECT_EQ(*served.at(5), content(4));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Arguments, AChildsStatusIsNotLost) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  const pid_t child = ::fork();
  if (child == 0) ::_exit(3);
  EXPECT_EQ(::waitpid(child, on_page<int>(served, 0), 0), child) << errno;
  EXPECT_EQ(WEXITSTATUS(*on_page<int>(served, 0)), 3);
}

TEST(Arguments, Streams) {
  const Served served(16);
  ASSERT_TRUE(served.ready());
  std::FILE* const stream = std::tmpfile();
  ASSERT_NE(stream, nullptr);
  EXPECT_EQ(std::fwrite(served.at(0), 1, 6 * kPage, stream), 6 * kPage);
  ASSERT_EQ(std::fflush(stream), 0);
  std::rewind(stream);
  EXPECT_EQ(std::fread(served.at(8), 1, 6 * kPage, stream), 6 * kPage);
  for (std::size_t page = 0; page < 6; ++page)
    EXPECT_EQ(std::string(served.at(8 + page), kPage), std::string(kPage, content(page)));
  std::fclose(stream);
}

}  // namespace
}  // namespace preload_test
