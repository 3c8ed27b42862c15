// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_MISSING_HUGETLBFS and UFFD_FEATURE_MISSING_SHMEM: missing faults beyond private
// anonymous memory.
#include <sys/mman.h>

#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

void expect_missing_faults(const Context& ctx, std::uint64_t feature) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = feature});
  EXPECT_EQ(uffd.register_range(map.all(), USERFAULT_REGISTER_MODE_MISSING).result, 0);
  Faulter reader = expect_read_faults(uffd, map.page(2));
  fill_page(uffd, map, 2, 4);
  EXPECT_EQ(reader.join().value, pattern_word(4, 0));
  Faulter writer = expect_write_faults(uffd, map.page(0), USERFAULT_PAGEFAULT_FLAG_WRITE, 9);
  fill_page(uffd, map, 0, 5);
  writer.join();
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 9u);
}

CONFORMANCE_TEST(FeatureMissing, Hugetlbfs, "FEAT-04", Backings::kHugetlb) {
  expect_missing_faults(ctx, USERFAULT_FEATURE_MISSING_HUGETLBFS);
}

// System V memory is in the pages' list too; backing_test.cc says what Linux does with it.
CONFORMANCE_TEST(FeatureMissing, SharedMemory, "FEAT-05", Backings::kShmem) {
  expect_missing_faults(ctx, USERFAULT_FEATURE_MISSING_SHMEM);
}

// A page that another mapping of the same memory has brought in is not missing: nobody is told.
CONFORMANCE_TEST(FeatureMissing, PageOfTheCacheIsNotMissing, "FEAT-05 FEAT-04", Backings::kShared) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  fill_pattern(map.alias(1), map.page_size(), 6);
  EXPECT_EQ(expect_readable(uffd, map.page(1)), pattern_word(6, 0));
}

// Private, of a file in memory: the page that COPY brings is this mapping's alone.
CONFORMANCE_TEST(FeatureMissing, PrivateMappingOfAMemoryFile, "REAL-51 FEAT-05", Backings::kMemfd | Backings::kTmpfs) {
  ctx.differs_on_user("REAL-51: a private mapping of a memfd or tmpfs file cannot be registered");
  Mapping shared(ctx, 1);
  const std::size_t bytes = shared.page_size();
  void* const view = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, shared.file(), 0);
  ASSERT_NE(view, MAP_FAILED);
  const Range range{reinterpret_cast<std::uintptr_t>(view), bytes};
  Uffd uffd(ctx);
  uffd.must_register(range, USERFAULT_REGISTER_MODE_MISSING);
  Faulter faulter = expect_read_faults(uffd, view);
  const auto source = pattern(bytes, 5);
  EXPECT_EQ(uffd.copy(range, source.data()), Done(bytes));
  EXPECT_EQ(faulter.join().value, pattern_word(5, 0));
  expect_zero(shared.page(0), bytes);
}

}  // namespace
}  // namespace userfault::conformance
