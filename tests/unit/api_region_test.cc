// SPDX-License-Identifier: Apache-2.0
// Region and the wrappers of the layout calls.
#include <fcntl.h>

#include <fstream>
#include <thread>

#include "api_support.h"
#include "userfault/userfault.h"

namespace userfault::test {
namespace {

class ApiRegion : public ApiTest {};
USERFAULT_ON_BOTH_ENGINES(ApiRegion);

bool is_mapped(PageRange range) {
  unsigned char present[8];
  return ::mincore(range.data(), kPage, present) == 0;
}

bool memory_file_passes_protection() {
  void* const at = ::mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const int memory = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  char byte;
  const bool result = ::pread(memory, &byte, 1, static_cast<off_t>(reinterpret_cast<std::uintptr_t>(at))) == 1;
  ::close(memory);
  ::munmap(at, kPage);
  return result;
}

TEST_P(ApiRegion, EveryKindIsServedAndUnmapped) {
  const Features features = feature::kMissingShmem | feature::kMissingHugetlbfs;
  const auto descriptor = open(features);
  if (!descriptor) GTEST_SKIP() << lacks(features);
  for (const RegionOptions& options :
       {RegionOptions{}, RegionOptions{.shared = true}, RegionOptions{.huge_page_size = kHuge},
        RegionOptions{.shared = true, .huge_page_size = kHuge}, RegionOptions{.writable = false}}) {
    PageRange range;
    {
      auto region = Region::create(*descriptor, 1, options);
      ASSERT_TRUE(region) << why(region);
      range = region->range();
      const std::size_t page = options.huge_page_size != 0 ? kHuge : kPage;
      EXPECT_EQ(region->page_size(), page);
      EXPECT_EQ(region->size(), page) << "rounded up to a page";
      EXPECT_EQ(region->page_of(range.start + page - 1), range);
      const auto source = page_of('q', page);
      const auto copied = descriptor->copy_fully(range, source.data(), {}, region->retry_policy());
      ASSERT_TRUE(copied) << why(copied);
      EXPECT_EQ(static_cast<char>(region->data()[page - 1]), 'q');
      const auto again = descriptor->copy_fully(range, source.data(), {}, region->retry_policy());
      ASSERT_TRUE(again) << why(again);
      EXPECT_EQ(again->outcome, Outcome::kExists);
    }
    EXPECT_FALSE(is_mapped(range));
  }
}

TEST_P(ApiRegion, BorrowedMemoryStays) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const Memory memory(2 * kPage);
  {
    const auto region = Region::borrow(*descriptor, memory.page(1));
    ASSERT_TRUE(region) << why(region);
    EXPECT_TRUE(descriptor->zeropage(region->range()));
  }
  *memory.data(1) = 1;
  EXPECT_EQ(descriptor->zeropage(memory.page(1)).error().code, ENOENT) << "it is no longer registered";
}

TEST_P(ApiRegion, WaitingThreadsGoOnWhenItIsClosed) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const Memory memory(kPage);
  auto region = Region::borrow(*descriptor, memory.range());
  ASSERT_TRUE(region) << why(region);
  std::jthread reader([&] { static_cast<void>(*memory.data()); });
  ASSERT_TRUE(descriptor->wait(kGuard).value_or(false));
  const auto closed = region->close();
  EXPECT_TRUE(closed) << why(closed);
  EXPECT_TRUE(region->close()) << "closing twice is nothing";
}

TEST_P(ApiRegion, MovesWithItsMemory) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  auto first = Region::create(*descriptor, kPage);
  auto second = Region::create(*descriptor, kPage);
  ASSERT_TRUE(first && second);
  const PageRange kept = first->range();
  const PageRange dropped = second->range();
  *second = std::move(*first);
  EXPECT_EQ(second->range(), kept);
  EXPECT_EQ(first->size(), 0u);
  EXPECT_FALSE(is_mapped(dropped));
  EXPECT_TRUE(descriptor->zeropage(kept));
}

TEST_P(ApiRegion, OutlivesItsDescriptorWithoutHarm) {
  auto descriptor = open();
  ASSERT_TRUE(descriptor);
  auto region = Region::create(*descriptor, kPage);
  ASSERT_TRUE(region) << why(region);
  const PageRange range = region->range();
  descriptor->close();
  EXPECT_EQ(region->close().error().code, EBADF);
  EXPECT_FALSE(is_mapped(range));
}

TEST_P(ApiRegion, BadInput) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  EXPECT_EQ(Region::create(*descriptor, 0).error().code, EINVAL);
  EXPECT_EQ(Region::create(*descriptor, kPage, {.huge_page_size = 3 * kPage}).error().code, EINVAL);
  EXPECT_EQ(Region::create(*descriptor, SIZE_MAX).error().code, EINVAL);
  EXPECT_EQ(Region::create(*descriptor, std::size_t{1} << 62).error().code, ENOMEM);
  EXPECT_EQ(Region::create(*descriptor, kPage, {.modes = Modes{}}).error().operation, Operation::kRegister);
}

TEST_P(ApiRegion, LayoutCallsSayWhatFailed) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const Memory memory(2 * kPage);
  const PageRange odd{memory.range().start + 1, kPage};
  const auto expect = [&](const Result<void>& result, Operation operation) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().operation, operation);
    EXPECT_EQ(result.error().code, EINVAL);
    EXPECT_EQ(result.error().address, odd.start);
  };
  expect(memory::unmap(odd), Operation::kUnmap);
  expect(memory::advise(odd, MADV_DONTNEED), Operation::kAdvise);
  expect(memory::protect(odd, PROT_READ), Operation::kProtect);
  EXPECT_EQ(memory::remap(odd, kPage).error().operation, Operation::kRemap);
  EXPECT_EQ(memory::map(0, {.flags = MAP_PRIVATE | MAP_ANONYMOUS}).error().code, EINVAL);
}

TEST_P(ApiRegion, LayoutCallsDoWhatTheySay) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto mapped =
      memory::map(4 * kPage, {.protection = PROT_READ | PROT_WRITE, .flags = MAP_PRIVATE | MAP_ANONYMOUS});
  ASSERT_TRUE(mapped) << why(mapped);
  auto* bytes = static_cast<volatile char*>(mapped->data());
  bytes[0] = 1;
  ASSERT_TRUE(memory::advise({mapped->start, kPage}, MADV_DONTNEED));
  EXPECT_EQ(bytes[0], 0);
  bytes[kPage] = 2;
  ASSERT_TRUE(memory::protect(*mapped, PROT_READ));
  const auto shrunk = memory::remap(*mapped, 2 * kPage, {.may_move = false});
  ASSERT_TRUE(shrunk) << why(shrunk);
  EXPECT_EQ(shrunk->start, mapped->start);
  EXPECT_EQ(bytes[kPage], 2);
  ASSERT_TRUE(memory::unmap(*shrunk));
  EXPECT_FALSE(is_mapped(*shrunk));
}

// ZERO-01: what ZEROPAGE put there in memory that is registered for protection alone is there also when nobody
// serves the memory any more.
TEST_P(ApiRegion, ZeroesStayWhenTheRegistrationEnds) {
  if (GetParam() == EngineKind::kUser && !memory_file_passes_protection())
    GTEST_SKIP() << "proc_mem.force_override keeps the engine from mapping a page of zeroes";
  const auto descriptor = open(feature::kPagefaultFlagWp);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kPagefaultFlagWp);
  const auto mapped =
      memory::map(2 * kPage, {.protection = PROT_READ | PROT_WRITE, .flags = MAP_PRIVATE | MAP_ANONYMOUS});
  ASSERT_TRUE(mapped) << why(mapped);
  ASSERT_TRUE(descriptor->register_range(*mapped, mode::kWriteProtect));
  ASSERT_EQ(userfault_ioctl_zeropage(descriptor->fd(), mapped->data(), kPage, 0, nullptr), 0);
  ASSERT_TRUE(descriptor->unregister(*mapped));
  ASSERT_TRUE(descriptor->register_range(*mapped, mode::kMissing));
  const std::vector<char> source(kPage, 7);
  EXPECT_EQ(userfault_ioctl_copy(descriptor->fd(), mapped->data(), source.data(), kPage, 0, nullptr), -1);
  EXPECT_EQ(errno, EEXIST);
  auto* const behind = static_cast<char*>(mapped->data()) + kPage;
  EXPECT_EQ(userfault_ioctl_copy(descriptor->fd(), behind, source.data(), kPage, 0, nullptr), 0);
  ASSERT_TRUE(memory::unmap(*mapped));
}

// An mremap that the kernel refuses, of memory that nobody serves over a hole and a served page, leaves that page.
TEST_P(ApiRegion, ARefusedMoveOverAHoleLeavesWhatIsServedBehindIt) {
  const auto descriptor = open(feature::kMissingHugetlbfs);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kMissingHugetlbfs);
  constexpr int kFlags = MAP_ANONYMOUS | MAP_HUGETLB;
  void* const moved = ::mmap(nullptr, 2 * kHuge, PROT_READ | PROT_WRITE, MAP_SHARED | kFlags, -1, 0);
  void* const target = ::mmap(nullptr, 2 * kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | kFlags, -1, 0);
  if (moved == MAP_FAILED || target == MAP_FAILED) GTEST_SKIP() << "no huge pages";
  auto* const page = static_cast<char*>(target) + kHuge;
  ASSERT_TRUE(descriptor->register_range(PageRange::of(page, kHuge), mode::kMissing));
  ASSERT_EQ(::munmap(target, kHuge), 0);
  constexpr int kKeepSource = 4;  // MREMAP_DONTUNMAP, which huge pages are refused
  EXPECT_EQ(userfault_mremap(moved, 2 * kHuge, 2 * kHuge, MREMAP_MAYMOVE | MREMAP_FIXED | kKeepSource, target),
            MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  const std::vector<char> source(kHuge, 7);
  EXPECT_EQ(userfault_ioctl_copy(descriptor->fd(), page, source.data(), kHuge, 0, nullptr), 0);
  EXPECT_EQ(*static_cast<volatile char*>(page), 7);
  userfault_munmap(page, kHuge);
  ::munmap(moved, 2 * kHuge);
}

}  // namespace
}  // namespace userfault::test
