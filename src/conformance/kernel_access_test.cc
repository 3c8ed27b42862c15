// SPDX-License-Identifier: Apache-2.0
// Accesses that the kernel makes for a system call: read(2) into a missing page, write(2) from one.
#include <unistd.h>

#include <cstring>

#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;

struct Pipe {
  Pipe() {
    if (::pipe(ends) != 0 || ::write(ends[1], "12345678", 8) != 8) throw Broken("pipe");
  }
  int ends[2];
};

CONFORMANCE_TEST(KernelAccess, UserModeOnlyMakesItEfault, "REAL-19 FD-01", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.flags = USERFAULT_USER_MODE_ONLY});
  uffd.must_register(map.all(), kMissing);
  Pipe pipe;
  EXPECT_EQ(::read(pipe.ends[0], map.page(0), 8), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(::write(pipe.ends[1], map.page(0), 8), -1);
  EXPECT_EQ(errno, EFAULT);
  uffd.expect_no_message();
  // Once the page is there the call works.
  uffd.fill_with_zeros(map.all());
  Pipe second;
  EXPECT_EQ(::read(second.ends[0], map.page(0), 8), 8);
  EXPECT_EQ(std::memcmp(map.page(0), "12345678", 8), 0);
}

CONFORMANCE_TEST(KernelAccess, WithoutItTheCallWaitsForThePage, "REAL-19", Backings::kAll) {
  if (!ctx.kernel_faults) GTEST_SKIP() << "accesses made by the kernel raise no messages here: they give EFAULT";
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Pipe pipe;
  Task reader([&] { EXPECT_EQ(::read(pipe.ends[0], map.page(0), 8), 8); });
  uffd.expect_fault(map.page(0), USERFAULT_PAGEFAULT_FLAG_WRITE);
  uffd.fill_with_zeros(map.all());
  reader.join();
  EXPECT_EQ(std::memcmp(map.page(0), "12345678", 8), 0);
}

// Registered again without the mode, what was write-protected before stops neither a store nor a system call.
CONFORMANCE_TEST(KernelAccess, AProtectionWithoutItsModeStopsNoCall, "REAL-19 REAL-54", Backings::kPrivate) {
  if (!ctx.kernel_faults) GTEST_SKIP() << "system calls are not repaired here: the first one gives EFAULT";
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  *map.page(0) = 1;
  ASSERT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  uffd.must_register(map.all(), kMissing);
  Pipe pipe;
  EXPECT_EQ(::read(pipe.ends[0], map.page(0), 8), 8);
  EXPECT_EQ(std::memcmp(map.page(0), "12345678", 8), 0);
  uffd.expect_no_message();
}

}  // namespace
}  // namespace userfault::conformance
