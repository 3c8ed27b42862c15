// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_WP_ASYNC: protection that resolves by itself and leaves a record, which PAGEMAP_SCAN
// reads back and renews.
#include <algorithm>
#include <array>
#include <vector>

#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kAsync = USERFAULT_FEATURE_WP_ASYNC;
constexpr std::uint64_t kProtect = USERFAULT_WRITEPROTECT_MODE_WP;
constexpr std::uint64_t kScanAndProtect = USERFAULT_SCAN_WP_MATCHING | USERFAULT_SCAN_CHECK_WPASYNC;

using Regions = std::array<userfault_page_region, 16>;

// Of all of `map`, for pages in `category`.
userfault_scan scan_of(const Mapping& map, Regions& regions, std::uint64_t category, std::uint64_t flags) {
  userfault_scan scan{};
  scan.size = sizeof scan;
  scan.flags = flags;
  scan.start = map.all().start;
  scan.end = map.all().start + map.size();
  scan.vec = reinterpret_cast<std::uintptr_t>(regions.data());
  scan.vec_len = regions.size();
  scan.category_mask = scan.return_mask = category;
  return scan;
}

std::vector<Range> written(const Mapping& map, std::uint64_t flags = 0) {
  Regions regions{};
  userfault_scan scan = scan_of(map, regions, USERFAULT_PAGE_IS_WRITTEN, flags);
  const long count = userfault_pagemap_scan(&scan);
  if (count < 0) throw Broken("PAGEMAP_SCAN fails");
  EXPECT_EQ(scan.walk_end, scan.end);
  std::vector<Range> ranges;
  for (long i = 0; i < count; ++i) {
    const auto& region = regions[static_cast<std::size_t>(i)];
    ranges.push_back({region.start, region.end - region.start});
  }
  return ranges;
}

// Registered, every page there and protected.
Uffd watched(const Context& ctx, const Mapping& map) {
  Uffd uffd(ctx, {.features = kAsync});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  for (std::size_t page = 0; page < map.pages(); ++page) fill_pattern(map.page(page), map.page_size(), page);
  EXPECT_EQ(uffd.writeprotect(map.all(), kProtect), Succeeds());
  return uffd;
}

CONFORMANCE_TEST(FeatureWpAsync, WriteGoesThroughWithoutAMessage, "FEAT-15", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd = watched(ctx, map);
  EXPECT_FALSE(touch_write(map.page(1), 7).sigbus);
  EXPECT_EQ(touch_read(map.page(1)).value, 7u);
  uffd.expect_no_message();
}

CONFORMANCE_TEST(FeatureWpAsync, WrittenPagesCanBeReadBack, "FEAT-15", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd = watched(ctx, map);
  EXPECT_TRUE(written(map).empty());
  (void)touch_read(map.page(0));
  (void)touch_write(map.page(1), 7);
  (void)touch_write(map.page(3), 7);
  EXPECT_EQ(written(map), (std::vector<Range>{map.range(1, 1), map.range(3, 1)}));
}

CONFORMANCE_TEST(FeatureWpAsync, ScanProtectsAgainInTheSameStep, "FEAT-15", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd = watched(ctx, map);
  (void)touch_write(map.page(1), 7);
  EXPECT_EQ(written(map, kScanAndProtect), (std::vector<Range>{map.range(1, 1)}));
  EXPECT_TRUE(written(map).empty());
  (void)touch_write(map.page(1), 8);
  (void)touch_write(map.page(2), 8);
  EXPECT_EQ(written(map, kScanAndProtect), (std::vector<Range>{map.range(1, 2)}));
  EXPECT_EQ(touch_read(map.page(1)).value, 8u);
}

// It implies WP_UNPOPULATED: a page that is not there yet can be watched too.
CONFORMANCE_TEST(FeatureWpAsync, PagesThatAreNotThereYet, "FEAT-15", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = kAsync});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  ASSERT_EQ(uffd.writeprotect(map.all(), kProtect), Succeeds());
  EXPECT_TRUE(written(map).empty());
  (void)touch_write(map.page(2), 7);
  EXPECT_EQ(written(map), (std::vector<Range>{map.range(2, 1)}));
  uffd.expect_no_message();
}

// A part of a huge page cannot be protected again, so it is not told of when the room for pages ends in one;
// one that is protected already is (pagemap_scan_hugetlb_entry).
CONFORMANCE_TEST(FeatureWpAsync, RoomThatEndsInAHugePage, "FEAT-15", Backings::kHugetlb) {
  Mapping map(ctx, 3);
  Uffd uffd = watched(ctx, map);
  (void)touch_write(map.page(1), 7);
  Regions regions{};
  userfault_scan scan = scan_of(map, regions, USERFAULT_PAGE_IS_PRESENT, kScanAndProtect);
  scan.max_pages = map.page_size() / 4096 + 3;
  ASSERT_EQ(userfault_pagemap_scan(&scan), 2);
  EXPECT_EQ(regions[0].start, map.range(0, 1).start);
  EXPECT_EQ(regions[0].end, map.range(1, 1).start);
  EXPECT_EQ(regions[1].start, map.range(2, 1).start);
  EXPECT_EQ(regions[1].end, map.range(2, 1).start + 3 * 4096);
  EXPECT_EQ(scan.walk_end, regions[1].end);
  // It is still the one that was written.
  scan.category_mask = scan.return_mask = USERFAULT_PAGE_IS_WRITTEN;
  scan.max_pages = 3;
  EXPECT_EQ(userfault_pagemap_scan(&scan), 0);
  EXPECT_EQ(scan.walk_end, map.range(1, 1).start);
  EXPECT_EQ(written(map, kScanAndProtect), (std::vector<Range>{map.range(1, 1)}));
  EXPECT_TRUE(written(map).empty());
}

// Missing faults are what they were: only the protection resolves by itself.
CONFORMANCE_TEST(FeatureWpAsync, MissingFaultsStillHaveMessages, "FEAT-15", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = kAsync});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP);
  Faulter faulter = expect_write_faults(uffd, map.page(0), USERFAULT_PAGEFAULT_FLAG_WRITE, 7);
  fill_page(uffd, map, 0, 3);
  faulter.join();
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 7u);
}

}  // namespace
}  // namespace userfault::conformance
