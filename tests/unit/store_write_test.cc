// SPDX-License-Identifier: Apache-2.0
// Stores that are written to, in every way of reaching a file, and the helpers that wait.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>

#include "support/temporary_file.h"
#include "userfault/store.h"

namespace userfault::test {
namespace {

constexpr std::size_t kPage = 4096;

std::vector<std::byte> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> chars((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<std::byte> bytes(chars.size());
  std::memcpy(bytes.data(), chars.data(), chars.size());
  return bytes;
}

// Aligned, so that O_DIRECT applies where it was asked for.
class Buffer {
 public:
  explicit Buffer(std::size_t size)
      : size_(size), data_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~Buffer() { ::munmap(data_, size_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  [[nodiscard]] std::span<std::byte> bytes() const { return {static_cast<std::byte*>(data_), size_}; }

 private:
  std::size_t size_;
  void* data_;
};

struct Way {
  const char* name;
  FileAccess access;
  bool direct;
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class EveryFileStore : public testing::TestWithParam<Way> {
 protected:
  [[nodiscard]] static std::shared_ptr<Store> open(const TemporaryFile& file, FileStoreOptions options = {}) {
    options.access = GetParam().access;
    options.direct = GetParam().direct;
    options.writable = true;
    auto store = open_file_store(file.path(), options);
    EXPECT_TRUE(store) << store.error().text;
    return store.value_or(nullptr);
  }
};

TEST_P(EveryFileStore, ReadsWhatIsThereAndWhatItWrote) {
  auto bytes = random_bytes(64 * kPage + 123, 11);
  const TemporaryFile file(bytes);
  const auto store = open(file);
  ASSERT_NE(store, nullptr);
  SCOPED_TRACE(store->description());
  const Buffer got(65 * kPage);
  ASSERT_EQ(read_store(*store, 0, got.bytes().first(bytes.size())), 0);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), got.bytes().begin()));

  const auto change = random_bytes(3 * kPage, 12);
  const Buffer from(3 * kPage);
  std::ranges::copy(change, from.bytes().begin());
  for (const std::size_t offset : {std::size_t{8 * kPage}, std::size_t{777}, bytes.size() - 3 * kPage}) {
    ASSERT_EQ(write_store(*store, offset, from.bytes()), 0);
    std::ranges::copy(change, bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  EXPECT_EQ(store->flush(), 0);
  EXPECT_EQ(bytes_of(file.path()), bytes);
  ASSERT_EQ(read_store(*store, 4 * kPage, got.bytes().first(8 * kPage)), 0);
  EXPECT_EQ(std::memcmp(got.bytes().data(), bytes.data() + 4 * kPage, 8 * kPage), 0);
}

TEST_P(EveryFileStore, AFileThatShrankIsAnErrorAndIsNotMadeLonger) {
  TemporaryFile file(random_bytes(8 * kPage, 13));
  const auto store = open(file);
  ASSERT_NE(store, nullptr);
  file.truncate(2 * kPage + 10);
  const Buffer got(8 * kPage);
  std::size_t good = 99;
  EXPECT_EQ(read_store(*store, 0, got.bytes(), &good), ENODATA);
  EXPECT_EQ(good, 2 * kPage + 10);
  EXPECT_EQ(write_store(*store, 4 * kPage, got.bytes().first(kPage), &good), ENODATA);
  EXPECT_EQ(good, 0u);
  EXPECT_EQ(bytes_of(file.path()).size(), 2 * kPage + 10);
}

struct Many {
  std::atomic<int> answered{0};
  std::atomic<int> wrong{0};
};

TEST_P(EveryFileStore, AnswersABatchOfManyEachOnce) {
  constexpr std::size_t kCount = 500;
  const auto bytes = random_bytes(kCount * kPage, 14);
  const TemporaryFile file(bytes);
  const auto store = open(file);
  ASSERT_NE(store, nullptr);
  const Buffer got(kCount * kPage);
  Many many;
  std::vector<StoreRequest> batch(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    const std::size_t at = (i * 7919 % kCount) * kPage;
    batch[i] = {.offset = at, .data = got.bytes().data() + at, .length = kPage};
    batch[i].context = &many;
    batch[i].done = [](StoreRequest& request) {
      Many& to = *static_cast<Many*>(request.context);
      if (request.code != 0 || request.bytes != kPage) ++to.wrong;
      ++to.answered;
      to.answered.notify_all();
    };
  }
  store->read(batch);
  for (int seen = many.answered; seen != kCount; seen = many.answered) many.answered.wait(seen);
  EXPECT_EQ(many.wrong, 0);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), got.bytes().begin()));
}

INSTANTIATE_TEST_SUITE_P(Ways, EveryFileStore,
                         testing::Values(Way{"calls", FileAccess::kCalls, false}, Way{"pool", FileAccess::kPool, false},
                                         Way{"ring", FileAccess::kRing, false},
                                         Way{"direct_calls", FileAccess::kCalls, true},
                                         Way{"direct_pool", FileAccess::kPool, true},
                                         Way{"direct_ring", FileAccess::kRing, true}),
                         [](const auto& way) { return std::string(way.param.name); });

TEST(FileStore, ZeroesBehindTheFileCannotBeWritten) {
  const TemporaryFile file(random_bytes(kPage, 15));
  const auto store = open_file_store(file.path(), {.zero_tail = kPage, .writable = true});
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().text.find("cannot be written"), std::string::npos);
}

TEST(FileStore, AnUnwritableOneRefuses) {
  const TemporaryFile file(random_bytes(kPage, 16));
  const auto store = open_file_store(file.path());
  EXPECT_FALSE((*store)->writable());
  std::byte byte{};
  EXPECT_EQ(write_store(**store, 0, {&byte, 1}), EROFS);
}

TEST(Stores, WritableMemoryAndFunctions) {
  auto bytes = random_bytes(2 * kPage, 17);
  const auto memory = make_writable_memory_store(bytes);
  EXPECT_TRUE(memory->writable());
  const std::byte byte{0};
  EXPECT_EQ(write_store(*memory, 5, {&byte, 1}), 0);
  EXPECT_EQ(bytes[5], byte);
  EXPECT_EQ(write_store(*memory, 2 * kPage, {&byte, 1}), ERANGE);

  const auto functions =
      make_function_store(kPage, {.read = [](void*, std::uint64_t, std::span<std::byte>) { return 0; },
                                  .write =
                                      [](void* context, std::uint64_t offset, std::span<const std::byte> from) {
                                        static_cast<std::byte*>(context)[offset] = from[0];
                                        return 0;
                                      },
                                  .flush = [](void*) { return EIO; },
                                  .context = bytes.data()});
  EXPECT_EQ(write_store(*functions, 9, {&byte, 1}), 0);
  EXPECT_EQ(bytes[9], byte);
  EXPECT_EQ(functions->flush(), EIO);
}

TEST(PartStore, IsAWindowWithZeroesBehindIt) {
  auto bytes = random_bytes(3 * kPage, 18);
  const auto whole = make_writable_memory_store(bytes);
  const auto part = make_part_store(whole, kPage, kPage, 100);
  ASSERT_TRUE(part);
  EXPECT_EQ((*part)->size(), kPage + 100);
  EXPECT_FALSE((*part)->writable());
  std::vector<std::byte> got(200, std::byte{1});
  EXPECT_EQ(read_store(**part, kPage - 100, got), 0);
  EXPECT_EQ(std::memcmp(got.data(), bytes.data() + 2 * kPage - 100, 100), 0);
  EXPECT_EQ(std::count(got.begin(), got.end(), std::byte{0}), 100);
  EXPECT_EQ((*part)->view(1, 10), bytes.data() + kPage + 1);
  EXPECT_EQ((*part)->view(kPage, 10), nullptr);
  EXPECT_TRUE((*part)->extent(kPage, 100).zero);
  EXPECT_FALSE(make_part_store(whole, 2 * kPage, kPage + 1));

  const auto writable = make_part_store(whole, kPage, kPage);
  const std::byte byte{0};
  EXPECT_EQ(write_store(**writable, 3, {&byte, 1}), 0);
  EXPECT_EQ(bytes[kPage + 3], byte);
}

TEST(StoreNames, AreParsed) {
  const auto file = parse_store_name("file:core:x");
  EXPECT_EQ(file->kind, StoreKind::kFile);
  EXPECT_EQ(file->path, "core:x");
  EXPECT_EQ(parse_store_name("zstd:/a b")->kind, StoreKind::kPacked);
  EXPECT_EQ(parse_store_name("core:x")->kind, StoreKind::kCore);
  EXPECT_EQ(parse_store_name("zero:3")->size, 3u);
  EXPECT_EQ(parse_store_name("zero:2k")->size, 2048u);
  EXPECT_EQ(parse_store_name("zero:1G")->size, std::uint64_t{1} << 30);
  for (const char* bad : {"zero:", "zero:0", "zero:-1", "zero:1x", "zero:1kk", "zero:99999999999999999999",
                          "zero:18446744073709551615k", "zero: 1"})
    EXPECT_FALSE(parse_store_name(bad)) << bad;
}

TEST(StoreNames, OpenWhatTheyName) {
  const auto bytes = random_bytes(3 * kPage, 19);
  const TemporaryFile file(bytes);
  for (const std::string& name : {file.path(), "file:" + file.path()}) {
    const auto store = open_store(name, {.writable = true});
    ASSERT_TRUE(store) << store.error().text;
    EXPECT_TRUE((*store)->writable());
    std::vector<std::byte> got(bytes.size());
    EXPECT_EQ(read_store(**store, 0, got), 0);
    EXPECT_EQ(got, bytes);
  }
  const auto zero = open_store("zero:1m");
  ASSERT_TRUE(zero);
  EXPECT_EQ((*zero)->size(), std::uint64_t{1} << 20);
  EXPECT_EQ(open_store("zero:1m", {.writable = true}).error().code, EROFS);
  EXPECT_EQ(open_store("core:" + file.path()).error().code, EINVAL);
  EXPECT_EQ(open_store("/nonexistent").error().code, ENOENT);
}

}  // namespace
}  // namespace userfault::test
