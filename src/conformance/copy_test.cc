// SPDX-License-Identifier: Apache-2.0
// UFFDIO_COPY: what it fills and whom it wakes. How it fails: copy_errors_test.cc.
#include <sched.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "support/test.h"

namespace userfault::conformance {
namespace {

CONFORMANCE_TEST(Copy, FillsWholePagesAndNothingElse, "COPY-01 GEN-04", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(2 * map.page_size(), 7);
  EXPECT_EQ(uffd.copy(map.range(1, 2), source.data()), Done(2 * map.page_size()));
  expect_pattern(map.page(1), 2 * map.page_size(), 7);
  for (const std::size_t neighbour : {0u, 3u}) {
    Faulter faulter = expect_read_faults(uffd, map.page(neighbour));
    uffd.fill_with_zeros(map.range(neighbour, 1));
    EXPECT_EQ(faulter.join().value, 0u);
    expect_zero(map.page(neighbour), map.page_size());
  }
}

CONFORMANCE_TEST(Copy, SourceNeedNotBeAligned, "COPY-01 REAL-14", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  std::vector<char> source(map.page_size() + 3);
  const auto words = pattern(map.page_size(), 8);
  std::memcpy(source.data() + 3, words.data(), map.page_size());
  EXPECT_EQ(uffd.copy(map.all(), source.data() + 3), Done(map.page_size()));
  expect_pattern(map.page(0), map.page_size(), 8);
}

// The source is read as any memory of the program is, also when it is the only copy and read-only.
CONFORMANCE_TEST(Copy, SourceMayBeReadOnly, "COPY-01", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  void* source = ::mmap(nullptr, map.page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  fill_pattern(source, map.page_size(), 9);
  ::mprotect(source, map.page_size(), PROT_READ);
  EXPECT_EQ(uffd.copy(map.all(), source), Done(map.page_size()));
  expect_pattern(map.page(0), map.page_size(), 9);
}

// Threads that read the page in different orders while it arrives: whatever word they come to
// first, they see all of the new content or wait.
CONFORMANCE_TEST(Copy, NobodySeesAPageHalfFilled, "COPY-01", Backings::kAll) {
  const std::size_t pages = is_hugetlb(ctx.backing) ? 3 : 48;
  Mapping map(ctx, pages);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const std::size_t words = map.page_size() / sizeof(std::uint64_t);
  std::atomic<std::size_t> wrong{0};
  const auto reader = [&](bool backwards) {
    for (std::size_t page = 0; page < pages; ++page) {
      const auto* memory = reinterpret_cast<const volatile std::uint64_t*>(map.page(page));
      for (std::size_t i = 0; i < words; i += words / 64) {
        const std::size_t index = backwards ? words - 1 - i : i;
        if (memory[index] != pattern_word(page + 1, index)) wrong.fetch_add(1);
      }
    }
  };
  Task forwards([&] { reader(false); });
  Task backwards([&] { reader(true); });
  while (!forwards.done() || !backwards.done()) {
    const auto message = uffd.message_now();
    if (!message.has_value()) {
      ::sched_yield();
      continue;
    }
    const std::size_t page = (message->arg.pagefault.address - map.all().start) / map.page_size();
    const auto source = pattern(map.page_size(), page + 1);
    // Both may ask for the same page; the second COPY then says EEXIST and wakes nobody.
    const Outcome outcome = uffd.copy(map.range(page, 1), source.data());
    EXPECT_TRUE(outcome == Done(map.page_size()) || outcome == Fails(EEXIST, -EEXIST)) << outcome;
    (void)uffd.wake(map.range(page, 1));
  }
  forwards.join();
  backwards.join();
  EXPECT_EQ(wrong.load(), 0u);
}

CONFORMANCE_TEST(Copy, WakesEveryThreadInTheRange, "COPY-02", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  std::vector<Faulter> faulters;
  for (const std::size_t page : {0u, 0u, 1u}) faulters.push_back(expect_read_faults(uffd, map.page(page)));
  faulters.push_back(Faulter::write(map.page(1) + map.page_size() - 8, 5));
  uffd.expect_fault(map.page(1), kFaultWrite);
  const auto source = pattern(map.size(), 3);
  EXPECT_EQ(uffd.copy(map.all(), source.data()), Done(map.size()));
  EXPECT_EQ(faulters[0].join().value, pattern_word(3, 0));
  EXPECT_EQ(faulters[1].join().value, pattern_word(3, 0));
  EXPECT_EQ(faulters[2].join().value, pattern_word(3, map.page_size() / 8));
  EXPECT_FALSE(faulters[3].join().sigbus);
  expect_pattern(map.page(0), map.size() - 8, 3);
  EXPECT_EQ(touch_read(map.page(1) + map.page_size() - 8).value, 5u);
  uffd.expect_no_message();
}

CONFORMANCE_TEST(Copy, WakesNobodyElse, "COPY-02", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter before = expect_read_faults(uffd, map.page(0));
  Faulter after = expect_read_faults(uffd, map.page(2));
  const auto source = pattern(map.page_size(), 4);
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Done(map.page_size()));
  before.expect_waiting();
  after.expect_waiting();
  uffd.expect_no_message();
  uffd.fill_with_zeros(map.range(0, 1));
  after.expect_waiting();
  uffd.fill_with_zeros(map.range(2, 1));
  EXPECT_EQ(before.join().value, 0u);
  EXPECT_EQ(after.join().value, 0u);
}

CONFORMANCE_TEST(Copy, DontWakeLetsThemSleep, "COPY-02 WAKE-01", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  const auto source = pattern(map.page_size(), 5);
  EXPECT_EQ(uffd.copy(map.all(), source.data(), USERFAULT_COPY_MODE_DONTWAKE), Done(map.page_size()));
  faulter.expect_waiting();
  // The page is there for whoever comes now.
  EXPECT_EQ(expect_readable(uffd, map.page(0)), pattern_word(5, 0));
  faulter.expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  EXPECT_EQ(faulter.join().value, pattern_word(5, 0));
}

CONFORMANCE_TEST(Copy, ModeWpArrivesProtected, "COPY-03", Backings::kAll) {
  require_modes(ctx, kMissing | kWp);
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing | kWp);
  const auto source = pattern(map.size(), 6);
  EXPECT_EQ(uffd.copy(map.range(0, 1), source.data(), USERFAULT_COPY_MODE_WP), Done(map.page_size()));
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Done(map.page_size()));
  EXPECT_EQ(expect_readable(uffd, map.page(0)), pattern_word(6, 0));
  expect_writable(uffd, map.page(1), 2);
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite | kFaultWp, 1);
  expect_pattern(map.page(0), map.page_size(), 6);
  EXPECT_EQ(uffd.writeprotect(map.range(0, 1), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.page(0)).value, 1u);
  expect_writable(uffd, map.page(0), 3);
}

// The thread that wanted to write is woken by the COPY, and faults again: this time on the
// protection.
CONFORMANCE_TEST(Copy, ModeWpWakesAWriterIntoASecondFault, "COPY-03 WAKE-02", Backings::kAll) {
  require_modes(ctx, kMissing | kWp);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing | kWp);
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite, 11);
  const auto source = pattern(map.page_size(), 6);
  EXPECT_EQ(uffd.copy(map.all(), source.data(), USERFAULT_COPY_MODE_WP), Done(map.page_size()));
  uffd.expect_fault(map.page(0), kFaultWrite | kFaultWp);
  writer.expect_waiting();
  expect_pattern(map.page(0), map.page_size(), 6);
  EXPECT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.page(0)).value, 11u);
}

// The program's own protection says what the program may do, not what the monitor may fill in.
CONFORMANCE_TEST(Copy, IgnoresTheProtection, "REAL-32", Backings::kAll) {
  for (const int protection : {PROT_READ, PROT_NONE}) {
    Mapping map(ctx, 1);
    Uffd uffd(ctx);
    uffd.must_register(map.all(), kMissing);
    ASSERT_EQ(userfault_mprotect(map.page(0), map.size(), protection), 0);
    const auto source = pattern(map.page_size(), 12);
    EXPECT_EQ(uffd.copy(map.all(), source.data()), Done(map.page_size()));
    ASSERT_EQ(userfault_mprotect(map.page(0), map.size(), PROT_READ | PROT_WRITE), 0);
    expect_pattern(map.page(0), map.page_size(), 12);
    expect_writable(uffd, map.page(0));
  }
}

CONFORMANCE_TEST(Copy, WorksThroughAnotherDescriptor, "REAL-06", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd owner(ctx);
  Uffd other(ctx);
  owner.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(owner, map.page(0));
  const auto source = pattern(map.page_size(), 13);
  EXPECT_EQ(other.copy(map.all(), source.data()), Done(map.page_size()));
  // It wakes only who waits on its own descriptor.
  faulter.expect_waiting();
  EXPECT_EQ(owner.wake(map.all()), Succeeds());
  EXPECT_EQ(faulter.join().value, pattern_word(13, 0));
  expect_pattern(map.page(0), map.page_size(), 13);
}

CONFORMANCE_TEST(Copy, WorksWhereOnlyMinorOrWpIsTracked, "REAL-35", Backings::kAll) {
  for (const std::uint64_t mode : {kMinor, kWp}) {
    if (mode == kMinor && ctx.backing == Backing::kPrivateAnonymous) continue;
    require_modes(ctx, mode);
    Mapping map(ctx, 1);
    Uffd uffd(ctx);
    uffd.must_register(map.all(), mode);
    const auto source = pattern(map.page_size(), 14);
    EXPECT_EQ(uffd.copy(map.all(), source.data()), Done(map.page_size())) << "mode " << mode;
    expect_pattern(map.page(0), map.page_size(), 14);
  }
}

// Filling one view of shared memory fills the memory: the other view then has the page too.
CONFORMANCE_TEST(Copy, FillsTheMemoryBehindASharedView, "COPY-01 REAL-45", Backings::kShared) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  const Range alias{reinterpret_cast<std::uintptr_t>(map.alias(0)), map.page_size()};
  uffd.must_register(map.all(), kMissing);
  uffd.must_register(alias, kMissing);
  const auto source = pattern(map.page_size(), 15);
  const auto other = pattern(map.page_size(), 16);
  EXPECT_EQ(uffd.copy(map.all(), source.data()), Done(map.page_size()));
  EXPECT_EQ(uffd.copy(alias, other.data()), Fails(EEXIST, -EEXIST));
  expect_pattern(map.page(0), map.page_size(), 15);
  // No missing fault either: the page is in the memory, only not mapped here.
  expect_readable(uffd, map.alias(0));
  expect_pattern(map.alias(0), map.page_size(), 15);
}

// A few pages on both sides of what one page of the page table covers, wherever that begins.
CONFORMANCE_TEST(Copy, ShortRunsAcrossPageTables, "COPY-01", Backings::kSmall) {
  const Mapping map(ctx, 1100);
  const Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(20 * map.page_size(), 5);
  for (std::size_t first = 500; first + 20 <= map.pages(); first += 40) {
    ASSERT_EQ(uffd.copy(map.range(first, 20), source.data()), Done(20 * map.page_size()));
    expect_pattern(map.page(first), 20 * map.page_size(), 5);
  }
}

}  // namespace
}  // namespace userfault::conformance
