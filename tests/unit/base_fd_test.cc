// SPDX-License-Identifier: Apache-2.0
// base::Fd and base::page_size.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <bit>
#include <utility>

#include "base/fd.h"
#include "base/page_size.h"

namespace userfault::base {
namespace {

int open_something() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(BaseFd, OwnsNothingAtFirst) {
  const Fd fd;
  EXPECT_FALSE(fd.valid());
  EXPECT_EQ(fd.get(), -1);
}

TEST(BaseFd, ClosesOnDestruction) {
  const int number = open_something();
  {
    const Fd fd(number);
    EXPECT_TRUE(fd.valid());
    EXPECT_EQ(fd.get(), number);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(BaseFd, MovingHandsOver) {
  const int number = open_something();
  Fd first(number);
  const Fd second(std::move(first));
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): what is left behind is the point
  EXPECT_EQ(second.get(), number);
  EXPECT_TRUE(is_open(number));
}

TEST(BaseFd, AssigningClosesWhatWasHeld) {
  const int held = open_something();
  const int other = open_something();
  Fd fd(held);
  fd = Fd(other);
  EXPECT_FALSE(is_open(held));
  EXPECT_EQ(fd.get(), other);
  Fd& same = fd;
  fd = std::move(same);
  EXPECT_TRUE(is_open(other)) << "assigning to itself closed it";
}

TEST(BaseFd, ReleaseGivesUpWithoutClosing) {
  Fd fd(open_something());
  const int number = fd.release();
  EXPECT_FALSE(fd.valid());
  EXPECT_TRUE(is_open(number));
  fd.reset(number);
  fd.reset();
  EXPECT_FALSE(is_open(number));
}

TEST(BasePageSize, IsTheSystems) {
  EXPECT_EQ(page_size(), static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  EXPECT_TRUE(std::has_single_bit(page_size()));
}

}  // namespace
}  // namespace userfault::base
