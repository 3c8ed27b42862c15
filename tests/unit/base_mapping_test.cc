// SPDX-License-Identifier: Apache-2.0
// base::OwnedMapping.
#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

#include "base/mapping.h"
#include "base/page_size.h"

namespace userfault::base {
namespace {

// msync(2) gives ENOMEM for what is not mapped.
bool is_mapped(std::byte* data) { return ::msync(data, page_size(), MS_ASYNC) == 0; }

TEST(BaseMapping, OwnsNothingAtFirst) {
  const OwnedMapping mapping;
  EXPECT_FALSE(mapping.valid());
  EXPECT_EQ(mapping.data(), nullptr);
  EXPECT_EQ(mapping.length(), 0u);
}

TEST(BaseMapping, AnonymousMemoryIsZeroAndWritable) {
  const OwnedMapping mapping = OwnedMapping::anonymous(3 * page_size());
  ASSERT_TRUE(mapping.valid());
  EXPECT_EQ(mapping.length(), 3 * page_size());
  for (std::size_t i = 0; i < mapping.length(); i += 512) EXPECT_EQ(mapping.data()[i], std::byte{0});
  mapping.data()[mapping.length() - 1] = std::byte{7};
  EXPECT_EQ(mapping.data()[mapping.length() - 1], std::byte{7});
}

TEST(BaseMapping, TooMuchIsInvalidWithTheReason) {
  const OwnedMapping mapping = OwnedMapping::anonymous(SIZE_MAX / 2 & ~(page_size() - 1));
  EXPECT_FALSE(mapping.valid());
  EXPECT_EQ(errno, ENOMEM);
}

TEST(BaseMapping, UnmapsOnDestruction) {
  std::byte* data = nullptr;
  {
    const OwnedMapping mapping = OwnedMapping::anonymous(page_size());
    data = mapping.data();
    EXPECT_TRUE(is_mapped(data));
  }
  EXPECT_FALSE(is_mapped(data));
}

TEST(BaseMapping, MovingHandsOver) {
  OwnedMapping first = OwnedMapping::anonymous(page_size());
  std::byte* data = first.data();
  OwnedMapping second(std::move(first));
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): what is left behind is the point
  EXPECT_EQ(second.data(), data);

  OwnedMapping third = OwnedMapping::anonymous(page_size());
  std::byte* dropped = third.data();
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_FALSE(is_mapped(dropped));
  third.reset();
  EXPECT_FALSE(is_mapped(data));
  EXPECT_FALSE(third.valid());
}

}  // namespace
}  // namespace userfault::base
