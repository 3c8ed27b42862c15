// SPDX-License-Identifier: Apache-2.0
// Processes made in other ways than by fork(3), and pages that are asked for without an access.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "served.h"

namespace preload_test {
namespace {

constexpr int kPopulateRead = 22;
constexpr int kPopulateWrite = 23;

int exit_status_of(int child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int return_seven(void*) { return 7; }
int read_page(void* page) { return *static_cast<const volatile char*>(page); }

TEST(Process, AChildOfCloneEndsWhenItsFunctionReturns) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  std::vector<char> stack(64 << 10);
  char* const top = stack.data() + stack.size() / 16 * 16 - 64;
  EXPECT_EQ(exit_status_of(::clone(return_seven, top, SIGCHLD, nullptr)), 7);
  EXPECT_EQ(exit_status_of(::clone(read_page, top, CLONE_VM | SIGCHLD, served.at(0))), content(0));
}

TEST(Process, AChildEndsWithItsOnlyThread) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  const int child = ::fork();
  if (child == 0) ::syscall(SYS_exit, 5);
  EXPECT_EQ(exit_status_of(child), 5);
}

// The child has the page that was there, zeroes where nothing was, and nothing of what it writes is its parent's.
int use_the_copy(const Served& served) {
  const bool same = *served.at(0) == content(0) && *served.at(1) == 0;
  *served.at(0) = '#';
  return same ? 6 : 1;
}

TEST(Process, CopiesMadeByOtherCallsHaveMemoryOfTheirOwn) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  EXPECT_EQ(*served.at(0), content(0));
  for (const bool by_clone3 : {false, true}) {
    std::array<std::uint64_t, 11> request{};
    request[4] = SIGCHLD;
    const auto child = static_cast<int>(by_clone3 ? ::syscall(SYS_clone3, request.data(), sizeof request) : ::_Fork());
    if (child == 0) ::_exit(use_the_copy(served));
    ASSERT_GT(child, 0) << errno;
    EXPECT_EQ(exit_status_of(child), 6) << by_clone3;
    EXPECT_EQ(*served.at(0), content(0));
  }
}

TEST(Pages, AreBroughtByAdvice) {
  const Served served(4);
  ASSERT_TRUE(served.ready());
  EXPECT_EQ(::madvise(served.at(0), kPage, kPopulateRead), 0) << errno;
  EXPECT_EQ(::madvise(served.at(1), 2 * kPage, kPopulateWrite), 0) << errno;
  EXPECT_EQ(served.faults(), 3U);
  EXPECT_EQ(*served.at(2), content(2));
  EXPECT_EQ(served.faults(), 3U);
}

TEST(Pages, AreNotBroughtForUserModeOnly) {
  const Served served(1, UFFDIO_REGISTER_MODE_MISSING, UFFD_USER_MODE_ONLY);
  ASSERT_TRUE(served.ready());
  EXPECT_EQ(::madvise(served.at(0), kPage, kPopulateRead), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(served.faults(), 0U);
}

}  // namespace
}  // namespace preload_test
