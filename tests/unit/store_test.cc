// SPDX-License-Identifier: Apache-2.0
// Stores: whole extents or an error with how far they are good.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "support/temporary_file.h"
#include "userfault/store.h"

namespace userfault::test {
namespace {

constexpr std::size_t kPage = 4096;

struct Answer {
  int code = -1;
  std::size_t bytes = 0;
  int times = 0;
};

Answer ask(Store& store, std::uint64_t offset, std::span<std::byte> into, bool may_wait = true) {
  Answer answer;
  StoreRequest request{.offset = offset, .data = into.data(), .length = into.size(), .may_wait = may_wait};
  request.context = &answer;
  request.done = [](StoreRequest& done) {
    auto* const to = static_cast<Answer*>(done.context);
    *to = {done.code, done.bytes, to->times + 1};
  };
  store.read({&request, 1});
  EXPECT_EQ(answer.times, 1) << "a request is answered exactly once";
  return answer;
}

TEST(FileStore, ReadsAPartOfTheFile) {
  const auto bytes = random_bytes(3 * kPage, 1);
  const TemporaryFile file(bytes);
  const auto store = open_file_store(file.path(), {.offset = 100, .length = 2 * kPage});
  ASSERT_TRUE(store) << store.error().text;
  EXPECT_EQ((*store)->size(), 2 * kPage);
  std::vector<std::byte> got(2 * kPage - 7);
  EXPECT_EQ(ask(**store, 7, got).code, 0);
  EXPECT_TRUE(std::equal(got.begin(), got.end(), bytes.begin() + 107));
}

TEST(FileStore, AFileThatShrankIsAnErrorAndNeverZeroes) {
  const auto bytes = random_bytes(4 * kPage, 2);
  TemporaryFile file(bytes);
  const auto store = open_file_store(file.path());
  ASSERT_TRUE(store);
  file.truncate(kPage + 10);
  std::vector<std::byte> got(4 * kPage);
  const Answer answer = ask(**store, 0, got);
  EXPECT_EQ(answer.code, ENODATA);
  EXPECT_EQ(answer.bytes, kPage + 10);
  EXPECT_EQ(ask(**store, 2 * kPage, std::span(got).first(kPage)).bytes, 0u);
}

// The page ends in zeroes that the file really has; the second look at its length must not mind.
TEST(FileStore, ZeroesThatAreInTheFileAreFine) {
  auto bytes = random_bytes(2 * kPage, 3);
  std::fill(bytes.begin() + kPage - 50, bytes.begin() + kPage, std::byte{0});
  bytes.back() = std::byte{0};
  const TemporaryFile file(bytes);
  const auto store = open_file_store(file.path());
  std::vector<std::byte> got(2 * kPage);
  EXPECT_EQ(ask(**store, 0, got).code, 0);
  EXPECT_EQ(got, bytes);
}

TEST(FileStore, KnowsTheHolesOfASparseFile) {
  const auto bytes = random_bytes(16 * kPage, 4);
  TemporaryFile file(bytes);
  file.truncate(std::size_t{8} << 20);
  const auto store = open_file_store(file.path());
  ASSERT_TRUE(store);
  const StoreExtent data = (*store)->extent(0, std::size_t{8} << 20);
  EXPECT_FALSE(data.zero);
  EXPECT_GE(data.length, bytes.size());
  std::uint64_t zero = 0;
  for (std::uint64_t at = 0; at < std::size_t{8} << 20;) {
    const StoreExtent extent = (*store)->extent(at, (std::size_t{8} << 20) - at);
    if (extent.zero) zero += extent.length;
    at += extent.length;
  }
  struct stat status {};
  ASSERT_EQ(::stat(file.path().c_str(), &status), 0);
  EXPECT_LE(zero, (std::size_t{8} << 20) - bytes.size());
  if (static_cast<std::size_t>(status.st_blocks) * 512 < std::size_t{4} << 20) {
    EXPECT_GT(zero, std::size_t{4} << 20) << "the file is sparse, and its holes were not seen";
  }
}

TEST(FileStore, RefusesAPartThatIsNotThere) {
  const TemporaryFile file(random_bytes(kPage, 5));
  const auto behind = open_file_store(file.path(), {.offset = kPage + 1});
  ASSERT_FALSE(behind);
  EXPECT_NE(behind.error().text.find("behind its end"), std::string::npos);
  const auto longer = open_file_store(file.path(), {.offset = 1, .length = kPage});
  ASSERT_FALSE(longer);
  EXPECT_NE(longer.error().text.find("truncated"), std::string::npos);
  EXPECT_EQ(open_file_store("/dev/null").error().code, EINVAL);
  EXPECT_EQ(open_file_store("/nonexistent").error().code, ENOENT);
}

TEST(FileStore, DoesNotWaitWhenAskedNotTo) {
  const auto bytes = random_bytes(kPage, 6);
  const TemporaryFile file(bytes);
  const auto store = open_file_store(file.path());
  std::vector<std::byte> got(kPage);
  const Answer answer = ask(**store, 0, got, false);
  // Just written, so it is in the page cache; a file system that cannot tell says EAGAIN.
  EXPECT_TRUE(answer.code == EAGAIN || (answer.code == 0 && got == bytes)) << answer.code;
}

TEST(Stores, MemoryZeroAndFunctionAnswer) {
  const auto bytes = random_bytes(2 * kPage, 7);
  std::vector<std::byte> got(kPage);
  const auto memory = make_memory_store(bytes);
  EXPECT_EQ(ask(*memory, 5, got).code, 0);
  EXPECT_TRUE(std::equal(got.begin(), got.end(), bytes.begin() + 5));
  EXPECT_EQ(memory->view(5, 10), bytes.data() + 5);

  const auto zero = make_zero_store(kPage);
  EXPECT_TRUE(zero->extent(0, kPage).zero);
  EXPECT_EQ(ask(*zero, 0, got).code, 0);
  EXPECT_EQ(std::count(got.begin(), got.end(), std::byte{0}), static_cast<long>(kPage));

  const auto function = make_function_store(
      kPage, [](void*, std::uint64_t offset, std::span<std::byte>) { return offset == 0 ? 0 : EIO; }, nullptr);
  EXPECT_EQ(ask(*function, 0, got, false).code, EAGAIN);
  EXPECT_EQ(ask(*function, 0, got).code, 0);
  EXPECT_EQ(ask(*function, 8, std::span(got).first(8)).code, EIO);
}

TEST(Stores, AreReadOnlyUnlessTheySayOtherwise) {
  const auto store = make_zero_store(kPage);
  EXPECT_FALSE(store->writable());
  Answer answer;
  std::byte byte{};
  StoreRequest request{.offset = 0, .data = &byte, .length = 1};
  request.context = &answer;
  request.done = [](StoreRequest& done) { *static_cast<Answer*>(done.context) = {done.code, done.bytes, 1}; };
  store->write({&request, 1});
  EXPECT_EQ(answer.code, EROFS);
}

}  // namespace
}  // namespace userfault::test
