// SPDX-License-Identifier: Apache-2.0
// What holds for a kind of memory as a whole.
#include <cerrno>

#include "support/test.h"

namespace userfault::conformance {
namespace {

// The pages list System V among the shared memory that FEATURE_MISSING_SHMEM is about. Linux does
// not take it in any mode (measured on 6.18), and the kernel is what counts.
CONFORMANCE_TEST(Backing, SystemVIsRefused, "FEAT-05 REG-09", Backings::kSystemV) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  for (const std::uint64_t mode :
       {USERFAULT_REGISTER_MODE_MISSING, USERFAULT_REGISTER_MODE_WP, USERFAULT_REGISTER_MODE_MINOR})
    EXPECT_EQ(uffd.register_range(map.all(), mode), Fails(EINVAL)) << "mode " << mode;
}

}  // namespace
}  // namespace userfault::conformance
