// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_WP_HUGETLBFS_SHMEM: write protection beyond private anonymous memory.
#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kFeature = USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM;
constexpr std::uint64_t kWpFault = USERFAULT_PAGEFAULT_FLAG_WP | USERFAULT_PAGEFAULT_FLAG_WRITE;

CONFORMANCE_TEST(FeatureWpHugetlbfsShmem, ProtectedPageFaultsOnWrite, "FEAT-12",
                 Backings::kShmem | Backings::kHugetlb) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kFeature});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP);
  fill_page(uffd, map, 1, 3);
  ASSERT_EQ(uffd.writeprotect(map.range(1, 1), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  EXPECT_EQ(expect_readable(uffd, map.page(1)), pattern_word(3, 0));
  Faulter faulter = expect_write_faults(uffd, map.page(1), kWpFault, 8);
  ASSERT_EQ(uffd.writeprotect(map.range(1, 1), 0), Succeeds());
  faulter.join();
  EXPECT_EQ(expect_readable(uffd, map.page(1)), 8u);
}

// The protection is this mapping's: the same page stays writable in another.
CONFORMANCE_TEST(FeatureWpHugetlbfsShmem, AnotherMappingStaysWritable, "FEAT-12", Backings::kShared) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kFeature});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  fill_pattern(map.page(0), map.page_size(), 3);
  ASSERT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  expect_writable(uffd, map.alias(0), 5);
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 5u);
}

}  // namespace
}  // namespace userfault::conformance
