// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_EVENT_REMOVE and UFFD_EVENT_REMOVE: madvise(2) drops pages.
#include <sys/mman.h>

#include <cerrno>

#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kRemove = USERFAULT_FEATURE_EVENT_REMOVE;
constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;

Task advise_in_thread(const Mapping& map, std::size_t first, std::size_t count, int advice) {
  return Task([&map, first, count, advice] {
    EXPECT_EQ(userfault_madvise(map.page(first), count * map.page_size(), advice), 0);
  });
}

CONFORMANCE_TEST(EventRemove, DontneedTellsTheRange, "FEAT-03 MSG-04", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx, {.features = kRemove});
  uffd.must_register(map.all(), kMissing);
  Task advising = advise_in_thread(map, 1, 2, MADV_DONTNEED);
  advising.expect_waiting_for_reader();
  expect_removed(uffd, map.range(1, 2));
  advising.join();
  uffd.expect_no_message();
}

CONFORMANCE_TEST(EventRemove, RemoveTellsTheRange, "FEAT-03", Backings::kShared) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = kRemove});
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 1, 5);
  Task advising = advise_in_thread(map, 1, 1, MADV_REMOVE);
  expect_removed(uffd, map.range(1, 1));
  advising.join();
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

// One registration over two mappings: each of them has its event.
CONFORMANCE_TEST(EventRemove, TellsOfEachMapping, "FEAT-03", Backings::kShmem) {
  Mapping map(ctx, 4);
  ASSERT_NE(userfault_mmap(map.page(2), 2 * map.page_size(), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  Uffd uffd(ctx, {.features = kRemove});
  uffd.must_register(map.all(), kMissing);
  Task advising = advise_in_thread(map, 1, 2, MADV_DONTNEED);
  expect_removed(uffd, map.range(1, 1));
  expect_removed(uffd, map.range(2, 1));
  advising.join();
  uffd.expect_no_message();
}

// Private pages that were dropped are missing again.
// A mapping that could be written is enough since Linux 6.7; before it had to be writable now.
CONFORMANCE_TEST(EventRemove, RemoveOfWhatIsReadOnlyNow, "FEAT-03", Backings::kShmem) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 5);
  ASSERT_EQ(userfault_mprotect(map.page(0), map.size(), PROT_READ), 0);
  const int removed = userfault_madvise(map.page(0), map.size(), MADV_REMOVE);
  if (removed != 0 && errno == EACCES) GTEST_SKIP() << "this kernel is older than Linux 6.7";
  ASSERT_EQ(removed, 0);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(EventRemove, DroppedPageFaultsAgain, "FEAT-03", Backings::kPrivate | Backings::kHugetlbPrivate) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kRemove});
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 5);
  fill_page(uffd, map, 1, 6);
  Task advising = advise_in_thread(map, 0, 1, MADV_DONTNEED);
  expect_removed(uffd, map.range(0, 1));
  advising.join();
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  fill_page(uffd, map, 0, 7);
  faulter.join();
  expect_pattern(map.page(0), map.page_size(), 7);
  expect_pattern(map.page(1), map.page_size(), 6);
}

CONFORMANCE_TEST(EventRemove, ArrivesBeforeThePagesGo, "REAL-10", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kRemove});
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 5);
  Task advising = advise_in_thread(map, 0, 1, MADV_DONTNEED);
  advising.expect_waiting_for_reader();
  expect_pattern(map.page(0), map.page_size(), 5);
  expect_removed(uffd, map.all());
  advising.join();
}

CONFORMANCE_TEST(EventRemove, WithoutItNothingIsToldAndThePageIsMissing, "FEAT-03",
                 Backings::kPrivate | Backings::kHugetlbPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 5);
  ASSERT_EQ(userfault_madvise(map.page(0), map.size(), MADV_DONTNEED), 0);
  uffd.expect_no_message();
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

// What fills or protects would race with the pages that go; waking and registering would not.
CONFORMANCE_TEST(EventRemove, OperationsTryAgainWhileItIsUnread, "REAL-09 GEN-05", Backings::kAll) {
  ctx.require(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP);
  Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = kRemove});
  uffd.must_register(map.all(), kMissing | USERFAULT_REGISTER_MODE_WP);
  const auto source = pattern(map.page_size(), 5);
  Task advising = advise_in_thread(map, 0, 1, MADV_DONTNEED);
  advising.expect_waiting_for_reader();
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Fails(EAGAIN, -EAGAIN));
  if (!is_hugetlb(ctx.backing)) {
    EXPECT_EQ(uffd.zeropage(map.range(1, 1)), Fails(EAGAIN, -EAGAIN));
  }
  EXPECT_EQ(uffd.writeprotect(map.range(1, 1), USERFAULT_WRITEPROTECT_MODE_WP), Fails(EAGAIN));
  EXPECT_EQ(uffd.wake(map.range(1, 1)), Succeeds());
  EXPECT_EQ(uffd.register_range(map.range(1, 1), kMissing).result, 0);
  expect_removed(uffd, map.range(0, 1));
  // It ends when the thread that raised the event has run again, and with that for certain.
  advising.join();
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Done(map.page_size()));
}

// MADV_REMOVE is for what is shared; of shared huge pages it takes poison along.
CONFORMANCE_TEST(EventRemove, HugePages, "FEAT-03 POIS-01", Backings::kHugetlb) {
  ctx.require(USERFAULT_FEATURE_POISON);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  ASSERT_EQ(uffd.poison(map.all()), Done(map.size()));
  const int removed = userfault_madvise(map.page(0), map.size(), MADV_REMOVE);
  if (ctx.backing == Backing::kHugetlbPrivate) {
    EXPECT_EQ(removed, -1);
    EXPECT_EQ(errno, EACCES);
    return;
  }
  ASSERT_EQ(removed, 0);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance
