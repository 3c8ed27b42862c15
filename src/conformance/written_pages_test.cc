// SPDX-License-Identifier: Apache-2.0
// FEATURE_WP_ASYNC beyond shared memory and huge pages: any mapping can be tracked.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::size_t kPage = 4096;

// The pages of the range that were written to since they were protected, by their number.
std::vector<std::size_t> written(Range range, std::uint64_t flags = 0) {
  std::array<userfault_page_region, 16> regions{};
  userfault_scan scan{};
  scan.size = sizeof scan;
  scan.flags = flags;
  scan.start = range.start;
  scan.end = range.start + range.length;
  scan.vec = reinterpret_cast<std::uintptr_t>(regions.data());
  scan.vec_len = regions.size();
  scan.category_mask = USERFAULT_PAGE_IS_WRITTEN;
  scan.return_mask = USERFAULT_PAGE_IS_WRITTEN;
  const long count = userfault_pagemap_scan(&scan);
  if (count < 0 && errno == ENOTTY) throw Skip("the kernel has no PAGEMAP_SCAN (Linux 6.7)");
  if (count < 0) throw Broken("PAGEMAP_SCAN: " + std::to_string(errno));
  std::vector<std::size_t> pages;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
    for (std::uint64_t address = regions[i].start; address < regions[i].end; address += kPage)
      pages.push_back((address - range.start) / kPage);
  return pages;
}

// A file on a real file system, of `bytes` bytes.
int disk_file(std::size_t bytes) {
  for (const char* directory : {"/var/tmp", "/tmp", "."}) {
    struct statfs info;
    if (::statfs(directory, &info) != 0 || info.f_type == TMPFS_MAGIC) continue;
    const int fd = ::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 && ::ftruncate(fd, static_cast<off_t>(bytes)) == 0) return fd;
  }
  throw Skip("no directory on a disk takes a temporary file");
}

struct DiskView {
  explicit DiskView(std::size_t pages) : size(pages * kPage) {
    const int fd = disk_file(size);
    view = static_cast<char*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    ::close(fd);
    if (view == MAP_FAILED) throw Broken("mmap of a file on a disk");
  }
  [[nodiscard]] Range all() const { return {reinterpret_cast<std::uintptr_t>(view), size}; }
  std::size_t size;
  char* view;
};

CONFORMANCE_TEST(WrittenPages, SharedFileOnADisk, "REAL-38", Backings::kNone) {
  const DiskView disk(4);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_ASYNC});
  EXPECT_EQ(uffd.register_range(disk.all(), kWp).result, 0);
  EXPECT_EQ(uffd.writeprotect(disk.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  EXPECT_EQ(written(disk.all()), std::vector<std::size_t>{});
  EXPECT_EQ(touch_read(disk.view).value, 0u);
  expect_writable(uffd, disk.view + 2 * kPage, 5);
  EXPECT_EQ(written(disk.all()), std::vector<std::size_t>{2});
  // Read and protect again in one go; the next round sees only what is new.
  EXPECT_EQ(written(disk.all(), USERFAULT_SCAN_WP_MATCHING | USERFAULT_SCAN_CHECK_WPASYNC),
            std::vector<std::size_t>{2});
  expect_writable(uffd, disk.view + 3 * kPage, 6);
  EXPECT_EQ(written(disk.all()), std::vector<std::size_t>{3});
  EXPECT_EQ(touch_read(disk.view + 2 * kPage).value, 5u);
}

// The other modes need memory that a userfaultfd can fill, feature or not; and without the feature
// write protection does too.
CONFORMANCE_TEST(WrittenPages, OnlyInThatModeAndWithTheFeature, "REAL-38 REG-09", Backings::kNone) {
  const DiskView disk(1);
  const Uffd plain(ctx);
  EXPECT_EQ(plain.register_range(disk.all(), kWp), Fails(EINVAL));
  const Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_ASYNC});
  EXPECT_EQ(uffd.register_range(disk.all(), kWp | kMissing), Fails(EINVAL));
  EXPECT_EQ(uffd.register_range(disk.all(), kMissing), Fails(EINVAL));
  EXPECT_EQ(uffd.register_range(disk.all(), kMinor), Fails(EINVAL));
}

// System V memory is refused otherwise (backing_test.cc).
CONFORMANCE_TEST(WrittenPages, SystemV, "REAL-38 REAL-53", Backings::kSystemV) {
  const Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_ASYNC});
  EXPECT_EQ(uffd.register_range(map.all(), kWp).result, 0);
  EXPECT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  expect_writable(uffd, map.page(1), 5);
  EXPECT_EQ(written(map.all()), std::vector<std::size_t>{1});
}

// A scan sees the page table: what another view wrote is not there until this one looks. And it says
// EPERM, when asked to, about memory that nobody tracks.
CONFORMANCE_TEST(WrittenPages, AsThisMappingShowsThem, "REAL-38", Backings::kMemfd) {
  const Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_ASYNC});
  EXPECT_EQ(uffd.register_range(map.range(0, 2), kWp).result, 0);
  fill_pattern(map.alias(1), map.page_size(), 3);
  userfault_scan scan{};
  scan.size = sizeof scan;
  scan.start = map.all().start;
  scan.end = scan.start + 2 * map.page_size();
  scan.category_mask = USERFAULT_PAGE_IS_PRESENT;
  std::array<userfault_page_region, 2> regions{};
  scan.vec = reinterpret_cast<std::uintptr_t>(regions.data());
  scan.vec_len = regions.size();
  EXPECT_EQ(userfault_pagemap_scan(&scan), 0);
  EXPECT_EQ(touch_read(map.page(1)).value, pattern_word(3, 0));
  EXPECT_EQ(userfault_pagemap_scan(&scan), 1);
  EXPECT_EQ(regions[0].start, map.range(1, 1).start);
  scan.flags = USERFAULT_SCAN_CHECK_WPASYNC;
  scan.end += map.page_size();
  EXPECT_EQ(userfault_pagemap_scan(&scan), -1);
  EXPECT_EQ(errno, EPERM);
}

}  // namespace
}  // namespace userfault::conformance
