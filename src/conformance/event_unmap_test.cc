// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_EVENT_UNMAP and UFFD_EVENT_UNMAP: memory that goes, whichever call takes it.
#include <sys/mman.h>

#include <cerrno>

#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kUnmap = USERFAULT_FEATURE_EVENT_UNMAP;
constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;
constexpr int kMoveTo = MREMAP_MAYMOVE | MREMAP_FIXED;

CONFORMANCE_TEST(EventUnmap, MunmapTellsTheRange, "FEAT-06 MSG-04", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx, {.features = kUnmap});
  uffd.must_register(map.all(), kMissing);
  Task unmapping([&] { EXPECT_EQ(userfault_munmap(map.page(1), 2 * map.page_size()), 0); });
  unmapping.expect_waiting_for_reader();
  expect_unmapped(uffd, map.range(1, 2));
  unmapping.join();
  uffd.expect_no_message();
}

CONFORMANCE_TEST(EventUnmap, ArrivesAfterTheMemoryIsGone, "REAL-10", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kUnmap});
  uffd.must_register(map.all(), kMissing);
  Task unmapping([&] { EXPECT_EQ(userfault_munmap(map.page(0), map.size()), 0); });
  unmapping.expect_waiting_for_reader();
  EXPECT_TRUE(is_unmapped(map.page(0)));
  expect_unmapped(uffd, map.all());
  unmapping.join();
}

CONFORMANCE_TEST(EventUnmap, MappingOverItTellsTheRange, "FEAT-06", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = kUnmap});
  uffd.must_register(map.all(), kMissing);
  Task mapping([&] {
    EXPECT_EQ(userfault_mmap(map.page(1), map.page_size(), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
              map.page(1));
  });
  expect_unmapped(uffd, map.range(1, 1));
  mapping.join();
  EXPECT_EQ(expect_readable(uffd, map.page(1)), 0u);
}

CONFORMANCE_TEST(EventUnmap, ShrinkingTellsTheTail, "FEAT-06", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = kUnmap});
  uffd.must_register(map.all(), kMissing);
  Task shrinking(
      [&] { EXPECT_EQ(userfault_mremap(map.page(0), map.size(), map.page_size(), 0, nullptr), map.page(0)); });
  expect_unmapped(uffd, map.range(1, 2));
  shrinking.join();
}

CONFORMANCE_TEST(EventUnmap, MovingOverItTellsTheRange, "FEAT-06", Backings::kAll) {
  Mapping map(ctx, 2);
  Mapping other(ctx, 1);
  Uffd uffd(ctx, {.features = kUnmap});
  uffd.must_register(map.all(), kMissing);
  Task moving([&] {
    EXPECT_EQ(userfault_mremap(other.page(0), other.size(), other.size(), kMoveTo, map.page(0)), map.page(0));
  });
  expect_unmapped(uffd, map.range(0, 1));
  moving.join();
}

CONFORMANCE_TEST(EventUnmap, MemoryThatNobodyWatchesGoesUnnoticed, "FEAT-06", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kUnmap});
  uffd.must_register(map.range(1, 1), kMissing);
  ASSERT_EQ(userfault_munmap(map.page(0), map.page_size()), 0);
  uffd.expect_no_message();
}

// One event a call, with the call's range, also where only a part of it is registered (measured on
// Linux 6.18: userfaultfd_unmap_prep() is given the range of the whole munmap).
CONFORMANCE_TEST(EventUnmap, TellsTheCallsRangeOnce, "FEAT-06 REAL-47", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx, {.features = kUnmap});
  uffd.must_register(map.range(1, 2), kMissing);
  Task unmapping([&] { EXPECT_EQ(userfault_munmap(map.page(0), map.size()), 0); });
  expect_unmapped(uffd, map.all());
  unmapping.join();
  uffd.expect_no_message();
}

CONFORMANCE_TEST(EventUnmap, WithoutItNothingIsTold, "FEAT-06", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  ASSERT_EQ(userfault_munmap(map.page(0), map.page_size()), 0);
  uffd.expect_no_message();
  EXPECT_TRUE(is_unmapped(map.page(0)));
}

CONFORMANCE_TEST(EventUnmap, FaultingThreadGoesOnWithWhatWasMappedOverIt, "REAL-44 WAKE-01", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  ASSERT_EQ(
      userfault_mmap(map.page(0), map.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
      map.page(0));
  faulter.expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  EXPECT_EQ(faulter.join().value, 0u);
  uffd.expect_no_message();
}

// Half a huge page cannot be unmapped, and the refusal changes nothing.
CONFORMANCE_TEST(EventUnmap, PartOfAHugePage, "FEAT-06", Backings::kHugetlb) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kUnmap});
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(userfault_munmap(map.page(0), map.page_size() / 2), -1);
  EXPECT_EQ(errno, EINVAL);
  uffd.expect_no_message();
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance
