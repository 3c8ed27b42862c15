// SPDX-License-Identifier: Apache-2.0
// UFFDIO_REGISTER: what it refuses, and that a refusal registers nothing.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <vector>

#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::size_t kPage = 4096;

// A private mapping of a file that is on a disk or at least is not shared memory: ourselves.
char* map_program(std::size_t bytes) {
  const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  void* view = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (view == MAP_FAILED) throw Broken("mmap of /proc/self/exe");
  return static_cast<char*>(view);
}

Range range_of(const void* start, std::size_t length) { return {reinterpret_cast<std::uintptr_t>(start), length}; }

CONFORMANCE_TEST(RegisterErrors, BadModes, "REG-07", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  EXPECT_EQ(uffd.register_range(map.all(), 0), Fails(EINVAL));
  for (std::uint64_t bit = 8; bit != 0; bit <<= 1) {
    EXPECT_EQ(uffd.register_range(map.all(), bit), Fails(EINVAL)) << "bit " << std::hex << bit;
    EXPECT_EQ(uffd.register_range(map.all(), bit | kMissing), Fails(EINVAL)) << "bit " << std::hex << bit;
  }
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
}

CONFORMANCE_TEST(RegisterErrors, NothingMapped, "REG-08 REAL-07", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  ASSERT_EQ(userfault_munmap(map.page(1), map.page_size()), 0);
  EXPECT_EQ(uffd.register_range(map.range(1, 1), kMissing), Fails(EINVAL));
}

CONFORMANCE_TEST(RegisterErrors, MinorOnPrivateAnonymous, "REG-03 REG-09", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  EXPECT_EQ(uffd.register_range(map.all(), kMinor), Fails(EINVAL));
  EXPECT_EQ(uffd.register_range(map.all(), kMinor | kMissing), Fails(EINVAL));
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
}

CONFORMANCE_TEST(RegisterErrors, RegularFile, "REG-09", Backings::kNone) {
  Uffd uffd(ctx);
  const char* program = map_program(kPage);
  for (std::uint64_t modes = 1; modes < 8; ++modes)
    EXPECT_EQ(uffd.register_range(range_of(program, kPage), modes), Fails(EINVAL)) << "modes " << modes;
  EXPECT_EQ(program[1], 'E');
}

// One mapping that does not fit is enough, wherever in the range it lies.
CONFORMANCE_TEST(RegisterErrors, OneMappingDoesNotFit, "REG-09", Backings::kSmall) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(userfault_mmap(map.page(1), kPage, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0), map.page(1));
  ::close(fd);
  EXPECT_EQ(uffd.register_range(map.all(), kMissing), Fails(EINVAL));
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
  EXPECT_EQ(expect_readable(uffd, map.page(2)), 0u);
}

CONFORMANCE_TEST(RegisterErrors, LessThanAHugePage, "GEN-06 REG-09 UNREG-02", Backings::kHugetlb) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  const Range all = map.all();
  EXPECT_EQ(uffd.register_range({all.start, kPage}, kMissing), Fails(EINVAL));
  EXPECT_EQ(uffd.register_range({all.start + kPage, all.length - kPage}, kMissing), Fails(EINVAL));
  EXPECT_EQ(uffd.register_range({all.start, all.length - kPage}, kMissing), Fails(EINVAL));
  uffd.must_register(all, kMissing);
  EXPECT_EQ(uffd.unregister({all.start + kPage, all.length - kPage}), Fails(EINVAL));
  EXPECT_EQ(uffd.unregister({all.start, all.length - kPage}), Fails(EINVAL));
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.range(0, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(RegisterErrors, AnotherDescriptorsRange, "REG-06 REAL-06", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd owner(ctx);
  Uffd other(ctx);
  owner.must_register(map.range(1, 1), kMissing);
  EXPECT_EQ(other.register_range(map.range(1, 1), kMissing), Fails(EBUSY));
  EXPECT_EQ(other.register_range(map.all(), kMissing), Fails(EBUSY));
  // Nothing of the range was taken.
  EXPECT_EQ(expect_readable(owner, map.page(0)), 0u);
  Faulter faulter = expect_read_faults(owner, map.page(1));
  other.expect_no_message();
  owner.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(faulter.join().value, 0u);
  // It is free again once the owner has let go.
  EXPECT_EQ(owner.unregister(map.range(1, 1)), Succeeds());
  other.must_register(map.all(), kMissing);
}

// Who may not write to shared memory may not fill it through a userfaultfd either.
CONFORMANCE_TEST(RegisterErrors, ReadOnlySharedFile, "REAL-34", Backings::kMemfd | Backings::kTmpfs) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  const std::string path = "/proc/self/fd/" + std::to_string(map.file());
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const void* view = ::mmap(nullptr, map.size(), PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(view, MAP_FAILED);
  for (const std::uint64_t mode : {kMissing, kMinor})
    EXPECT_EQ(uffd.register_range(range_of(view, map.size()), mode), Fails(EPERM)) << "mode " << mode;
}

long map_count_limit() {
  long limit = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> limit;
  return limit;
}

// Registering part of a mapping splits it, and a process may have only so many.
CONFORMANCE_TEST(RegisterErrors, NoMappingIsLeft, "REG-01 UNREG-02", Backings::kPrivate) {
  skip_under_thread_sanitizer("the runtime needs mappings of its own");
  const long limit = map_count_limit();
  if (limit > 200000) throw Skip("vm.max_map_count is " + std::to_string(limit) + ": too many to use up");
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Mapping other(ctx, 3);
  // Every second page of a large reservation with another protection is a mapping of its own.
  const auto bytes = static_cast<std::size_t>(limit + 16) * kPage;
  auto* filler =
      static_cast<char*>(::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  ASSERT_NE(static_cast<void*>(filler), MAP_FAILED);
  std::size_t offset = kPage;
  while (offset < bytes && ::mprotect(filler + offset, kPage, PROT_READ) == 0) offset += 2 * kPage;
  // A page in the middle takes two; the one at the end takes the one that may be left.
  (void)::mprotect(filler + bytes - kPage, kPage, PROT_READ);
  EXPECT_EQ(uffd.register_range(other.range(1, 1), kMissing), Fails(ENOMEM));
  EXPECT_EQ(uffd.unregister(map.range(1, 1)), Fails(ENOMEM));
  ::munmap(filler, bytes);
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance
