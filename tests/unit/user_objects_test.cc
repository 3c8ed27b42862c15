// SPDX-License-Identifier: Apache-2.0
// More private mappings than memfds: which descriptors and which memory they take (REG-10).
#include <sys/resource.h>

#include "user_objects.h"

namespace userfault::test {
namespace {

constexpr std::size_t kRegions = 200;
constexpr std::size_t kEach = 3;  // pages of a region; one that is not registered lies behind it
constexpr std::size_t kStride = kEach + 1;

class ManyRegions {
 public:
  explicit ManyRegions(std::size_t regions = kRegions) : regions_(regions) {
    fd = userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC | O_NONBLOCK);
    memory = static_cast<char*>(
        ::mmap(nullptr, regions * kStride * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (fd < 0 || userfault_ioctl_api(fd, 0, nullptr, nullptr) != 0 || memory == MAP_FAILED) std::abort();
  }
  ~ManyRegions() {
    userfault_close(fd);
    userfault_munmap(memory, regions_ * kStride * kPage);
  }
  ManyRegions(const ManyRegions&) = delete;
  ManyRegions& operator=(const ManyRegions&) = delete;

  [[nodiscard]] char* at(std::size_t region, std::size_t page = 0) const {
    return memory + (region * kStride + page) * kPage;
  }
  // All return 0 or errno.
  [[nodiscard]] int enter(std::size_t region) const {
    const int result =
        userfault_ioctl_register(fd, at(region), kEach * kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr);
    return result == 0 ? 0 : errno;
  }
  [[nodiscard]] int copy(std::size_t region, std::size_t page, std::uint64_t seed) const {
    alignas(4096) char source[kPage];
    fill_page(source, seed, region * kEach + page);
    return userfault_ioctl_copy(fd, at(region, page), source, kPage, 0, nullptr) == 0 ? 0 : errno;
  }
  [[nodiscard]] int fill_all(std::uint64_t seed) const {
    for (std::size_t region = 0; region < regions_; ++region) {
      if (const int error = enter(region); error != 0) return error;
      for (std::size_t page = 0; page < kEach; ++page)
        if (const int error = copy(region, page, seed); error != 0) return error;
    }
    return 0;
  }
  [[nodiscard]] bool holds(std::size_t region, std::uint64_t seed) const {
    for (std::size_t page = 0; page < kEach; ++page)
      if (content_of(at(region, page), seed, region * kEach + page) != Content::kPattern) return false;
    return true;
  }

  int fd = -1;
  char* memory = nullptr;

 private:
  std::size_t regions_;
};

bool goes(std::size_t region) { return region % 3 == 1; }

TEST(UserObjects, ManyRegionsTakeFewDescriptors) {
  const ManyRegions regions;
  ASSERT_EQ(regions.fill_all(1), 0);
  const Objects objects = find_objects();
  EXPECT_EQ(objects.descriptors, 64U);
  EXPECT_EQ(objects.pages, kRegions * kEach);
  for (std::size_t i = 0; i < kRegions; ++i) EXPECT_TRUE(regions.holds(i, 1)) << i;
}

TEST(UserObjects, WhatGoesLeavesTheOthersWholeAndItsMemory) {
  const ManyRegions regions;
  ASSERT_EQ(regions.fill_all(1), 0);
  std::size_t gone = 0;
  for (std::size_t i = 0; i < kRegions; ++i) {
    if (!goes(i)) continue;
    ++gone;
    ASSERT_EQ(userfault_munmap(regions.at(i), kEach * kPage), 0);
  }
  EXPECT_EQ(find_objects().pages, (kRegions - gone) * kEach);
  for (std::size_t i = 0; i < kRegions; ++i) EXPECT_TRUE(goes(i) || regions.holds(i, 1)) << i;
  // What comes in its place begins with nothing.
  for (std::size_t i = 0; i < kRegions; ++i) {
    if (!goes(i)) continue;
    ASSERT_EQ(
        ::mmap(regions.at(i), kEach * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        regions.at(i));
    ASSERT_EQ(regions.enter(i), 0);
    for (std::size_t page = 0; page < kEach; ++page) ASSERT_EQ(regions.copy(i, page, 2), 0);
  }
  for (std::size_t i = 0; i < kRegions; ++i) EXPECT_TRUE(regions.holds(i, goes(i) ? 2 : 1)) << i;
}

TEST(UserObjects, NothingIsLeftOfAllThatWent) {
  {
    const ManyRegions regions;
    ASSERT_EQ(regions.fill_all(1), 0);
  }
  EXPECT_EQ(find_objects().descriptors, 0U);
  const ManyRegions again;
  ASSERT_EQ(again.fill_all(2), 0);
  for (std::size_t i = 0; i < kRegions; ++i) EXPECT_TRUE(again.holds(i, 2)) << i;
}

TEST(UserObjects, AChildsMemoryIsItsOwn) {
  const ManyRegions regions;
  ASSERT_EQ(regions.fill_all(1), 0);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = start_child([&] {
    for (std::size_t i = 0; i < kRegions; ++i)
      if (!regions.holds(i, 1)) return 1;
    // What it writes, drops and unmaps, and whatever it serves itself, does not reach the parent.
    const ManyRegions own;
    if (own.fill_all(3) != 0) return 2;
    for (std::size_t i = 0; i < kRegions; ++i) {
      if (goes(i) && userfault_munmap(regions.at(i), kEach * kPage) != 0) return 3;
      if (!goes(i)) std::memset(regions.at(i), 7, kPage);
    }
    char byte;
    if (::read(ends[0], &byte, 1) != 1) return 4;
    for (std::size_t i = 0; i < kRegions; ++i) {
      if (!own.holds(i, 3)) return 5;
      if (!goes(i) && (*regions.at(i) != 7 || content_of(regions.at(i, 1), 1, i * kEach + 1) != Content::kPattern))
        return 6;
    }
    return 0;
  });
  ASSERT_GT(child, 0);
  for (std::size_t i = 0; i < kRegions; i += 2) ASSERT_EQ(userfault_munmap(regions.at(i), kEach * kPage), 0);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  EXPECT_EQ(status_of(child), 0);
  for (std::size_t i = 1; i < kRegions; i += 2) EXPECT_TRUE(regions.holds(i, 1)) << i;
  ::close(ends[0]);
  ::close(ends[1]);
}

// Few are left: they share what is there already, and one is left for the registration itself.
TEST(UserObjects, GoOnWithoutDescriptors) {
  const ManyRegions regions;
  std::vector<int> taken;
  while (taken.size() < 8) taken.push_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto limit = static_cast<rlim_t>(taken.back() + 1);
  for (const int fd : taken) ::close(fd);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{.rlim_cur = limit, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  ASSERT_EQ(regions.fill_all(1), 0);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  const Objects objects = find_objects();
  EXPECT_GT(objects.descriptors, 0U);
  EXPECT_LE(objects.descriptors, 7U);
  for (std::size_t i = 0; i < kRegions; ++i) EXPECT_TRUE(regions.holds(i, 1)) << i;
}

// The kernel's memory is no file, and knows no limit of a file's size; ours says so and sends no signal.
TEST(UserObjects, BehindTheLimitOfAFilesSizeIsNoMemory) {
  const ManyRegions regions(3);
  ASSERT_EQ(regions.enter(0), 0);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit low{.rlim_cur = kPage, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &low), 0);
  EXPECT_EQ(regions.enter(1), ENOMEM);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_EQ(regions.enter(1), 0);
  EXPECT_EQ(regions.copy(1, 0, 1), 0);
}

}  // namespace
}  // namespace userfault::test
