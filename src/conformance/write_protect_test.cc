// SPDX-License-Identifier: Apache-2.0
// UFFDIO_WRITEPROTECT.
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kProtect = USERFAULT_WRITEPROTECT_MODE_WP;
constexpr std::uint64_t kDontWake = USERFAULT_WRITEPROTECT_MODE_DONTWAKE;

// Two pages of pattern 1, registered for write protection.
struct Tracked {
  explicit Tracked(const Context& ctx, const Setup& setup = {}, std::size_t pages = 2)
      : map((require_modes(ctx, kWp), ctx), pages), uffd(ctx, setup) {
    fill_pattern(map.page(0), map.size(), 1);
    uffd.must_register(map.all(), kWp);
  }
  Mapping map;
  Uffd uffd;
};

// A write waits for the protection of its page to be lifted, and goes on then.
void expect_protected(const Uffd& uffd, const Mapping& map, std::size_t page, std::uint64_t value) {
  Faulter writer = expect_write_faults(uffd, map.page(page), kFaultWrite | kFaultWp, value);
  EXPECT_EQ(uffd.writeprotect(map.range(page, 1), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
}

CONFORMANCE_TEST(WriteProtect, WritesFaultAndReadsGoOn, "WP-01 MSG-03", Backings::kAll) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.range(0, 1), kProtect), Succeeds());
  expect_pattern(t.map.page(0), t.map.size(), 1);
  t.uffd.expect_no_message();
  expect_writable(t.uffd, t.map.page(1), 2);
  Faulter writer = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite | kFaultWp, 3);
  writer.expect_waiting();
  EXPECT_EQ(expect_readable(t.uffd, t.map.page(0)), pattern_word(1, 0));
  EXPECT_EQ(t.uffd.writeprotect(t.map.range(0, 1), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(t.map.page(0)).value, 3u);
}

CONFORMANCE_TEST(WriteProtect, LiftingWakesTheRangeOnly, "WP-02", Backings::kAll) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  Faulter first = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite | kFaultWp, 3);
  Faulter second = expect_write_faults(t.uffd, t.map.page(1), kFaultWrite | kFaultWp, 4);
  EXPECT_EQ(t.uffd.writeprotect(t.map.range(0, 1), 0), Succeeds());
  EXPECT_FALSE(first.join().sigbus);
  second.expect_waiting();
  t.uffd.expect_no_message();
  EXPECT_EQ(t.uffd.writeprotect(t.map.range(1, 1), 0), Succeeds());
  EXPECT_FALSE(second.join().sigbus);
  EXPECT_EQ(touch_read(t.map.page(1)).value, 4u);
}

CONFORMANCE_TEST(WriteProtect, LiftingWithDontWake, "WP-02 WAKE-01", Backings::kAll) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  Faulter writer = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite | kFaultWp, 3);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kDontWake), Succeeds());
  writer.expect_waiting();
  expect_writable(t.uffd, t.map.page(1), 5);
  writer.expect_waiting();
  EXPECT_EQ(t.uffd.wake(t.map.all()), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
}

CONFORMANCE_TEST(WriteProtect, WokenWhileProtectedFaultsAgain, "WP-01 WAKE-02", Backings::kAll) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  Faulter writer = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite | kFaultWp, 3);
  EXPECT_EQ(t.uffd.wake(t.map.all()), Succeeds());
  t.uffd.expect_fault(t.map.page(0), kFaultWrite | kFaultWp);
  writer.expect_waiting();
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
}

CONFORMANCE_TEST(WriteProtect, ProtectingAgainAndAgain, "WP-01 WP-02", Backings::kAll) {
  const Tracked t(ctx);
  for (std::uint64_t round = 1; round <= 3; ++round) {
    EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
    EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
    Faulter writer = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite | kFaultWp, round);
    EXPECT_EQ(t.uffd.writeprotect(t.map.all(), 0), Succeeds());
    EXPECT_FALSE(writer.join().sigbus);
    EXPECT_EQ(touch_read(t.map.page(0)).value, round);
    expect_writable(t.uffd, t.map.page(1), round);
  }
}

CONFORMANCE_TEST(WriteProtect, ModesThatExcludeEachOther, "WP-03 GEN-07", Backings::kAll) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect | kDontWake), Fails(EINVAL));
  for (std::uint64_t bit = 4; bit != 0; bit <<= 1) {
    EXPECT_EQ(t.uffd.writeprotect(t.map.all(), bit), Fails(EINVAL)) << "bit " << std::hex << bit;
    EXPECT_EQ(t.uffd.writeprotect(t.map.all(), bit | kProtect), Fails(EINVAL)) << "bit " << std::hex << bit;
  }
  expect_writable(t.uffd, t.map.page(0));
}

CONFORMANCE_TEST(WriteProtect, NotInWpMode, "WP-04", Backings::kAll) {
  require_modes(ctx, kMissing | kWp);
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  EXPECT_EQ(uffd.writeprotect(map.all(), kProtect), Fails(ENOENT));
  uffd.must_register(map.range(0, 1), kMissing);
  EXPECT_EQ(uffd.writeprotect(map.range(0, 1), kProtect), Fails(ENOENT));
  EXPECT_EQ(uffd.writeprotect(map.range(0, 1), 0), Fails(ENOENT));
  ASSERT_EQ(userfault_munmap(map.page(2), map.page_size()), 0);
  EXPECT_EQ(uffd.writeprotect(map.range(2, 1), kProtect), Fails(ENOENT));
}

// The mappings of the range are taken one after the other: those before the one that fails have
// been protected.
CONFORMANCE_TEST(WriteProtect, StopsAtAMappingThatIsNotInWpMode, "WP-04 REAL-57", Backings::kAll) {
  require_modes(ctx, kMissing | kWp);
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  fill_pattern(map.page(0), map.size(), 1);
  uffd.must_register(map.range(0, 1), kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), kProtect), Fails(ENOENT));
  expect_writable(uffd, map.page(1), 2);
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite | kFaultWp, 3);
  EXPECT_EQ(uffd.writeprotect(map.range(0, 1), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
}

CONFORMANCE_TEST(WriteProtect, SpansMappingsAndHoles, "WP-01 REAL-57", Backings::kAll) {
  const Tracked t(ctx, {}, 4);
  ASSERT_EQ(userfault_mprotect(t.map.page(1), t.map.page_size(), PROT_READ), 0);
  ASSERT_EQ(userfault_munmap(t.map.page(2), t.map.page_size()), 0);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  for (const std::size_t page : {0u, 3u}) {
    Faulter writer = expect_write_faults(t.uffd, t.map.page(page), kFaultWrite | kFaultWp, 3);
    EXPECT_EQ(t.uffd.writeprotect(t.map.range(page, 1), 0), Succeeds());
    EXPECT_FALSE(writer.join().sigbus);
  }
}

CONFORMANCE_TEST(WriteProtect, LessThanAHugePage, "GEN-06 WP-04", Backings::kHugetlb) {
  const Tracked t(ctx);
  const Range all = t.map.all();
  EXPECT_EQ(t.uffd.writeprotect({all.start, 4096}, kProtect), Fails(EINVAL));
  EXPECT_EQ(t.uffd.writeprotect({all.start + 4096, all.length - 4096}, kProtect), Fails(EINVAL));
  expect_writable(t.uffd, t.map.page(0));
}

// Private anonymous memory has no page there to protect, unless WP_UNPOPULATED was asked for.
CONFORMANCE_TEST(WriteProtect, UnpopulatedAnonymousPage, "REAL-16", Backings::kPrivate) {
  require_modes(ctx, kWp);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), kProtect), Succeeds());
  expect_writable(uffd, map.page(0), 3);
}

CONFORMANCE_TEST(WriteProtect, UnpopulatedWithTheFeature, "REAL-16 FEAT-13", Backings::kPrivate) {
  require_modes(ctx, kWp);
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_UNPOPULATED});
  uffd.must_register(map.all(), kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), kProtect), Succeeds());
  EXPECT_EQ(expect_readable(uffd, map.page(1)), 0u);
  for (const std::size_t page : {0u, 1u}) {
    Faulter writer = expect_write_faults(uffd, map.page(page), kFaultWrite | kFaultWp, 3);
    EXPECT_EQ(uffd.writeprotect(map.range(page, 1), 0), Succeeds());
    EXPECT_FALSE(writer.join().sigbus);
    EXPECT_EQ(touch_read(map.page(page)).value, 3u);
  }
}

// Shared memory and huge pages remember the protection without a page.
CONFORMANCE_TEST(WriteProtect, UnpopulatedFilePage, "WP-01 REAL-16", Backings::kShmem | Backings::kHugetlb) {
  require_modes(ctx, kWp);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), kProtect), Succeeds());
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite | kFaultWp, 3);
  EXPECT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.page(0)).value, 3u);
  expect_zero(map.page(0) + 8, map.page_size() - 8);
}

// The object has the page as soon as somebody waits to write to it, also when the mapping drops it.
CONFORMANCE_TEST(WriteProtect, AWaitingWriteHasMadeThePage, "REAL-16 COPY-04", Backings::kShared) {
  require_modes(ctx, kWp);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), kProtect), Succeeds());
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite | kFaultWp, 3);
  ASSERT_EQ(userfault_madvise(map.page(0), map.size(), MADV_DONTNEED), 0);
  const std::vector<std::uint64_t> source = pattern(map.page_size(), 2);
  EXPECT_EQ(uffd.copy(map.all(), source.data()), Fails(EEXIST, -EEXIST));
  EXPECT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.alias(0)).value, 3u);
}

// The protection belongs to the mapping: the other view of the same memory writes on.
CONFORMANCE_TEST(WriteProtect, OtherViewIsNotProtected, "WP-01", Backings::kShared) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  expect_writable(t.uffd, t.map.alias(0), 6);
  EXPECT_EQ(expect_readable(t.uffd, t.map.page(0)), 6u);
  Faulter writer = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite | kFaultWp, 7);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(t.map.alias(0)).value, 7u);
}

// A page that is dropped takes its protection along: what comes in its place can be written to.
CONFORMANCE_TEST(WriteProtect, GoesWithTheDroppedPage, "REAL-37", Backings::kPrivate) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  ASSERT_EQ(userfault_madvise(t.map.page(0), t.map.page_size(), MADV_DONTNEED), 0);
  expect_writable(t.uffd, t.map.page(0), 8);
  EXPECT_EQ(touch_read(t.map.page(0)).value, 8u);
  Faulter writer = expect_write_faults(t.uffd, t.map.page(1), kFaultWrite | kFaultWp, 7);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
}

// Shared memory keeps the page when one view drops it, and that view its protection.
CONFORMANCE_TEST(WriteProtect, StaysWhenAViewDropsThePage, "REAL-37 REAL-58", Backings::kShared) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  ASSERT_EQ(userfault_madvise(t.map.page(0), t.map.size(), MADV_DONTNEED), 0);
  EXPECT_EQ(expect_readable(t.uffd, t.map.page(1)), pattern_word(1, t.map.page_size() / 8));
  for (const std::size_t page : {0u, 1u}) expect_protected(t.uffd, t.map, page, 7);
}

// Of huge pages it outlives them, though the memory is private.
CONFORMANCE_TEST(WriteProtect, StaysWhenHugePagesAreDropped, "REAL-37", Backings::kHugetlbPrivate) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  ASSERT_EQ(userfault_madvise(t.map.page(0), t.map.size(), MADV_DONTNEED), 0);
  expect_protected(t.uffd, t.map, 1, 7);
  EXPECT_EQ(touch_read(t.map.page(1)).value, 7u);
}

// And of shared memory whose pages are taken out of the object.
CONFORMANCE_TEST(WriteProtect, StaysWhereAHoleIsPunched, "REAL-37 REAL-58", Backings::kShared) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  ASSERT_EQ(userfault_madvise(t.map.page(0), t.map.size(), MADV_REMOVE), 0);
  expect_protected(t.uffd, t.map, 0, 7);
  EXPECT_EQ(touch_read(t.map.page(0)).value, 7u);
  expect_zero(t.map.page(0) + 8, t.map.page_size() - 8);
}

// Where the mode is gone the mark means nothing, and the first access takes it away: the page can be filled by
// what goes over no mark.
CONFORMANCE_TEST(WriteProtect, GoesWithAnAccessWhereTheModeIsGone, "REAL-16 POIS-02", Backings::kSmall) {
  require_modes(ctx, kMissing | kWp);
  ctx.require(USERFAULT_FEATURE_POISON);
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_UNPOPULATED});
  uffd.must_register(map.all(), kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), kProtect), Succeeds());
  const Outcome again = uffd.register_range(map.all(), kMissing);
  if (again.error == EBUSY) GTEST_SKIP() << "this kernel takes no mode back (Linux 7.3)";
  ASSERT_EQ(again.result, 0);
  EXPECT_EQ(uffd.poison(map.all()), Fails(EEXIST, -EEXIST));
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  EXPECT_EQ(uffd.poison(map.all()), Done(map.page_size()));
  EXPECT_TRUE(faulter.join().sigbus);
}

// The program's own mprotect() and the tracking do not lift each other.
CONFORMANCE_TEST(WriteProtect, SurvivesMprotect, "WP-01", Backings::kAll) {
  const Tracked t(ctx);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), kProtect), Succeeds());
  ASSERT_EQ(userfault_mprotect(t.map.page(0), t.map.size(), PROT_READ), 0);
  ASSERT_EQ(userfault_mprotect(t.map.page(0), t.map.size(), PROT_READ | PROT_WRITE), 0);
  Faulter writer = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite | kFaultWp, 7);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
}

CONFORMANCE_TEST(WriteProtect, MissingComesBeforeProtection, "WP-01 REG-04 REAL-40", Backings::kAll) {
  require_modes(ctx, kMissing | kWp);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing | kWp);
  EXPECT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite, 7);
  // Lifting a protection that is not there does not fill the page; it wakes, and the thread faults
  // again.
  EXPECT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  uffd.expect_fault(map.page(0), kFaultWrite);
  uffd.fill_with_zeros(map.all());
  EXPECT_FALSE(writer.join().sigbus);
}

}  // namespace
}  // namespace userfault::conformance
