// SPDX-License-Identifier: Apache-2.0
// UFFDIO_CONTINUE.
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "support/test.h"

namespace userfault::conformance {
namespace {

// `pages` pages, the first `cached` of which the memory holds (pattern 1 + page number) and this
// view has not mapped; registered for minor faults.
struct Cached {
  Cached(const Context& ctx, std::size_t pages, std::size_t cached, std::uint64_t modes = kMinor)
      : map((require_modes(ctx, modes), ctx), pages), uffd(ctx) {
    for (std::size_t page = 0; page < cached; ++page) fill_pattern(map.alias(page), map.page_size(), page + 1);
    uffd.must_register(map.all(), modes);
  }
  Mapping map;
  Uffd uffd;
};

CONFORMANCE_TEST(Continue, MapsWhatTheMemoryHas, "CONT-01 GEN-04", Backings::kShared) {
  const Cached t(ctx, 3, 3);
  EXPECT_EQ(t.uffd.map_cached(t.map.range(0, 2)), Done(2 * t.map.page_size()));
  for (const std::size_t page : {0u, 1u}) {
    EXPECT_EQ(expect_readable(t.uffd, t.map.page(page)), pattern_word(page + 1, 0));
    expect_pattern(t.map.page(page), t.map.page_size(), page + 1);
    expect_writable(t.uffd, t.map.page(page), 70 + page);
    EXPECT_EQ(touch_read(t.map.alias(page)).value, 70 + page);
  }
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(2), kFaultMinor);
  EXPECT_EQ(t.uffd.map_cached(t.map.range(2, 1)), Done(t.map.page_size()));
  EXPECT_EQ(faulter.join().value, pattern_word(3, 0));
}

CONFORMANCE_TEST(Continue, WakesEveryThreadInTheRangeOnly, "CONT-01", Backings::kShared) {
  const Cached t(ctx, 3, 3);
  Faulter reader = expect_read_faults(t.uffd, t.map.page(0), kFaultMinor);
  Faulter writer = expect_write_faults(t.uffd, t.map.page(1), kFaultMinor | kFaultWrite, 5);
  Faulter outside = expect_read_faults(t.uffd, t.map.page(2), kFaultMinor);
  EXPECT_EQ(t.uffd.map_cached(t.map.range(0, 2)), Done(2 * t.map.page_size()));
  EXPECT_EQ(reader.join().value, pattern_word(1, 0));
  EXPECT_FALSE(writer.join().sigbus);
  outside.expect_waiting();
  t.uffd.expect_no_message();
  EXPECT_EQ(t.uffd.map_cached(t.map.range(2, 1)), Done(t.map.page_size()));
  EXPECT_EQ(outside.join().value, pattern_word(3, 0));
}

CONFORMANCE_TEST(Continue, DontWakeLetsThemSleep, "CONT-01 WAKE-01", Backings::kShared) {
  const Cached t(ctx, 1, 1);
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(0), kFaultMinor);
  EXPECT_EQ(t.uffd.map_cached(t.map.all(), USERFAULT_CONTINUE_MODE_DONTWAKE), Done(t.map.page_size()));
  faulter.expect_waiting();
  EXPECT_EQ(t.uffd.wake(t.map.all()), Succeeds());
  EXPECT_EQ(faulter.join().value, pattern_word(1, 0));
}

CONFORMANCE_TEST(Continue, ShowsWhatTheOtherViewChanged, "CONT-05", Backings::kShared) {
  const Cached t(ctx, 1, 1);
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(0), kFaultMinor);
  fill_pattern(t.map.alias(0), t.map.page_size(), 50);
  faulter.expect_waiting();
  EXPECT_EQ(t.uffd.map_cached(t.map.all()), Done(t.map.page_size()));
  EXPECT_EQ(faulter.join().value, pattern_word(50, 0));
  expect_pattern(t.map.page(0), t.map.page_size(), 50);
}

CONFORMANCE_TEST(Continue, PageMapped, "CONT-02 REAL-12", Backings::kShared) {
  const Cached t(ctx, 4, 4);
  EXPECT_EQ(t.uffd.map_cached(t.map.range(2, 1)), Done(t.map.page_size()));
  EXPECT_EQ(t.uffd.map_cached(t.map.range(2, 1)), Fails(EEXIST, -EEXIST));
  EXPECT_EQ(t.uffd.map_cached(t.map.range(2, 2)), Fails(EEXIST, -EEXIST));
  EXPECT_EQ(t.uffd.map_cached(t.map.all()), Fails(EAGAIN, static_cast<std::int64_t>(2 * t.map.page_size())));
  for (const std::size_t page : {0u, 1u, 2u}) expect_pattern(t.map.page(page), t.map.page_size(), page + 1);
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(3), kFaultMinor);
  EXPECT_EQ(t.uffd.map_cached(t.map.range(3, 1)), Done(t.map.page_size()));
  EXPECT_EQ(faulter.join().value, pattern_word(4, 0));
}

// The same in a mode in which nobody tracks what is mapped.
CONFORMANCE_TEST(Continue, PageMappedWhereOnlyWritesAreWatched, "CONT-02", Backings::kShmem) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
  EXPECT_EQ(uffd.map_cached(map.all()), Fails(EEXIST, -EEXIST));
}

CONFORMANCE_TEST(Continue, NothingInTheMemory, "CONT-03", Backings::kShared) {
  const Cached t(ctx, 3, 2, kMinor | kMissing);
  EXPECT_EQ(t.uffd.map_cached(t.map.range(2, 1)), Fails(EFAULT, -EFAULT));
  EXPECT_EQ(t.uffd.map_cached(t.map.range(1, 2)), Fails(EAGAIN, static_cast<std::int64_t>(t.map.page_size())));
  // Nothing was put there: the page is missing, not minor.
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(2));
  EXPECT_EQ(t.uffd.map_cached(t.map.range(2, 1)), Fails(EFAULT, -EFAULT));
  faulter.expect_waiting();
  t.uffd.fill_with_zeros(t.map.range(2, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(Continue, ModeWpArrivesProtected, "CONT-01 WP-01", Backings::kShared) {
  const Cached t(ctx, 1, 1, kMinor | kWp);
  EXPECT_EQ(t.uffd.map_cached(t.map.all(), USERFAULT_CONTINUE_MODE_WP), Done(t.map.page_size()));
  EXPECT_EQ(expect_readable(t.uffd, t.map.page(0)), pattern_word(1, 0));
  Faulter writer = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite | kFaultWp, 5);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(t.map.alias(0)).value, 5u);
}

CONFORMANCE_TEST(Continue, ModeWpOnARangeWithoutIt, "CONT-01 REAL-17 REAL-33", Backings::kShared) {
  const Cached t(ctx, 1, 1);
  EXPECT_EQ(t.uffd.map_cached(t.map.all(), USERFAULT_CONTINUE_MODE_WP), Fails(EINVAL, -EINVAL));
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(0), kFaultMinor);
  EXPECT_EQ(t.uffd.map_cached(t.map.all()), Done(t.map.page_size()));
  EXPECT_EQ(faulter.join().value, pattern_word(1, 0));
}

CONFORMANCE_TEST(Continue, OnPrivateAnonymousMemory, "REAL-33", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(uffd.map_cached(map.all()), Fails(EINVAL, -EINVAL));
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(Continue, DestinationNotRegisteredOrNotMapped, "REAL-31 GEN-09", Backings::kShared) {
  require_modes(ctx, kMinor);
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  fill_pattern(map.alias(0), map.size(), 1);
  uffd.must_register(map.range(0, 1), kMinor);
  EXPECT_EQ(uffd.map_cached(map.range(1, 1)), Fails(ENOENT, -ENOENT));
  EXPECT_EQ(uffd.map_cached(map.range(0, 2)), Fails(ENOENT, -ENOENT));
  ASSERT_EQ(userfault_munmap(map.page(0), map.page_size()), 0);
  EXPECT_EQ(uffd.map_cached(map.range(0, 1)), Fails(ENOENT, -ENOENT));
}

CONFORMANCE_TEST(Continue, LessThanAHugePage, "GEN-06 REAL-33", Backings::kHugetlbShared) {
  const Cached t(ctx, 1, 1);
  const Range all = t.map.all();
  EXPECT_EQ(t.uffd.map_cached({all.start, 4096}), Fails(EINVAL, -EINVAL));
}

// A view that drops its page faults as minor again, not as missing: the memory still has it.
CONFORMANCE_TEST(Continue, DroppedPageIsMinorAgain, "CONT-01 REG-03", Backings::kShared) {
  const Cached t(ctx, 1, 1, kMinor | kMissing);
  EXPECT_EQ(t.uffd.map_cached(t.map.all()), Done(t.map.page_size()));
  ASSERT_EQ(userfault_madvise(t.map.page(0), t.map.size(), MADV_DONTNEED), 0);
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(0), kFaultMinor);
  EXPECT_EQ(t.uffd.map_cached(t.map.all()), Done(t.map.page_size()));
  EXPECT_EQ(faulter.join().value, pattern_word(1, 0));
  // And one that is taken out of the memory as missing.
  ASSERT_EQ(userfault_madvise(t.map.page(0), t.map.size(), MADV_REMOVE), 0);
  Faulter missing = expect_read_faults(t.uffd, t.map.page(0));
  t.uffd.fill_with_zeros(t.map.all());
  EXPECT_EQ(missing.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance
