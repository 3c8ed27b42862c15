// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_WP_UNPOPULATED: anonymous pages that are not there yet can be protected, and stay so.
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kWpFault = USERFAULT_PAGEFAULT_FLAG_WP | USERFAULT_PAGEFAULT_FLAG_WRITE;

CONFORMANCE_TEST(FeatureWpUnpopulated, UnpopulatedPageCanBeProtected, "FEAT-13", Backings::kPrivate) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_UNPOPULATED});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  ASSERT_EQ(uffd.writeprotect(map.range(0, 1), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  Faulter faulter = expect_write_faults(uffd, map.page(0), kWpFault, 4);
  ASSERT_EQ(uffd.writeprotect(map.range(0, 1), 0), Succeeds());
  faulter.join();
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 4u);
  expect_writable(uffd, map.page(1));
}

// A read brings in the zero page; the protection is still there.
CONFORMANCE_TEST(FeatureWpUnpopulated, ProtectionOutlivesARead, "FEAT-13", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_UNPOPULATED});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  ASSERT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
  Faulter faulter = expect_write_faults(uffd, map.page(0), kWpFault, 4);
  ASSERT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  faulter.join();
}

CONFORMANCE_TEST(FeatureWpUnpopulated, WithoutItTheProtectionDoesNothing, "FEAT-13", Backings::kPrivate) {
  ctx.require(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  ASSERT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  expect_writable(uffd, map.page(0));
}

}  // namespace
}  // namespace userfault::conformance
