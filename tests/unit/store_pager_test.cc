// SPDX-License-Identifier: Apache-2.0
// The pager over stores that answer from threads of their own, past the page cache, or unpack.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <optional>
#include <thread>

#include "support/temporary_file.h"
#include "userfault/packed_image.h"
#include "userfault/pager.h"

namespace userfault::test {
namespace {

constexpr std::size_t kPage = 4096;

struct Way {
  const char* name;
  EngineKind engine;
  FileAccess access;
  bool direct;
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class PagerOverStore : public testing::TestWithParam<Way> {
 protected:
  static std::optional<Pager> make_pager(std::uint64_t budget) {
    auto pager = Pager::create({.engine = GetParam().engine, .workers = 2, .budget = budget});
    if (!pager) return std::nullopt;
    return std::move(*pager);
  }
  static FileStoreOptions options(bool writable) {
    return {.writable = writable, .direct = GetParam().direct, .access = GetParam().access};
  }
};

std::vector<std::byte> bytes_of(const std::string& path, std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  EXPECT_EQ(file.gcount(), static_cast<std::streamsize>(size));
  return bytes;
}

TEST_P(PagerOverStore, FourThreadsReadEveryByteUnderABudget) {
  const auto bytes = random_bytes(1024 * kPage + 77, 31);
  const TemporaryFile file(bytes);
  const auto store = open_file_store(file.path(), options(false));
  ASSERT_TRUE(store) << store.error().text;
  const auto pager = make_pager(64 * kPage);
  if (!pager) GTEST_SKIP() << "this engine is not available here";
  const auto mapping = pager->map(*store);
  ASSERT_TRUE(mapping) << mapping.error().message();
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < 1024; ++i) {
          // Two walk, two jump.
          const std::size_t page = t < 2 ? i : (i * 389 + t * 100) % 1024;
          if (std::memcmp(mapping->data() + page * kPage, bytes.data() + page * kPage, kPage) != 0) ++wrong;
        }
      });
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), mapping->data()));
  EXPECT_GT(pager->statistics().evictions, 0u);
  EXPECT_TRUE(pager->errors().empty());
}

TEST_P(PagerOverStore, WhatIsWrittenReachesTheFile) {
  auto bytes = random_bytes(512 * kPage, 32);
  const TemporaryFile file(bytes);
  const auto store = open_file_store(file.path(), options(true));
  ASSERT_TRUE(store) << store.error().text;
  const auto pager = make_pager(64 * kPage);
  if (!pager) GTEST_SKIP() << "this engine is not available here";
  auto mapping = pager->map(*store, {.writable = true});
  ASSERT_TRUE(mapping) << mapping.error().message();
  for (int round = 0; round < 2; ++round)
    for (std::size_t page = 0; page < 512; page += 3) {
      const std::size_t at = page * 197 % 512 * kPage + page;
      mapping->data()[at] = ~mapping->data()[at];
      bytes[at] = ~bytes[at];
    }
  const auto flushed = mapping->flush();
  ASSERT_TRUE(flushed) << flushed.error().message();
  EXPECT_TRUE(bytes_of(file.path(), bytes.size()) == bytes);
  EXPECT_TRUE(pager->errors().empty());
}

TEST_P(PagerOverStore, APackedImageIsReadLazily) {
  const auto bytes = random_bytes(512 * kPage + 99, 33);
  const TemporaryFile file(bytes);
  const std::string packed = file.path() + ".zst";
  const auto made = pack_file(file.path(), packed, {.frame_size = kSmallestFrame, .replace = true});
  if (!made && made.error().code == ENOTSUP) GTEST_SKIP() << "the library was built without zstd";
  ASSERT_TRUE(made) << made.error().text;
  auto inner = open_file_store(packed, options(false));
  ASSERT_TRUE(inner);
  const auto store = open_packed_store(*inner, packed);
  ::unlink(packed.c_str());
  ASSERT_TRUE(store) << store.error().text;
  const auto pager = make_pager(64 * kPage);
  if (!pager) GTEST_SKIP() << "this engine is not available here";
  const auto mapping = pager->map(*store);
  ASSERT_TRUE(mapping) << mapping.error().message();
  for (std::size_t i = 0; i < 512; ++i) {
    const std::size_t at = i * 389 % 512 * kPage;
    ASSERT_EQ(std::memcmp(mapping->data() + at, bytes.data() + at, kPage), 0) << at;
  }
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), mapping->data()));
}

INSTANTIATE_TEST_SUITE_P(Ways, PagerOverStore,
                         testing::Values(Way{"kernel_pool", EngineKind::kKernel, FileAccess::kPool, false},
                                         Way{"kernel_ring", EngineKind::kKernel, FileAccess::kRing, false},
                                         Way{"kernel_direct_calls", EngineKind::kKernel, FileAccess::kCalls, true},
                                         Way{"kernel_direct_ring", EngineKind::kKernel, FileAccess::kRing, true},
                                         Way{"user_pool", EngineKind::kUser, FileAccess::kPool, false},
                                         Way{"user_ring", EngineKind::kUser, FileAccess::kRing, false},
                                         Way{"user_direct_ring", EngineKind::kUser, FileAccess::kRing, true}),
                         [](const auto& way) { return std::string(way.param.name); });

}  // namespace
}  // namespace userfault::test
