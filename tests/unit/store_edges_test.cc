// SPDX-License-Identifier: Apache-2.0
// The ends of files: zeroes behind them, and files that end while they are read.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <thread>

#include "support/temporary_file.h"
#include "userfault/descriptor.h"
#include "userfault/store.h"

namespace userfault::test {
namespace {

constexpr std::size_t kPage = 4096;

TEST(FileStore, MoreThanAllNumbersOfZeroesIsRefused) {
  const TemporaryFile file(random_bytes(kPage, 1));
  for (const std::uint64_t zeroes : {UINT64_MAX - 10, UINT64_MAX - kPage + 1, UINT64_MAX}) {
    const auto store = open_file_store(file.path(), {.zero_tail = zeroes});
    ASSERT_FALSE(store) << "its size is " << (*store)->size();
    EXPECT_EQ(store.error().code, EINVAL);
    EXPECT_FALSE(store.error().text.empty());
  }
  const auto most = open_file_store(file.path(), {.zero_tail = UINT64_MAX - kPage});
  ASSERT_TRUE(most) << most.error().text;
  EXPECT_EQ((*most)->size(), UINT64_MAX);
}

struct Way {
  const char* name;
  FileAccess access;
  bool direct;
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class ZeroTail : public testing::TestWithParam<Way> {};

// Nothing of the file is asked for, which no way of reading may take for its end.
TEST_P(ZeroTail, IsReadWithoutTheFile) {
  const auto bytes = random_bytes(4 * kPage, 2);
  const TemporaryFile file(bytes);
  const FileStoreOptions options{
      .zero_tail = 4 * kPage, .direct = GetParam().direct, .access = GetParam().access, .threads = 1};
  const auto store = open_file_store(file.path(), options);
  if (!store && GetParam().direct) GTEST_SKIP() << "this file system has no O_DIRECT: " << store.error().text;
  ASSERT_TRUE(store) << store.error().text;
  if (GetParam().access == FileAccess::kRing && (*store)->description().find("io_uring") == std::string::npos)
    GTEST_SKIP() << "no io_uring: it is " << (*store)->description();
  // From the very end of the file, from inside the zeroes, and over the end.
  struct Part {
    std::size_t offset, length;
  };
  for (const auto [offset, length] :
       {Part{4 * kPage, kPage}, Part{5 * kPage, 3 * kPage}, Part{5 * kPage + 1, 10}, Part{3 * kPage, 2 * kPage}}) {
    // Aligned, so that O_DIRECT applies where it was asked for.
    alignas(kPage) static std::byte got[4 * kPage];
    std::ranges::fill(got, std::byte{7});
    std::size_t good = 0;
    ASSERT_EQ(read_store(**store, offset, {got, length}, &good), 0) << offset;
    EXPECT_EQ(good, length);
    for (std::size_t i = 0; i < length; ++i)
      ASSERT_EQ(got[i], offset + i < bytes.size() ? bytes[offset + i] : std::byte{0}) << offset << " " << i;
  }
}

// A file that is made shorter in the midst of one read of many pages. The read stops where we want it to,
// at a page of its buffer that is missing: the one who brings it truncates the file first.
class AFileThatEnds : public testing::TestWithParam<Way> {
 protected:
  static constexpr std::size_t kPages = 96;
  // The kernel looks at the length once for every 15 small folios that it copies (Linux 6.18,
  // filemap_read()). The new end is inside a page of the same 15 as the missing one, and truncate(2)
  // makes the rest of that page zero; of the pages behind them the kernel finds that they are gone, and
  // it has to be asked again.
  static constexpr std::size_t kMissing = 62;
  static constexpr std::size_t kNewEnd = 67 * kPage + 100;

  void SetUp() override {
    // A system call is to fault.
    auto opened = Descriptor::open(
        {.engine = EngineKind::kKernel, .nonblocking = false, .user_mode_only = OpenOptions::UserModeOnly::kNo});
    if (!opened) GTEST_SKIP() << "no faults of system calls here: " << opened.error().message();
    descriptor_ = std::move(*opened);
    ASSERT_NE(memory_, MAP_FAILED);
    std::memset(memory_, 7, kPages * kPage);
    ASSERT_EQ(::madvise(buffer().data() + kMissing * kPage, kPage, MADV_DONTNEED), 0);
    ASSERT_TRUE(descriptor_->register_range(missing(), mode::kMissing));
  }
  void TearDown() override { ::munmap(memory_, kPages * kPage); }

  [[nodiscard]] std::span<std::byte> buffer() const { return {static_cast<std::byte*>(memory_), kPages * kPage}; }
  [[nodiscard]] PageRange missing() const { return PageRange::of(buffer().data() + kMissing * kPage, kPage); }
  // Page by page, which keeps the folios small.
  static void write_by_pages(const TemporaryFile& file, std::span<const std::byte> bytes) {
    const int fd = ::open(file.path().c_str(), O_WRONLY | O_CLOEXEC);
    for (std::size_t at = 0; at < bytes.size(); at += kPage)
      ASSERT_EQ(::pwrite(fd, bytes.data() + at, kPage, static_cast<off_t>(at)), static_cast<ssize_t>(kPage));
    ::close(fd);
  }
  void truncate_at_the_fault(TemporaryFile& file) const {
    Message message;
    EXPECT_TRUE(descriptor_->read({&message, 1}));
    file.truncate(kNewEnd);
    EXPECT_TRUE(descriptor_->zeropage_fully(missing()));
  }

 private:
  std::optional<Descriptor> descriptor_;
  void* memory_ = ::mmap(nullptr, kPages* kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
};

TEST_P(AFileThatEnds, NeverGivesTheZeroesBehindItsNewEnd) {
  const auto bytes = random_bytes(kPages * kPage, 3);
  TemporaryFile file;
  write_by_pages(file, bytes);
  const auto store = open_file_store(file.path(), {.access = GetParam().access, .threads = 1});
  ASSERT_TRUE(store) << store.error().text;
  std::size_t good = 0;
  int code = 0;
  {
    const std::jthread server([&] { truncate_at_the_fault(file); });
    code = read_store(**store, 0, buffer(), &good);
    // Had it not got there, this would.
    (void)*const_cast<volatile std::byte*>(buffer().data() + kMissing * kPage);
  }
  EXPECT_EQ(code, ENODATA);
  EXPECT_LE(good, kNewEnd);
  EXPECT_EQ(std::memcmp(buffer().data(), bytes.data(), good), 0);
}

INSTANTIATE_TEST_SUITE_P(Ways, ZeroTail,
                         testing::Values(Way{"calls", FileAccess::kCalls, false}, Way{"pool", FileAccess::kPool, false},
                                         Way{"ring", FileAccess::kRing, false},
                                         Way{"direct_calls", FileAccess::kCalls, true},
                                         Way{"direct_pool", FileAccess::kPool, true},
                                         Way{"direct_ring", FileAccess::kRing, true}),
                         [](const auto& way) { return std::string(way.param.name); });
INSTANTIATE_TEST_SUITE_P(Ways, AFileThatEnds,
                         testing::Values(Way{"calls", FileAccess::kCalls, false}, Way{"pool", FileAccess::kPool, false},
                                         Way{"ring", FileAccess::kRing, false}),
                         [](const auto& way) { return std::string(way.param.name); });

}  // namespace
}  // namespace userfault::test
