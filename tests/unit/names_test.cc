// SPDX-License-Identifier: Apache-2.0
// The table of names covers every bit exactly once, in order: a feature that is added to abi.h and
// forgotten here fails.
#include <gtest/gtest.h>

#include <bit>
#include <string>

#include "abi/names.h"
#include "userfault/abi.h"

namespace userfault {
namespace {

TEST(Names, FeaturesAreBitsZeroToSixteenInOrder) {
  std::uint64_t expected = 1;
  for (const abi::Name& feature : abi::features()) {
    EXPECT_EQ(feature.bit, expected) << feature.name;
    EXPECT_FALSE(std::string(feature.name).empty());
    EXPECT_GE(feature.since, (abi::Version{4, 11})) << feature.name;
    expected <<= 1;
  }
  EXPECT_EQ(expected - 1, USERFAULT_FEATURE_ALL);
}

TEST(Names, OperationsAndModesAreSingleBits) {
  std::uint64_t operations = 0;
  for (const abi::Name& operation : abi::operations()) {
    EXPECT_TRUE(std::has_single_bit(operation.bit)) << operation.name;
    operations |= operation.bit;
  }
  // What Linux 6.18 lists for a descriptor and for a range, and REGISTER's own rows.
  EXPECT_EQ(operations, 0x80000000000001ffu);
  std::uint64_t modes = 0;
  for (const abi::Name& mode : abi::modes()) modes |= mode.bit;
  EXPECT_EQ(modes, 7u);
}

}  // namespace
}  // namespace userfault
