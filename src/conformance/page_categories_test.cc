// SPDX-License-Identifier: Apache-2.0
// PAGEMAP_SCAN (Linux 6.7) over registered memory: which pages it takes, and what it says of them.
// FEATURE_WP_ASYNC is read back through it (feature_wp_async_test.cc, written_pages_test.cc).
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kAsync = USERFAULT_FEATURE_WP_ASYNC;
constexpr std::uint64_t kProtect = USERFAULT_WRITEPROTECT_MODE_WP;
constexpr std::uint64_t kWritten = USERFAULT_PAGE_IS_WRITTEN;
constexpr std::uint64_t kPresent = USERFAULT_PAGE_IS_PRESENT;
constexpr std::uint64_t kSwapped = USERFAULT_PAGE_IS_SWAPPED;

// A request, and where its answer goes.
struct Scan {
  explicit Scan(Range range) {
    request.size = sizeof request;
    request.start = range.start;
    request.end = range.start + range.length;
    request.vec = reinterpret_cast<std::uintptr_t>(regions.data());
    request.vec_len = regions.size();
  }
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;

  Scan& only_written() {
    request.category_mask = request.return_mask = kWritten;
    return *this;
  }
  Scan& any_of(std::uint64_t categories) {
    request.category_anyof_mask = request.return_mask = categories;
    return *this;
  }
  Outcome run() {
    const long count = userfault_pagemap_scan(&request);
    if (count < 0 && errno == ENOTTY) throw Skip("the kernel has no PAGEMAP_SCAN (Linux 6.7)");
    return {.result = static_cast<int>(count), .error = count < 0 ? errno : 0};
  }
  // The regions found, after a call that must succeed.
  std::vector<Range> ranges() {
    const long count = userfault_pagemap_scan(&request);
    if (count < 0 && errno == ENOTTY) throw Skip("the kernel has no PAGEMAP_SCAN (Linux 6.7)");
    if (count < 0) throw Broken("PAGEMAP_SCAN fails");
    std::vector<Range> result;
    for (long i = 0; i < count; ++i) {
      const auto& region = regions[static_cast<std::size_t>(i)];
      result.push_back({region.start, region.end - region.start});
    }
    return result;
  }

  userfault_scan request{};
  std::array<userfault_page_region, 8> regions{};
};

Uffd tracking(const Context& ctx, const Mapping& map) {
  Uffd uffd(ctx, {.features = kAsync});
  uffd.must_register(map.all(), kWp);
  return uffd;
}

// What was dropped is not what was protected any more: it counts as written.
CONFORMANCE_TEST(PageCategories, DroppedPagesCountAsWritten, "FEAT-15", Backings::kPrivate) {
  const Mapping map(ctx, 3);
  for (std::size_t page = 0; page < map.pages(); ++page) fill_pattern(map.page(page), map.page_size(), page);
  const Uffd uffd = tracking(ctx, map);
  ASSERT_EQ(uffd.writeprotect(map.all(), kProtect), Succeeds());
  ASSERT_EQ(userfault_madvise(map.page(1), map.page_size(), MADV_DONTNEED), 0);
  EXPECT_EQ(Scan(map.all()).only_written().ranges(), std::vector<Range>{map.range(1, 1)});
  EXPECT_EQ(Scan(map.all()).any_of(kWritten).ranges(), std::vector<Range>{map.range(1, 1)});
  EXPECT_EQ(Scan(map.all()).any_of(kPresent).ranges(), (std::vector<Range>{map.range(0, 1), map.range(2, 1)}));
}

// The protection of a page that is not there is kept where that of a swapped page is.
CONFORMANCE_TEST(PageCategories, ProtectionOfAMissingPageCountsAsSwapped, "FEAT-15", Backings::kAll) {
  const Mapping map(ctx, 3);
  const Uffd uffd = tracking(ctx, map);
  ASSERT_EQ(uffd.writeprotect(map.range(1, 1), kProtect), Succeeds());
  Scan scan(map.range(1, 1));
  EXPECT_EQ(scan.any_of(kSwapped | kPresent | kWritten).ranges(), std::vector<Range>{map.range(1, 1)});
  EXPECT_EQ(scan.regions[0].categories, kSwapped);
  (void)touch_write(map.page(1), 7);
  EXPECT_EQ(scan.ranges(), std::vector<Range>{map.range(1, 1)});
  EXPECT_EQ(scan.regions[0].categories, kPresent | kWritten);
}

CONFORMANCE_TEST(PageCategories, PoisonCountsAsSwappedAndWritten, "FEAT-15", Backings::kAll) {
  const Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kAsync | USERFAULT_FEATURE_POISON});
  uffd.must_register(map.all(), kMissing | kWp);
  ASSERT_EQ(uffd.poison(map.range(0, 1)), Done(map.page_size()));
  Scan scan(map.all());
  EXPECT_EQ(scan.any_of(kSwapped | kPresent | kWritten).ranges(), std::vector<Range>{map.range(0, 1)});
  EXPECT_EQ(scan.regions[0].categories, kSwapped | kWritten);
}

// Without a place for an answer it only protects, whatever was asked for.
CONFORMANCE_TEST(PageCategories, ProtectsWithoutTelling, "FEAT-15", Backings::kAll) {
  const Mapping map(ctx, 2);
  for (std::size_t page = 0; page < map.pages(); ++page) fill_pattern(map.page(page), map.page_size(), page);
  const Uffd uffd = tracking(ctx, map);
  Scan scan(map.all());
  scan.only_written().request.flags = USERFAULT_SCAN_WP_MATCHING;
  scan.request.vec = scan.request.vec_len = 0;
  EXPECT_EQ(scan.ranges(), std::vector<Range>{});
  EXPECT_EQ(scan.request.walk_end, scan.request.end);
  EXPECT_EQ(Scan(map.all()).only_written().ranges(), std::vector<Range>{});
  (void)touch_write(map.page(1), 7);
  EXPECT_EQ(Scan(map.all()).only_written().ranges(), std::vector<Range>{map.range(1, 1)});
}

// Memory whose writes nobody tracks is passed over by who protects, and told of otherwise; also where
// it is no userfaultfd's at all.
CONFORMANCE_TEST(PageCategories, NeighboursThatNobodyTracks, "FEAT-15", Backings::kAll) {
  const Mapping map(ctx, 4);
  for (std::size_t page = 0; page < map.pages(); ++page) fill_pattern(map.page(page), map.page_size(), page);
  Uffd uffd(ctx, {.features = kAsync});
  uffd.must_register(map.range(1, 1), kWp);
  uffd.must_register(map.range(2, 1), kMissing);
  Scan scan(map.all());
  EXPECT_EQ(scan.any_of(kWritten).ranges(), std::vector<Range>{map.all()});
  scan.request.flags = USERFAULT_SCAN_WP_MATCHING;
  EXPECT_EQ(scan.ranges(), std::vector<Range>{map.range(1, 1)});
  scan.request.flags = USERFAULT_SCAN_CHECK_WPASYNC;
  EXPECT_EQ(scan.run(), Fails(EPERM));
}

CONFORMANCE_TEST(PageCategories, StopsWhereTheRoomEnds, "FEAT-15", Backings::kPrivate) {
  const Mapping map(ctx, 6);
  for (std::size_t page = 0; page < map.pages(); ++page) fill_pattern(map.page(page), map.page_size(), page);
  const Uffd uffd = tracking(ctx, map);
  ASSERT_EQ(uffd.writeprotect(map.range(2, 1), kProtect), Succeeds());
  Scan few(map.all());
  few.only_written().request.max_pages = 3;
  EXPECT_EQ(few.ranges(), (std::vector<Range>{map.range(0, 2), map.range(3, 1)}));
  EXPECT_EQ(few.request.walk_end, map.range(4, 1).start);
  Scan narrow(map.all());
  narrow.only_written().request.vec_len = 1;
  EXPECT_EQ(narrow.ranges(), std::vector<Range>{map.range(0, 2)});
  EXPECT_EQ(narrow.request.walk_end, map.range(3, 1).start);
}

// The walk ends at the first page for which there is no room, wherever that is.
CONFORMANCE_TEST(PageCategories, StopsAtThePageThatHasNoRoom, "FEAT-15", Backings::kPrivate) {
  const Mapping map(ctx, 4);
  for (std::size_t page = 0; page < 2; ++page) fill_pattern(map.page(page), map.page_size(), page);
  Uffd uffd(ctx);
  uffd.must_register(map.range(0, 2), kWp);
  const auto scanned_to = [&] {
    Scan scan(map.all());
    scan.any_of(kPresent).request.max_pages = 2;
    EXPECT_EQ(scan.ranges(), std::vector<Range>{map.range(0, 2)});
    return scan.request.walk_end;
  };
  EXPECT_EQ(scanned_to(), map.range(4, 0).start);
  fill_pattern(map.page(3), map.page_size(), 3);
  EXPECT_EQ(scanned_to(), map.range(3, 1).start);
}

// Memory whose writes nobody tracks is passed over there, too.
CONFORMANCE_TEST(PageCategories, GoesToTheEndWhereNothingIsToBeProtected, "FEAT-15", Backings::kPrivate) {
  const Mapping map(ctx, 4);
  for (std::size_t page = 0; page < map.pages(); ++page) fill_pattern(map.page(page), map.page_size(), page);
  Uffd uffd(ctx, {.features = kAsync});
  uffd.must_register(map.range(0, 2), kWp);
  Scan scan(map.all());
  scan.only_written().request.max_pages = 2;
  scan.request.flags = USERFAULT_SCAN_WP_MATCHING;
  EXPECT_EQ(scan.ranges(), std::vector<Range>{map.range(0, 2)});
  EXPECT_EQ(scan.request.walk_end, scan.request.end);
}

// Where nothing ever was, not even a page of the page table.
CONFORMANCE_TEST(PageCategories, UntouchedMemoryCountsAsWritten, "FEAT-15", Backings::kSmall) {
  const Mapping map(ctx, 4096);
  const Uffd uffd = tracking(ctx, map);
  const std::vector<Range> found = Scan(map.all()).only_written().ranges();
  if (found.empty() && ctx.engine == USERFAULT_ENGINE_KERNEL)
    GTEST_SKIP() << "this kernel passes over what has no page table (before Linux 6.18.44)";
  EXPECT_EQ(found, std::vector<Range>{map.all()});
}

// A place for no answer is none: the walk goes to the end.
CONFORMANCE_TEST(PageCategories, RoomForNothing, "FEAT-15", Backings::kPrivate) {
  const Mapping map(ctx, 2);
  for (std::size_t page = 0; page < map.pages(); ++page) fill_pattern(map.page(page), map.page_size(), page);
  const Uffd uffd = tracking(ctx, map);
  Scan scan(map.all());
  scan.only_written().request.vec_len = 0;
  EXPECT_EQ(scan.ranges(), std::vector<Range>{});
  EXPECT_EQ(scan.request.walk_end, scan.request.end);
}

CONFORMANCE_TEST(PageCategories, RefusesWhatItDoesNotKnow, "FEAT-15", Backings::kPrivate) {
  const Mapping map(ctx, 1);
  const Uffd uffd = tracking(ctx, map);
  const auto refused = [&](auto&& change) {
    Scan scan(map.all());
    scan.only_written();
    change(scan.request);
    return scan.run();
  };
  EXPECT_EQ(refused([](userfault_scan& scan) { scan.size = 8; }), Fails(EINVAL));
  EXPECT_EQ(refused([](userfault_scan& scan) { scan.flags = 4; }), Fails(EINVAL));
  EXPECT_EQ(refused([](userfault_scan& scan) { scan.start += 8; }), Fails(EINVAL));
  EXPECT_EQ(refused([](userfault_scan& scan) { scan.return_mask = std::uint64_t{1} << 40; }), Fails(EINVAL));
  EXPECT_EQ(refused([](userfault_scan& scan) { scan.vec = 0; }), Fails(EINVAL));
  EXPECT_EQ(refused([](userfault_scan& scan) { scan.end = 4096; }), Fails(EFAULT));
}

}  // namespace
}  // namespace userfault::conformance
