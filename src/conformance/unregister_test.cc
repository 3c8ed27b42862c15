// SPDX-License-Identifier: Apache-2.0
// UFFDIO_UNREGISTER.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "support/test.h"

namespace userfault::conformance {
namespace {

CONFORMANCE_TEST(Unregister, EndsTracking, "UNREG-01", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(map.page_size(), 1);
  EXPECT_EQ(uffd.copy(map.range(0, 1), source.data()), Done(map.page_size()));
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  // What was filled stays; what was not is memory like any other.
  expect_pattern(map.page(0), map.page_size(), 1);
  EXPECT_EQ(expect_readable(uffd, map.page(1)), 0u);
  expect_zero(map.page(1), map.page_size());
  expect_writable(uffd, map.page(1), 4);
}

CONFORMANCE_TEST(Unregister, WakesWhoWaits, "UNREG-01", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter reader = expect_read_faults(uffd, map.page(0));
  Faulter writer = expect_write_faults(uffd, map.page(1), kFaultWrite, 6);
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  EXPECT_EQ(reader.join().value, 0u);
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.page(1)).value, 6u);
  uffd.expect_no_message();
}

CONFORMANCE_TEST(Unregister, PartOfTheRange, "UNREG-01", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter before = expect_read_faults(uffd, map.page(0));
  Faulter inside = expect_read_faults(uffd, map.page(1));
  Faulter after = expect_read_faults(uffd, map.page(2));
  EXPECT_EQ(uffd.unregister(map.range(1, 1)), Succeeds());
  EXPECT_EQ(inside.join().value, 0u);
  before.expect_waiting();
  after.expect_waiting();
  uffd.expect_no_message();
  uffd.fill_with_zeros(map.range(0, 1));
  uffd.fill_with_zeros(map.range(2, 1));
  EXPECT_EQ(before.join().value, 0u);
  EXPECT_EQ(after.join().value, 0u);
}

CONFORMANCE_TEST(Unregister, LiftsWriteProtection, "UNREG-01 WP-02", Backings::kAll) {
  require_modes(ctx, kWp);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  fill_pattern(map.page(0), map.page_size(), 2);
  uffd.must_register(map.all(), kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  expect_pattern(map.page(0), map.page_size(), 2);
  expect_writable(uffd, map.page(0), 3);
  // Registering again does not bring it back.
  uffd.must_register(map.all(), kWp);
  expect_writable(uffd, map.page(0), 4);
}

// Linux wakes only where missing pages are tracked: a writer on a protected page, or a reader of a
// cached one, sleeps on until somebody WAKEs the range, though nothing tracks it any more. A stand-in
// may wake them by itself, which nobody can tell from a WAKE that came early.
CONFORMANCE_TEST(Unregister, WritersWhoWait, "UNREG-01 REAL-52", Backings::kAll) {
  require_modes(ctx, kWp);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  fill_pattern(map.page(0), map.page_size(), 2);
  uffd.must_register(map.all(), kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite | kFaultWp, 3);
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  if (!ctx.stand_in) writer.expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.page(0)).value, 3u);
}

CONFORMANCE_TEST(Unregister, MinorFaultsThatWait, "UNREG-01 REAL-52", Backings::kShared) {
  require_modes(ctx, kMinor);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  fill_pattern(map.alias(0), map.page_size(), 2);
  uffd.must_register(map.all(), kMinor);
  Faulter reader = expect_read_faults(uffd, map.page(0), kFaultMinor);
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  if (!ctx.stand_in) reader.expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  EXPECT_EQ(reader.join().value, pattern_word(2, 0));
}

CONFORMANCE_TEST(Unregister, MinorTracking, "UNREG-01", Backings::kShared) {
  require_modes(ctx, kMinor);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  fill_pattern(map.alias(0), map.page_size(), 2);
  uffd.must_register(map.all(), kMinor);
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  EXPECT_EQ(expect_readable(uffd, map.page(0)), pattern_word(2, 0));
  expect_pattern(map.page(0), map.page_size(), 2);
}

CONFORMANCE_TEST(Unregister, NotRegisteredIsFine, "REAL-07", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  uffd.must_register(map.range(1, 1), kMissing);
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  EXPECT_EQ(expect_readable(uffd, map.page(1)), 0u);
}

CONFORMANCE_TEST(Unregister, HolesAreFineAsLongAsSomethingIsMapped, "REAL-07 UNREG-02", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  ASSERT_EQ(userfault_munmap(map.page(1), map.page_size()), 0);
  EXPECT_EQ(uffd.unregister(map.range(1, 1)), Fails(EINVAL));
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
  EXPECT_EQ(expect_readable(uffd, map.page(2)), 0u);
}

CONFORMANCE_TEST(Unregister, IncompatibleMapping, "UNREG-02", Backings::kSmall) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(userfault_mmap(map.page(1), map.page_size(), PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0), map.page(1));
  ::close(fd);
  EXPECT_EQ(uffd.unregister(map.range(1, 1)), Fails(EINVAL));
  EXPECT_EQ(uffd.unregister(map.all()), Fails(EINVAL));
  // The rest is tracked as before.
  Faulter faulter = expect_read_faults(uffd, map.page(2));
  uffd.fill_with_zeros(map.range(2, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(Unregister, AnotherDescriptorsRange, "UNREG-02 REAL-06", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd owner(ctx);
  Uffd other(ctx);
  owner.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(owner, map.page(0));
  EXPECT_EQ(other.unregister(map.all()), Fails(EINVAL));
  faulter.expect_waiting();
  owner.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance
