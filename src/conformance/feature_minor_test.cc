// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_MINOR_HUGETLBFS and UFFD_FEATURE_MINOR_SHMEM: the page is there, its mapping is not.
#include <cerrno>
#include <cstring>

#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMinor = USERFAULT_REGISTER_MODE_MINOR;

void expect_minor_faults(const Context& ctx, std::uint64_t feature) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = feature});
  EXPECT_EQ(uffd.register_range(map.all(), kMinor).result, 0);
  fill_pattern(map.alias(0), map.page_size(), 4);
  fill_pattern(map.alias(1), map.page_size(), 5);
  Faulter reader = expect_read_faults(uffd, map.page(0), USERFAULT_PAGEFAULT_FLAG_MINOR);
  EXPECT_EQ(uffd.map_cached(map.range(0, 1)), Done(map.page_size()));
  EXPECT_EQ(reader.join().value, pattern_word(4, 0));
  Faulter writer =
      expect_write_faults(uffd, map.page(1), USERFAULT_PAGEFAULT_FLAG_MINOR | USERFAULT_PAGEFAULT_FLAG_WRITE, 9);
  EXPECT_EQ(uffd.map_cached(map.range(1, 1)), Done(map.page_size()));
  writer.join();
  EXPECT_EQ(*reinterpret_cast<volatile std::uint64_t*>(map.alias(1)), 9u);
}

CONFORMANCE_TEST(FeatureMinor, Hugetlbfs, "FEAT-09", Backings::kHugetlbShared) {
  expect_minor_faults(ctx, USERFAULT_FEATURE_MINOR_HUGETLBFS);
}

// A private mapping can be registered; only that it has no second view to fill a page through.
CONFORMANCE_TEST(FeatureMinor, PrivateHugetlbfsRegisters, "FEAT-09", Backings::kHugetlbPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_MINOR_HUGETLBFS});
  const Outcome registered = uffd.register_range(map.all(), kMinor);
  EXPECT_EQ(registered.result, 0);
  EXPECT_NE(registered.output & std::int64_t{1} << USERFAULT_NR_CONTINUE, 0);
}

CONFORMANCE_TEST(FeatureMinor, SharedMemory, "FEAT-10", Backings::kShmem) {
  expect_minor_faults(ctx, USERFAULT_FEATURE_MINOR_SHMEM);
}

// A page of zeroes is a page.
CONFORMANCE_TEST(FeatureMinor, PageOfZeroesIsThere, "FEAT-09 FEAT-10", Backings::kShared) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMinor);
  std::memset(map.alias(0), 0, map.page_size());
  Faulter reader = expect_read_faults(uffd, map.page(0), USERFAULT_PAGEFAULT_FLAG_MINOR);
  EXPECT_EQ(uffd.map_cached(map.range(0, 1)), Done(map.page_size()));
  EXPECT_EQ(reader.join().value, 0u);
  EXPECT_EQ(uffd.map_cached(map.range(1, 1)), Fails(EFAULT, -EFAULT));
}

CONFORMANCE_TEST(FeatureMinor, PageOfZeroesIsNotMissing, "FEAT-09 FEAT-10", Backings::kShared) {
  Mapping map(ctx, 3);
  std::memset(map.alias(0), 0, map.page_size());
  Uffd uffd(ctx);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  std::memset(map.alias(1), 0, map.page_size());
  for (const std::size_t page : {0u, 1u}) {
    EXPECT_EQ(expect_readable(uffd, map.page(page)), 0u);
    EXPECT_EQ(uffd.copy(map.range(page, 1), map.page(0)), Fails(EEXIST, -EEXIST));
  }
  Faulter reader = expect_read_faults(uffd, map.page(2), 0);
  EXPECT_EQ(uffd.copy(map.range(2, 1), map.page(0)), Done(map.page_size()));
  reader.join();
}

// Minor alone: a page that nobody has brought in is not this descriptor's concern.
CONFORMANCE_TEST(FeatureMinor, MissingPageIsNoMinorFault, "FEAT-09 FEAT-10", Backings::kShared) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMinor);
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
}

}  // namespace
}  // namespace userfault::conformance
