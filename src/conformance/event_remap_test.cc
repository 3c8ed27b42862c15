// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_EVENT_REMAP and UFFD_EVENT_REMAP: memory that moves.
#include <sys/mman.h>

#include <cerrno>

#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kRemap = USERFAULT_FEATURE_EVENT_REMAP;
constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;
constexpr int kMoveTo = MREMAP_MAYMOVE | MREMAP_FIXED;

Range range_at(const void* start, std::size_t length) { return {reinterpret_cast<std::uintptr_t>(start), length}; }

Task move_in_thread(const Mapping& map, char* to) {
  return Task([&map, to] { EXPECT_EQ(userfault_mremap(map.page(0), map.size(), map.size(), kMoveTo, to), to); });
}

CONFORMANCE_TEST(EventRemap, TellsFromWhereToWhere, "FEAT-02 MSG-04", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kRemap});
  uffd.must_register(map.all(), kMissing);
  char* const to = reserve(map.size());
  Task moving = move_in_thread(map, to);
  moving.expect_waiting_for_reader();
  expect_remapped(uffd, map.all(), to);
  moving.join();
}

// The registration moves along: faults come with the new address and are resolved there.
CONFORMANCE_TEST(EventRemap, RegistrationMovesAlong, "FEAT-02", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kRemap});
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 6);
  char* const to = reserve(map.size());
  Task moving = move_in_thread(map, to);
  expect_remapped(uffd, map.all(), to);
  moving.join();

  expect_pattern(to, map.page_size(), 6);
  char* const second = to + map.page_size();
  Faulter faulter = expect_read_faults(uffd, second);
  const auto source = pattern(map.page_size(), 7);
  EXPECT_EQ(uffd.copy(range_at(second, map.page_size()), source.data()), Done(map.page_size()));
  faulter.join();
  expect_pattern(second, map.page_size(), 7);
}

CONFORMANCE_TEST(EventRemap, WithoutItTheRegistrationIsLost, "REAL-24 FEAT-02", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  char* const to = reserve(map.size());
  ASSERT_EQ(userfault_mremap(map.page(0), map.size(), map.size(), kMoveTo, to), to);
  EXPECT_EQ(expect_readable(uffd, to), 0u);
}

// Two neighbours that only differ in their protection are two mappings.
CONFORMANCE_TEST(EventRemap, SeveralRegisteredMappingsDoNotMove, "REAL-42", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 2);
  ASSERT_EQ(userfault_mprotect(map.page(1), map.page_size(), PROT_READ), 0);
  char* const to = reserve(map.size());
  EXPECT_EQ(userfault_mremap(map.page(0), map.size(), map.size(), kMoveTo, to), MAP_FAILED);
  EXPECT_EQ(errno, EFAULT);
  expect_pattern(map.page(0), map.page_size(), 2);
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  uffd.close();
  faulter.join();
}

CONFORMANCE_TEST(EventRemap, WhatStaysMappedIsMissingAgain, "REAL-43", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 3);
  void* const to = userfault_mremap(map.page(0), map.size(), map.size(), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
  ASSERT_NE(to, MAP_FAILED);
  expect_pattern(to, map.page_size(), 3);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  fill_page(uffd, map, 0, 4);
  faulter.join();
  expect_pattern(map.page(0), map.page_size(), 4);
  expect_pattern(to, map.page_size(), 3);
}

// Shared memory keeps the page in the cache: nothing is missing at the old address.
CONFORMANCE_TEST(EventRemap, SharedPageThatStaysMappedIsStillThere, "REAL-49", Backings::kShmem) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 3);
  void* const to = userfault_mremap(map.page(0), map.size(), map.size(), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
  ASSERT_NE(to, MAP_FAILED);
  EXPECT_EQ(expect_readable(uffd, map.page(0)), pattern_word(3, 0));
  expect_pattern(to, map.page_size(), 3);
}

// Growing where it stands: the event is for what moves, and nothing does.
CONFORMANCE_TEST(EventRemap, GrowingInPlaceTellsNothing, "FEAT-02", Backings::kPrivate) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = kRemap});
  uffd.must_register(map.range(0, 1), kMissing);
  ASSERT_EQ(userfault_munmap(map.page(1), map.page_size()), 0);
  ASSERT_EQ(userfault_mremap(map.page(0), map.page_size(), map.size(), 0, nullptr), map.page(0));
  uffd.expect_no_message();
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  uffd.fill_with_zeros(map.range(1, 1));
  faulter.join();
}

// Where the kernel moves over a hole in the source (Linux 6.17) what lies opposite stays, registered.
CONFORMANCE_TEST(EventRemap, WhatLiesOppositeAHoleStays, "REAL-42", Backings::kPrivate) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const std::size_t size = map.page_size();
  char* const from = reserve(4 * size);
  ASSERT_EQ(mprotect(from, 4 * size, PROT_READ | PROT_WRITE), 0);
  fill_pattern(from, 4 * size, 3);
  ASSERT_EQ(munmap(from + 2 * size, size), 0);
  const void* moved = userfault_mremap(from, 4 * size, 4 * size, kMoveTo, map.page(0));
  if (moved == MAP_FAILED) GTEST_SKIP() << "this kernel does not move several mappings at once";
  ASSERT_EQ(moved, map.page(0));
  expect_pattern(map.page(0), 2 * size, 3);
  Faulter faulter = expect_read_faults(uffd, map.page(2));
  uffd.fill_with_zeros(map.range(2, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

// Huge pages cannot be left behind, and the refusal changes nothing.
CONFORMANCE_TEST(EventRemap, HugePagesDoNotStayMapped, "REAL-43", Backings::kHugetlb) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  char* const to = reserve(2 * map.size());
  char* const aligned = to + (map.size() - reinterpret_cast<std::uintptr_t>(to) % map.size()) % map.size();
  EXPECT_EQ(userfault_mremap(map.page(0), map.size(), map.size(), kMoveTo | MREMAP_DONTUNMAP, aligned), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance
