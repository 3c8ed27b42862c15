// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_SIGBUS: a signal in the faulting thread instead of a message.
#include <signal.h>
#include <unistd.h>

#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kSigbus = USERFAULT_FEATURE_SIGBUS;
constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;

CONFORMANCE_TEST(FeatureSigbus, FaultIsASignalAndNoMessage, "FEAT-07", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kSigbus});
  uffd.must_register(map.all(), kMissing);
  char* const place = map.page(1) + 40;
  for (const bool write : {false, true}) {
    const Touch touch = write ? touch_write(place, 1) : touch_read(place);
    EXPECT_TRUE(touch.sigbus);
    EXPECT_EQ(touch.code, BUS_ADRERR);
    EXPECT_EQ(touch.address, place);
  }
  uffd.expect_no_message();
}

// No monitor is needed: whoever gets the signal fills the page and tries again.
CONFORMANCE_TEST(FeatureSigbus, FilledPageIsFine, "FEAT-07", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kSigbus});
  uffd.must_register(map.all(), kMissing);
  EXPECT_TRUE(touch_read(map.page(0)).sigbus);
  fill_page(uffd, map, 0, 4);
  expect_pattern(map.page(0), map.page_size(), 4);
  EXPECT_TRUE(touch_read(map.page(1)).sigbus);
}

CONFORMANCE_TEST(FeatureSigbus, MinorFaultIsASignalToo, "FEAT-07", Backings::kShared) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kSigbus | (is_hugetlb(ctx.backing) ? USERFAULT_FEATURE_MINOR_HUGETLBFS
                                                                 : USERFAULT_FEATURE_MINOR_SHMEM)});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MINOR);
  fill_pattern(map.alias(0), map.page_size(), 5);
  EXPECT_TRUE(touch_read(map.page(0)).sigbus);
  EXPECT_EQ(uffd.map_cached(map.all()), Done(map.page_size()));
  expect_pattern(map.page(0), map.page_size(), 5);
  uffd.expect_no_message();
}

CONFORMANCE_TEST(FeatureSigbus, WriteProtectFaultIsASignalToo, "FEAT-07", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kSigbus | USERFAULT_FEATURE_PAGEFAULT_FLAG_WP});
  uffd.must_register(map.all(), kMissing | USERFAULT_REGISTER_MODE_WP);
  fill_page(uffd, map, 0, 5);
  ASSERT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  EXPECT_FALSE(touch_read(map.page(0)).sigbus);
  EXPECT_TRUE(touch_write(map.page(0), 1).sigbus);
  ASSERT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  EXPECT_FALSE(touch_write(map.page(0), 1).sigbus);
  uffd.expect_no_message();
}

// An access made inside the kernel cannot get a signal: the call fails.
CONFORMANCE_TEST(FeatureSigbus, SystemCallFailsWithEfault, "REAL-19 FEAT-07", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kSigbus});
  uffd.must_register(map.all(), kMissing);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "12345678", 8), 8);
  EXPECT_EQ(::read(ends[0], map.page(0), 8), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(::write(ends[1], map.page(0), 8), -1);
  EXPECT_EQ(errno, EFAULT);
  uffd.expect_no_message();
}

}  // namespace
}  // namespace userfault::conformance
