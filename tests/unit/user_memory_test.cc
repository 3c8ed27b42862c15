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

// Whether the page table has it, as it has what the kernel's COPY copied.
bool is_mapped(const char* at) {
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  std::uint64_t entry = 0;
  const auto offset = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(at) / kPage * sizeof entry);
  EXPECT_EQ(::pread(pagemap, &entry, sizeof entry, offset), static_cast<ssize_t>(sizeof entry));
  ::close(pagemap);
  return (entry >> 63) != 0;
}

bool can_populate() {
  void* const at = ::mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ, Linux 5.14
  const bool result = ::madvise(at, kPage, kPopulateRead) == 0;
  ::munmap(at, kPage);
  return result;
}

class UserMapping : public testing::TestWithParam<int> {};

TEST_P(UserMapping, WhatAnswersAFaultIsMappedBeforeTheAccess) {
  if (!can_populate()) GTEST_SKIP() << "Linux before 5.14: the access maps it";
  const Served served(8, 0, USERFAULT_REGISTER_MODE_MISSING, GetParam() | MAP_ANONYMOUS);
  ASSERT_EQ(served.copy(3), 0);
  EXPECT_TRUE(is_mapped(served.page(3)));
  EXPECT_FALSE(is_mapped(served.page(2)));
  EXPECT_FALSE(is_mapped(served.page(4)));
  EXPECT_EQ(served.content(3), Content::kPattern);
  ASSERT_EQ(served.copy(2), 0);
  EXPECT_TRUE(is_mapped(served.page(2)));
}

INSTANTIATE_TEST_SUITE_P(Of, UserMapping, testing::Values(MAP_PRIVATE, MAP_SHARED),
                         [](const auto& kind) { return kind.param == MAP_PRIVATE ? "private" : "shared"; });

TEST(UserMapping, ZeroesTakeNoMemoryBeforeTheyAreUsed) {
  const Served served(8);
  const std::size_t before = bytes_in_objects();
  ASSERT_EQ(userfault_ioctl_zeropage(served.fd, served.memory, served.bytes(), 0, nullptr), 0);
  EXPECT_EQ(bytes_in_objects(), before);
  EXPECT_EQ(served.content(5), Content::kZero);
}

// A short COPY into memory that may not be read must not keep later ones from being mapped.
TEST(UserMapping, MemoryThatMayNotBeReadIsNoReasonToStop) {
  if (!can_populate()) GTEST_SKIP() << "Linux before 5.14: the access maps it";
  const Served closed(2);
  ASSERT_EQ(userfault_mprotect(closed.memory, closed.bytes(), PROT_NONE), 0);
  ASSERT_EQ(closed.copy(0), 0);
  const Served served(2);
  ASSERT_EQ(served.copy(0), 0);
  EXPECT_TRUE(is_mapped(served.page(0)));
}

}  // namespace
}  // namespace userfault::test
