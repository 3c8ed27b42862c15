// SPDX-License-Identifier: Apache-2.0
// UFFDIO_MOVE.
#include <sys/mman.h>

#include <cerrno>

#include "support/process.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

// A registered destination and a source of as many pages, of pattern 1 + page number.
struct Pair {
  Pair(const Context& ctx, std::size_t pages) : to(ctx, pages), from(ctx, pages), uffd(ctx) {
    ctx.require(USERFAULT_FEATURE_MOVE);
    for (std::size_t page = 0; page < pages; ++page) fill_pattern(from.page(page), from.page_size(), page + 1);
    uffd.must_register(to.all(), kMissing);
  }
  Mapping to;
  Mapping from;
  Uffd uffd;
};

CONFORMANCE_TEST(Move, MovesWholePagesAndNothingElse, "MOVE-01 GEN-04 REAL-29", Backings::kPrivate) {
  const Pair t(ctx, 4);
  const std::size_t page_size = t.to.page_size();
  EXPECT_EQ(t.uffd.move(t.to.range(1, 2), t.from.page(1)), Done(2 * page_size));
  expect_pattern(t.to.page(1), page_size, 2);
  expect_pattern(t.to.page(2), page_size, 3);
  // Moved, not copied: the source is empty there and only there.
  expect_zero(t.from.page(1), 2 * page_size);
  expect_pattern(t.from.page(0), page_size, 1);
  expect_pattern(t.from.page(3), page_size, 4);
  expect_writable(t.uffd, t.to.page(1), 5);
  for (const std::size_t neighbour : {0u, 3u}) {
    Faulter faulter = expect_read_faults(t.uffd, t.to.page(neighbour));
    t.uffd.fill_with_zeros(t.to.range(neighbour, 1));
    EXPECT_EQ(faulter.join().value, 0u);
  }
}

CONFORMANCE_TEST(Move, WakesTheRangeOnly, "MOVE-01", Backings::kPrivate) {
  const Pair t(ctx, 3);
  Faulter reader = expect_read_faults(t.uffd, t.to.page(0));
  Faulter writer = expect_write_faults(t.uffd, t.to.page(1), kFaultWrite, 5);
  Faulter outside = expect_read_faults(t.uffd, t.to.page(2));
  EXPECT_EQ(t.uffd.move(t.to.range(0, 2), t.from.page(0)), Done(2 * t.to.page_size()));
  EXPECT_EQ(reader.join().value, pattern_word(1, 0));
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(t.to.page(1)).value, 5u);
  outside.expect_waiting();
  t.uffd.expect_no_message();
  EXPECT_EQ(t.uffd.move(t.to.range(2, 1), t.from.page(2), USERFAULT_MOVE_MODE_DONTWAKE), Done(t.to.page_size()));
  outside.expect_waiting();
  EXPECT_EQ(t.uffd.wake(t.to.all()), Succeeds());
  EXPECT_EQ(outside.join().value, pattern_word(3, 0));
}

CONFORMANCE_TEST(Move, HoleInTheSource, "MOVE-01 REAL-29", Backings::kPrivate) {
  const Pair t(ctx, 3);
  ASSERT_EQ(userfault_madvise(t.from.page(1), t.from.page_size(), MADV_DONTNEED), 0);
  EXPECT_EQ(t.uffd.move(t.to.range(1, 1), t.from.page(1)), Fails(ENOENT, -ENOENT));
  EXPECT_EQ(t.uffd.move(t.to.all(), t.from.page(0)), Fails(EAGAIN, static_cast<std::int64_t>(t.to.page_size())));
  expect_pattern(t.to.page(0), t.to.page_size(), 1);
  expect_pattern(t.from.page(2), t.from.page_size(), 3);
}

// A hole that is allowed counts as moved, and leaves a page that is missing.
CONFORMANCE_TEST(Move, HoleThatIsAllowed, "MOVE-01 REAL-29", Backings::kPrivate) {
  const Pair t(ctx, 3);
  ASSERT_EQ(userfault_madvise(t.from.page(1), t.from.page_size(), MADV_DONTNEED), 0);
  EXPECT_EQ(t.uffd.move(t.to.all(), t.from.page(0), USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES), Done(t.to.size()));
  expect_pattern(t.to.page(0), t.to.page_size(), 1);
  expect_pattern(t.to.page(2), t.to.page_size(), 3);
  Faulter faulter = expect_read_faults(t.uffd, t.to.page(1));
  t.uffd.fill_with_zeros(t.to.range(1, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(Move, DestinationPresent, "MOVE-01 REAL-29 REAL-12 GEN-05", Backings::kPrivate) {
  const Pair t(ctx, 4);
  const auto old = pattern(t.to.page_size(), 9);
  EXPECT_EQ(t.uffd.copy(t.to.range(2, 1), old.data()), Done(t.to.page_size()));
  EXPECT_EQ(t.uffd.move(t.to.range(2, 2), t.from.page(2)), Fails(EEXIST, -EEXIST));
  EXPECT_EQ(t.uffd.move(t.to.all(), t.from.page(0)), Fails(EAGAIN, static_cast<std::int64_t>(2 * t.to.page_size())));
  expect_pattern(t.to.page(0), t.to.page_size(), 1);
  expect_pattern(t.to.page(1), t.to.page_size(), 2);
  expect_pattern(t.to.page(2), t.to.page_size(), 9);
  // What did not move is still in the source.
  expect_pattern(t.from.page(2), t.from.page_size(), 3);
  expect_pattern(t.from.page(3), t.from.page_size(), 4);
}

// The zero page that a read maps is a page as well.
CONFORMANCE_TEST(Move, PageOfZeros, "MOVE-01", Backings::kPrivate) {
  const Pair t(ctx, 1);
  ASSERT_EQ(userfault_madvise(t.from.page(0), t.from.page_size(), MADV_DONTNEED), 0);
  EXPECT_EQ(touch_read(t.from.page(0)).value, 0u);
  EXPECT_EQ(t.uffd.move(t.to.all(), t.from.page(0)), Done(t.to.page_size()));
  EXPECT_EQ(expect_readable(t.uffd, t.to.page(0)), 0u);
  expect_zero(t.to.page(0), t.to.page_size());
}

CONFORMANCE_TEST(Move, DestinationOfAnotherOrNone, "MOVE-01 REAL-33 REAL-56", Backings::kPrivate) {
  const Pair t(ctx, 2);
  const Mapping plain(ctx, 1);
  EXPECT_EQ(t.uffd.move(plain.all(), t.from.page(0)), Fails(EINVAL, -EINVAL));
  const Uffd other(ctx);
  EXPECT_EQ(other.move(t.to.range(0, 1), t.from.page(0)), Fails(EINVAL, -EINVAL));
  expect_pattern(t.from.page(0), t.from.page_size(), 1);
}

CONFORMANCE_TEST(Move, AddressesThatAreNotMapped, "MOVE-01 GEN-09 REAL-56", Backings::kPrivate) {
  const Pair t(ctx, 4);
  ASSERT_EQ(userfault_munmap(t.from.page(1), t.from.page_size()), 0);
  EXPECT_EQ(t.uffd.move(t.to.range(0, 1), t.from.page(1)), Fails(ENOENT, -ENOENT));
  ASSERT_EQ(userfault_munmap(t.to.page(2), t.to.page_size()), 0);
  EXPECT_EQ(t.uffd.move(t.to.range(2, 1), t.from.page(2)), Fails(ENOENT, -ENOENT));
  // Both ends must lie within one mapping.
  EXPECT_EQ(t.uffd.move(t.to.range(0, 2), t.from.page(0)), Fails(EINVAL, -EINVAL));
  EXPECT_EQ(t.uffd.move(t.to.range(1, 2), t.from.page(2)), Fails(EINVAL, -EINVAL));
  expect_pattern(t.from.page(0), t.from.page_size(), 1);
  expect_pattern(t.from.page(2), t.from.page_size(), 3);
}

CONFORMANCE_TEST(Move, BadSource, "GEN-06 MOVE-01", Backings::kPrivate) {
  const Pair t(ctx, 2);
  EXPECT_EQ(t.uffd.move(t.to.range(0, 1), t.from.page(0) + 1), Fails(EINVAL));
  EXPECT_EQ(t.uffd.move(t.to.range(0, 1), reinterpret_cast<void*>(~std::uintptr_t{0} - 4095)), Fails(EINVAL));
}

CONFORMANCE_TEST(Move, ProtectionsMustAgree, "MOVE-01 REAL-33", Backings::kPrivate) {
  const Pair t(ctx, 1);
  ASSERT_EQ(userfault_mprotect(t.from.page(0), t.from.size(), PROT_READ), 0);
  EXPECT_EQ(t.uffd.move(t.to.all(), t.from.page(0)), Fails(EINVAL, -EINVAL));
  ASSERT_EQ(userfault_mprotect(t.to.page(0), t.to.size(), PROT_READ), 0);
  EXPECT_EQ(t.uffd.move(t.to.all(), t.from.page(0)), Fails(EINVAL, -EINVAL));
  expect_pattern(t.from.page(0), t.from.page_size(), 1);
}

// Memory of which a part was registered once is one mapping again.
CONFORMANCE_TEST(Move, SourceThatWasPartlyRegistered, "MOVE-01 UNREG-01", Backings::kPrivate) {
  const Pair t(ctx, 3);
  t.uffd.must_register(t.from.range(1, 2), kMissing);
  ASSERT_EQ(t.uffd.unregister(t.from.range(1, 2)), Succeeds());
  EXPECT_EQ(t.uffd.move(t.to.all(), t.from.page(0)), Done(t.to.size()));
  for (std::size_t page = 0; page < 3; ++page) expect_pattern(t.to.page(page), t.to.page_size(), page + 1);
  expect_zero(t.from.page(0), t.from.size());
}

// What poison and a protection without a page leave in the page table is no hole, so that
// ALLOW_SRC_HOLES does not help.
CONFORMANCE_TEST(Move, MarkersInTheSource, "MOVE-01 POIS-01 WP-01", Backings::kPrivate) {
  ctx.require(USERFAULT_FEATURE_MOVE | USERFAULT_FEATURE_POISON);
  Mapping to(ctx, 1);
  Mapping from(ctx, 2);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_UNPOPULATED});
  uffd.must_register(to.all(), kMissing);
  uffd.must_register(from.all(), USERFAULT_REGISTER_MODE_WP);
  ASSERT_EQ(uffd.poison(from.range(0, 1)), Done(from.page_size()));
  ASSERT_EQ(uffd.writeprotect(from.range(1, 1), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  for (const std::size_t page : {0u, 1u})
    for (const std::uint64_t mode : {std::uint64_t{0}, std::uint64_t{USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES}})
      EXPECT_EQ(uffd.move(to.all(), from.page(page), mode), Fails(EFAULT, -EFAULT));
  EXPECT_TRUE(touch_read(from.page(0)).sigbus);
}

// A page that a forked child still has cannot be taken away from it.
CONFORMANCE_TEST(Move, PageSharedWithAChild, "MOVE-01 REAL-56", Backings::kPrivate) {
  const Pair t(ctx, 1);
  ChildProcess child([&](int socket) {
    receive_byte(socket);
    expect_pattern(t.from.page(0), t.from.page_size(), 1);
  });
  EXPECT_EQ(t.uffd.move(t.to.all(), t.from.page(0)), Fails(EBUSY, -EBUSY));
  send_byte(child.socket());
  child.join();
  expect_pattern(t.from.page(0), t.from.page_size(), 1);
}

// Listed for shared memory, and refused there; on huge pages not even listed.
CONFORMANCE_TEST(Move, NotOnOtherMemory, "MOVE-01 REAL-29 REAL-33", Backings::kShmem | Backings::kHugetlb) {
  ctx.require(USERFAULT_FEATURE_MOVE);
  Mapping to(ctx, 1);
  Mapping from(ctx, 1);
  Uffd uffd(ctx);
  fill_pattern(from.page(0), from.page_size(), 1);
  const Outcome registered = uffd.register_range(to.all(), kMissing);
  EXPECT_EQ((registered.output >> USERFAULT_NR_MOVE & 1) != 0, is_shmem(ctx.backing));
  EXPECT_EQ(uffd.move(to.all(), from.page(0)), Fails(EINVAL, -EINVAL));
  expect_pattern(from.page(0), from.page_size(), 1);
  Faulter faulter = expect_read_faults(uffd, to.page(0));
  uffd.fill_with_zeros(to.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance
