// SPDX-License-Identifier: Apache-2.0
// Served memory that the program gives back is given back by the engine too: private memory lives in
// an object of the engine's, and unmapping a part of it leaves that part in the object.
#include "user_objects.h"

namespace userfault::test {
namespace {

constexpr std::size_t kPages = 16384;  // 64 MiB
constexpr std::size_t kMib = std::size_t{1} << 20;

std::size_t bytes_in_objects() { return find_objects().pages * kPage; }

class UserMemory : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<char> source(kMib, 7);
    for (std::size_t at = 0; at < served_.bytes(); at += kMib)
      ASSERT_EQ(userfault_ioctl_copy(served_.fd, served_.memory + at, source.data(), kMib, 0, nullptr), 0);
    ASSERT_GE(bytes_in_objects() - before_, served_.bytes()) << "the memory is not where this test looks for it";
  }
  // At most the quarter that is left, and what a filesystem needs beside.
  void expect_a_quarter() const {
    EXPECT_LE(bytes_in_objects() - before_, served_.bytes() / 4 + kMib);
    for (std::size_t page = 0; page < kPages / 4; page += 97) ASSERT_EQ(*served_.page(page), 7);
  }

  const std::size_t before_ = bytes_in_objects();
  const Served served_{kPages};
  const std::size_t most_ = kPages / 4 * 3 * kPage;
  char* const behind_ = served_.page(kPages / 4);
};

TEST_F(UserMemory, UnmappingAPartGivesItBack) {
  ASSERT_EQ(userfault_munmap(behind_, most_), 0);
  expect_a_quarter();
}

TEST_F(UserMemory, MappingOverAPartGivesItBack) {
  ASSERT_EQ(userfault_mmap(behind_, most_, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), behind_);
  expect_a_quarter();
}

TEST_F(UserMemory, ShrinkingGivesItBack) {
  ASSERT_EQ(userfault_mremap(served_.memory, served_.bytes(), served_.bytes() / 4, 0, nullptr), served_.memory);
  expect_a_quarter();
}

TEST_F(UserMemory, DroppingAPartGivesItBack) {
  ASSERT_EQ(userfault_madvise(behind_, most_, MADV_DONTNEED), 0);
  expect_a_quarter();
}

}  // namespace
}  // namespace userfault::test
