// SPDX-License-Identifier: Apache-2.0
// Packed images whose numbers were made up by somebody who means harm: each is an error with a text,
// and none costs memory. Files with holes make sizes that are real and cost nothing.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>
#include <vector>

#include "store/codec.h"
#include "store/packed_index.h"
#include "support/bounded.h"
#include "support/sanitizers.h"
#include "support/temporary_file.h"
#include "userfault/packed_image.h"

namespace userfault::test {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kMemory = 2 * kGiB;

using Bytes = std::vector<std::byte>;

void put_u32(Bytes& to, std::uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) to.push_back(static_cast<std::byte>(value >> (8 * i)));
}

Bytes footer_of(std::uint32_t frames, std::byte descriptor) {
  Bytes bytes;
  put_u32(bytes, frames);
  bytes.push_back(descriptor);
  put_u32(bytes, 0x8F92EAB1);
  return bytes;
}

// What is taken beyond it ends the process. There may be mappings of an engine's already, which count.
bool limit_memory() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t most = pages * 4096 + kMemory;
  const rlimit limit{most, most};
  return pages != 0 && ::setrlimit(RLIMIT_AS, &limit) == 0;
}

class PackedHostile : public testing::Test {
 protected:
  void SetUp() override {
    if (!store::codec_available()) GTEST_SKIP() << "the library was built without zstd";
  }
  // A hole of `hole` bytes and what follows it. False where no file may be so long.
  [[nodiscard]] static bool make(const TemporaryFile& file, std::uint64_t hole, const Bytes& end) {
    const int fd = ::open(file.path().c_str(), O_WRONLY | O_CLOEXEC);
    const bool made =
        ::ftruncate(fd, static_cast<off_t>(hole)) == 0 &&
        ::pwrite(fd, end.data(), end.size(), static_cast<off_t>(hole)) == static_cast<ssize_t>(end.size());
    ::close(fd);
    return made;
  }
  // Opening it, or else reading its first byte, is an error that costs no memory.
  static void expect_refused(const TemporaryFile& file, bool on_opening) {
    expect_to_end([&] {
      ASSERT_TRUE(limit_memory());
      const auto store = open_packed_store(file.path());
      if (!store) {
        EXPECT_EQ(store.error().code, EINVAL);
        EXPECT_EQ(store.error().text.rfind(file.path(), 0), 0u) << store.error().text;
        return;
      }
      EXPECT_FALSE(on_opening) << "it was opened";
      std::byte byte{};
      EXPECT_NE(read_store(**store, 0, {&byte, 1}), 0);
    });
  }
  [[nodiscard]] static bool limits_count() { return !kAddressSanitizer && !kThreadSanitizer; }
  static constexpr char kNoLimit[] = "a sanitizer takes more address space than any limit would leave";
  static constexpr char kTooLong[] = "this file system has no files of that length";
};

// Eight bytes for each of them do fit the file, so that its size alone does not tell.
TEST_F(PackedHostile, ATableOfAllFramesThatThereCanBe) {
  if (!limits_count()) GTEST_SKIP() << kNoLimit;
  for (const std::byte descriptor : {std::byte{0}, std::byte{0x80}}) {
    const TemporaryFile file;
    const std::uint64_t hole = descriptor == std::byte{0} ? 40 * kGiB : 60 * kGiB;
    if (!make(file, hole, footer_of(UINT32_MAX, descriptor))) GTEST_SKIP() << kTooLong;
    expect_refused(file, true);
  }
}

// The same with a head where the count says, as far as its size can be written in 32 bits.
TEST_F(PackedHostile, ATableOfFourGigabytes) {
  if (!limits_count()) GTEST_SKIP() << kNoLimit;
  const std::uint32_t frames = (UINT32_MAX - 9) / 8;
  const TemporaryFile file;
  if (!make(file, frames * std::uint64_t{8} + 8, footer_of(frames, std::byte{0}))) GTEST_SKIP() << kTooLong;
  Bytes head;
  put_u32(head, 0x184D2A5E);
  put_u32(head, frames * 8 + 9);
  const int fd = ::open(file.path().c_str(), O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(::pwrite(fd, head.data(), head.size(), 0), static_cast<ssize_t>(head.size()));
  ::close(fd);
  expect_refused(file, true);
}

// Both in a file that has these bytes, and in one that has not.
TEST_F(PackedHostile, AFrameOfFourGigabytesForAFewBytes) {
  if (!limits_count()) GTEST_SKIP() << kNoLimit;
  const Bytes table =
      store::encode_index({{.offset = 0, .start = 0, .packed = UINT32_MAX, .size = 100, .checksum = 0}});
  const TemporaryFile full;
  if (!make(full, UINT32_MAX, table)) GTEST_SKIP() << kTooLong;
  expect_refused(full, false);
  const TemporaryFile empty;
  ASSERT_TRUE(make(empty, 50, table));
  expect_refused(empty, true);
}

// The sizes that the frames claim, and the file's bytes in front of the table.
struct Sizes {
  const char* name;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> frames;  // packed, unpacked
  std::uint64_t bytes;
};
void PrintTo(const Sizes& sizes, std::ostream* out) { *out << sizes.name; }

class PackedSizes : public PackedHostile, public testing::WithParamInterface<Sizes> {};

TEST_P(PackedSizes, AreRefused) {
  if (!limits_count()) GTEST_SKIP() << kNoLimit;
  std::vector<store::PackedFrame> frames;
  for (const auto& [packed, size] : GetParam().frames)
    frames.push_back({.offset = 0, .start = 0, .packed = packed, .size = size, .checksum = 0});
  const TemporaryFile file;
  ASSERT_TRUE(make(file, GetParam().bytes, store::encode_index(frames)));
  expect_refused(file, true);
}

// Where sums of 32 bits would come out right, and the largest that each number can be.
INSTANTIATE_TEST_SUITE_P(
    Packed, PackedSizes,
    testing::Values(Sizes{"sum_wraps_to_the_right_one", {{UINT32_MAX, 1u << 26}, {101, 100}}, 100},
                    Sizes{"two_halves_wrap_to_nothing", {{1u << 31, 1u << 26}, {1u << 31, 1u << 26}}, 0},
                    Sizes{"the_largest_frame", {{50, UINT32_MAX}}, 50},
                    Sizes{"many_of_the_largest", {{50, UINT32_MAX}, {50, UINT32_MAX}, {50, UINT32_MAX}}, 150},
                    Sizes{"one_byte_is_missing", {{51, 100}}, 50}, Sizes{"one_byte_too_many", {{49, 100}}, 50},
                    Sizes{"a_frame_of_nothing", {{0, 100}, {50, 100}}, 50},
                    Sizes{"a_frame_for_nothing", {{50, 0}}, 50}),
    [](const auto& sizes) { return std::string(sizes.param.name); });

}  // namespace
}  // namespace userfault::test
