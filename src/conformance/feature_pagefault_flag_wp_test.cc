// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_PAGEFAULT_FLAG_WP: write-protect faults for anonymous memory.
#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kFeature = USERFAULT_FEATURE_PAGEFAULT_FLAG_WP;
constexpr std::uint64_t kWpFault = USERFAULT_PAGEFAULT_FLAG_WP | USERFAULT_PAGEFAULT_FLAG_WRITE;

CONFORMANCE_TEST(FeaturePagefaultFlagWp, WriteToAProtectedPageSaysSo, "FEAT-00", Backings::kPrivate) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kFeature});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP);
  fill_page(uffd, map, 0, 3);
  ASSERT_EQ(uffd.writeprotect(map.range(0, 1), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  expect_readable(uffd, map.page(0));
  Faulter faulter = expect_write_faults(uffd, map.page(0), kWpFault, 77);
  expect_pattern(map.page(0), map.page_size(), 3);
  ASSERT_EQ(uffd.writeprotect(map.range(0, 1), 0), Succeeds());
  faulter.join();
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 77u);
}

}  // namespace
}  // namespace userfault::conformance
