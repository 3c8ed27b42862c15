// SPDX-License-Identifier: Apache-2.0
// Read-write protection, announced for Linux 7.2 on the mailing list: until a kernel and a header
// have it, there is only its absence to show.
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kRwp = std::uint64_t{1} << 17;
constexpr std::uint64_t kRegisterModeRwp = std::uint64_t{1} << 3;

CONFORMANCE_TEST(FeatureRwp, WithoutTheFeatureItsModeIsInvalid, "REAL-30", Backings::kPrivate) {
  if (ctx.has(kRwp)) GTEST_SKIP() << "bit 17 is offered: this suite does not know Linux 7.2 yet";
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  EXPECT_EQ(uffd.register_range(map.all(), kRegisterModeRwp), Fails(EINVAL));
  Uffd asking(ctx, {.handshake = false});
  userfault_api api{USERFAULT_API, kRwp, 0};
  EXPECT_EQ(asking.raw(USERFAULT_IOC_API, &api), Fails(EINVAL));
  throw Skip("Linux 7.2: the features word lacks bit 17 (RWP)");
}

}  // namespace
}  // namespace userfault::conformance
