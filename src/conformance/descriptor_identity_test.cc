// SPDX-License-Identifier: Apache-2.0
// What kind of file a userfaultfd is, measured on Linux 6.18.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string>

#include "support/test.h"

namespace userfault::conformance {
namespace {

CONFORMANCE_TEST(DescriptorIdentity, ReadOnly, "REAL-39", Backings::kNone) {
  Uffd uffd(ctx);
  EXPECT_EQ(::fcntl(uffd.fd(), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(::write(uffd.fd(), "x", 1), -1);
  EXPECT_EQ(errno, EBADF);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  EXPECT_EQ(::splice(ends[0], nullptr, uffd.fd(), nullptr, 1, 0), -1);
  EXPECT_EQ(errno, EBADF);
}

CONFORMANCE_TEST(DescriptorIdentity, CannotBeMapped, "REAL-39", Backings::kNone) {
  Uffd uffd(ctx);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, uffd.fd(), 0), MAP_FAILED);
  EXPECT_EQ(errno, ENODEV);
}

CONFORMANCE_TEST(DescriptorIdentity, EpollTakesIt, "REAL-39", Backings::kNone) {
  Uffd uffd(ctx);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event interest{};
  interest.events = EPOLLIN;
  EXPECT_EQ(::epoll_ctl(epoll, EPOLL_CTL_ADD, uffd.fd(), &interest), 0);
}

CONFORMANCE_TEST(DescriptorIdentity, SeekingDoesNothing, "REAL-39", Backings::kNone) {
  ctx.differs_unless_preloaded("REAL-39: the stand-in is a pipe, which says ESPIPE");
  Uffd uffd(ctx);
  EXPECT_EQ(::lseek(uffd.fd(), 100, SEEK_SET), 0);
  EXPECT_EQ(::lseek(uffd.fd(), 0, SEEK_CUR), 0);
}

CONFORMANCE_TEST(DescriptorIdentity, LinkNamesIt, "REAL-39", Backings::kNone) {
  ctx.differs_on_user("REAL-39: the link names the stand-in");
  Uffd uffd(ctx);
  std::array<char, 64> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(uffd.fd());
  ASSERT_GT(::readlink(link.c_str(), target.data(), target.size() - 1), 0);
  EXPECT_STREQ(target.data(), "anon_inode:[userfaultfd]");
}

// "pending" counts the unread faults, "total" all that wait.
CONFORMANCE_TEST(DescriptorIdentity, FdinfoCounts, "REAL-39", Backings::kPrivate) {
  ctx.differs_unless_preloaded("REAL-39: fdinfo is the stand-in's");
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  Faulter read_already = expect_read_faults(uffd, map.page(0));
  Faulter unread = Faulter::read(map.page(1));
  unread.expect_waiting();
  std::ifstream file("/proc/self/fdinfo/" + std::to_string(uffd.fd()));
  std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(text.find("pending:\t1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("total:\t2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("API:\taa:"), std::string::npos) << text;
  uffd.fill_with_zeros(map.all());
  read_already.join();
  unread.join();
}

CONFORMANCE_TEST(DescriptorIdentity, EngineIsFoundFromTheNumber, "REAL-39", Backings::kNone) {
  Uffd uffd(ctx);
  EXPECT_GE(userfault_engine_of(uffd.fd()), 0);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_EQ(userfault_engine_of(ends[0]), -1);
  EXPECT_EQ(errno, EBADF);
}

}  // namespace
}  // namespace userfault::conformance
