// SPDX-License-Identifier: Apache-2.0
// The checks of an operation's arguments, as a table: what both the ioctl and the answer for an exited owner ask.
#include <gtest/gtest.h>

#include "engine/user/ops/arguments.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kAt = 0x7000'0000;

struct RangeCase {
  std::uint64_t start;
  std::uint64_t length;
  bool range;   // validate_range()
  bool source;  // validate_unaligned_range()
};

TEST(Arguments, RangesAreWholePagesBelowTheEndOfUserSpace) {
  constexpr RangeCase kCases[] = {
      {kAt, kPage, true, true},
      {0, kPage, true, true},
      {kAt + 1, kPage, false, true},
      {kAt, 0, false, false},
      {kAt, kPage - 1, false, false},
      {kAt, kPage + 8, false, false},
      {kTaskSize - kPage, kPage, true, true},
      {kTaskSize - kPage + 1, kPage, false, false},
      {kTaskSize, kPage, false, false},
      {kAt, kTaskSize, false, false},
      {kAt, ~std::uint64_t{kPage - 1}, false, false},
      {~std::uint64_t{kPage - 1}, kPage, false, false},
  };
  for (const RangeCase& one : kCases) {
    EXPECT_EQ(is_valid_range(one.start, one.length), one.range) << one.start << " " << one.length;
    EXPECT_EQ(is_valid_source(one.start, one.length), one.source) << one.start << " " << one.length;
  }
}

constexpr userfault_range kGood{kAt, kPage};
constexpr userfault_range kBad{kAt + 1, kPage};
constexpr std::uint64_t kUnknownMode = std::uint64_t{1} << 40;

TEST(Arguments, ModesAreThoseOfTheOperation) {
  const auto registers = [](const userfault_range& range, std::uint64_t mode) {
    return is_valid(userfault_register{range, mode, 0});
  };
  EXPECT_TRUE(registers(kGood, USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP));
  EXPECT_TRUE(registers(kGood, USERFAULT_REGISTER_MODE_MINOR));
  EXPECT_FALSE(registers(kGood, 0));
  EXPECT_FALSE(registers(kGood, USERFAULT_REGISTER_MODE_MISSING | kUnknownMode));
  EXPECT_FALSE(registers(kBad, USERFAULT_REGISTER_MODE_MISSING));

  EXPECT_TRUE(is_valid(userfault_copy{kAt, kAt + 1, kPage, USERFAULT_COPY_MODE_WP, 0}));
  EXPECT_FALSE(is_valid(userfault_copy{kAt + 1, kAt, kPage, 0, 0}));
  EXPECT_FALSE(is_valid(userfault_copy{kAt, kAt, kPage, kUnknownMode, 0}));
  EXPECT_TRUE(is_valid(userfault_zeropage{kGood, USERFAULT_ZEROPAGE_MODE_DONTWAKE, 0}));
  EXPECT_FALSE(is_valid(userfault_zeropage{kGood, kUnknownMode, 0}));
  EXPECT_FALSE(is_valid(userfault_zeropage{kBad, 0, 0}));
  EXPECT_TRUE(is_valid(userfault_continue{kGood, USERFAULT_CONTINUE_MODE_WP, 0}));
  EXPECT_FALSE(is_valid(userfault_continue{kGood, kUnknownMode, 0}));
  EXPECT_TRUE(is_valid(userfault_poison{kGood, USERFAULT_POISON_MODE_DONTWAKE, 0}));
  EXPECT_FALSE(is_valid(userfault_poison{kGood, kUnknownMode, 0}));
  EXPECT_TRUE(is_valid(userfault_move{kAt, kAt + kPage, kPage, USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES, 0}));
  EXPECT_FALSE(is_valid(userfault_move{kAt, kAt + 1, kPage, 0, 0}));
  EXPECT_FALSE(is_valid(userfault_move{kAt, kAt, kPage, kUnknownMode, 0}));
}

// To protect wakes no thread, so DONTWAKE means something for the other direction alone.
TEST(Arguments, ProtectionAndDontwakeExcludeEachOther) {
  EXPECT_TRUE(is_valid(userfault_writeprotect{kGood, 0}));
  EXPECT_TRUE(is_valid(userfault_writeprotect{kGood, USERFAULT_WRITEPROTECT_MODE_WP}));
  EXPECT_TRUE(is_valid(userfault_writeprotect{kGood, USERFAULT_WRITEPROTECT_MODE_DONTWAKE}));
  EXPECT_FALSE(
      is_valid(userfault_writeprotect{kGood, USERFAULT_WRITEPROTECT_MODE_WP | USERFAULT_WRITEPROTECT_MODE_DONTWAKE}));
  EXPECT_FALSE(is_valid(userfault_writeprotect{kGood, kUnknownMode}));
  EXPECT_FALSE(is_valid(userfault_writeprotect{kBad, 0}));
}

}  // namespace
}  // namespace userfault::engine::user
