// SPDX-License-Identifier: Apache-2.0
// The store's own file in the place of pages: every byte is the file's all the same.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "support/pager_fixture.h"
#include "support/sanitizers.h"
#include "support/temporary_file.h"

namespace userfault::test {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

class PagerMapped : public PagerOnEngine {
 protected:
  [[nodiscard]] static std::shared_ptr<Store> open(const TemporaryFile& file) {
    const auto store = open_file_store(file.path(), {.mapped = true});
    EXPECT_TRUE(store) << store.error().text;
    return *store;
  }
};

TEST_P(PagerMapped, AWalkFindsTheFilesOwnPages) {
  const auto bytes = random_bytes(4 * kMiB + 123, 1);
  const TemporaryFile file(bytes);
  const Pager pager = make();
  const Mapping mapping = map(pager, open(file));
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
  const std::vector<std::byte> zeroes(1025 * kPage - bytes.size());
  EXPECT_EQ(std::memcmp(mapping.data() + bytes.size(), zeroes.data(), zeroes.size()), 0) << "behind the end";
  mapping.wait_for_prefetch();
  const Statistics statistics = pager.statistics();
  // All but the beginning of the walk, and the page that the file ends in.
  EXPECT_GE(statistics.mapped_pages, 1024u - 32u);
  EXPECT_EQ(statistics.pages_by_fault + statistics.pages_by_prefetch, 1025u);
  EXPECT_EQ(statistics.bytes_by_fault + statistics.bytes_by_prefetch, bytes.size());
  EXPECT_EQ(statistics.resident_bytes, (1025 - statistics.mapped_pages) * kPage);
  EXPECT_TRUE(pager.errors().empty());
}

TEST_P(PagerMapped, OnePageIsCopied) {
  const auto bytes = random_bytes(kMiB, 2);
  const TemporaryFile file(bytes);
  const Pager pager = make();
  const Mapping mapping = map(pager, open(file), {.detect_streams = false});
  for (std::size_t page = 0; page < 256; page += 7) EXPECT_EQ(mapping.data()[page * kPage], bytes[page * kPage]);
  EXPECT_EQ(pager.statistics().mapped_pages, 0u);
}

TEST_P(PagerMapped, WhatIsFetchedAheadFaultsNoMore) {
  const auto bytes = random_bytes(6 * kMiB, 3);
  const TemporaryFile file(bytes);
  for (const std::size_t page : {kPage, std::size_t{64} << 10, 2 * kMiB}) {
    const Pager pager = make();
    const Mapping mapping = map(pager, open(file), {.page_size = page});
    mapping.prefetch(0, mapping.size());
    mapping.wait_for_prefetch();
    EXPECT_EQ(pager.statistics().mapped_pages, bytes.size() / page);
    EXPECT_TRUE(mapping.resident(0));
    EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0) << page;
    EXPECT_EQ(pager.statistics().faults, 0u);
  }
}

TEST_P(PagerMapped, TheBudgetCountsCopiesAlone) {
  if (kThreadSanitizer) GTEST_SKIP() << "TSan takes mmap(2) over memory that is read meanwhile for a write to it";
  const auto bytes = random_bytes(8 * kMiB + 99, 4);
  const TemporaryFile file(bytes);
  const Pager pager = make({.workers = 2, .budget = kMiB});
  const Mapping mapping = map(pager, open(file));
  std::atomic<int> wrong{0};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> most{0};
  std::thread watch([&] {
    while (!stop) most = std::max(most.load(), pager.statistics().resident_bytes);
  });
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < 2048; ++i) {
          // Two walk, from the beginning and from the middle; two jump.
          const std::size_t page = t < 2 ? (t * 1024 + i) % 2048 : (i * 389 + t * 100) % 2048;
          wrong += std::memcmp(mapping.data() + page * kPage, bytes.data() + page * kPage, kPage) != 0;
        }
      });
  }
  stop = true;
  watch.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
  mapping.wait_for_prefetch();
  EXPECT_LE(most, kMiB);
  EXPECT_GT(pager.statistics().mapped_pages, 0u);
  EXPECT_LE(pager.statistics().resident_bytes, kMiB);
  EXPECT_TRUE(pager.errors().empty());
}

TEST_P(PagerMapped, WhatThePinIsForIsCopied) {
  const auto bytes = random_bytes(2 * kMiB, 5);
  const TemporaryFile file(bytes);
  const Pager pager = make();
  const Mapping mapping = map(pager, open(file));
  ASSERT_TRUE(mapping.pin(0, kMiB));
  EXPECT_EQ(pager.statistics().mapped_pages, 0u);
  mapping.prefetch(kMiB, kMiB);
  mapping.wait_for_prefetch();
  ASSERT_TRUE(mapping.pin(kMiB, kMiB)) << "mapped pages are there";
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
  EXPECT_TRUE(mapping.unpin(0, kMiB) && mapping.unpin(kMiB, kMiB));
}

TEST_P(PagerMapped, WhatTheProgramDropsComesBack) {
  const auto bytes = random_bytes(kMiB, 6);
  const TemporaryFile file(bytes);
  const Pager pager = make();
  const Mapping mapping = map(pager, open(file));
  mapping.prefetch(0, mapping.size());
  mapping.wait_for_prefetch();
  ASSERT_EQ(::userfault_madvise(mapping.data(), kMiB, MADV_DONTNEED), 0);
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
}

TEST_P(PagerMapped, APartOfAFileAndTheZeroesBehindIt) {
  const auto bytes = random_bytes(2 * kMiB, 7);
  const TemporaryFile file(bytes);
  const Pager pager = make();
  for (const std::size_t offset : {3 * kPage, 3 * kPage + 1}) {
    const std::size_t length = kMiB + 5 * kPage + 77;
    const auto part = make_part_store(open(file), offset, length, kMiB);
    ASSERT_TRUE(part) << part.error().text;
    const Mapping mapping = map(pager, *part);
    mapping.prefetch(0, mapping.size());
    mapping.wait_for_prefetch();
    EXPECT_EQ(mapping.statistics().mapped_pages != 0, offset % kPage == 0) << "bytes inside a page cannot be mapped";
    EXPECT_EQ(std::memcmp(mapping.data(), bytes.data() + offset, length), 0);
    for (std::size_t at = length; at < mapping.size(); ++at) ASSERT_EQ(mapping.data()[at], std::byte{0}) << at;
  }
}

TEST_P(PagerMapped, RunsThatLieApartAreBounded) {
  constexpr std::size_t kRun = std::size_t{64} << 10;
  constexpr std::size_t kRuns = 1100;
  const auto mark = random_bytes(kPage, 8);
  TemporaryFile file(mark);
  file.truncate(2 * kRun * kRuns);
  const Pager pager = make();
  const Mapping mapping = map(pager, open(file));
  std::vector<MappedRange> ranges;
  for (std::size_t i = 0; i < kRuns; ++i) ranges.push_back({2 * i * kRun, kRun});
  mapping.prefetch(ranges);
  mapping.wait_for_prefetch();
  EXPECT_EQ(mapping.statistics().mapped_pages, 1024 * kRun / kPage);
  for (const MappedRange& range : ranges) EXPECT_TRUE(mapping.resident(range.offset));
  // What lies between two runs joins them.
  mapping.prefetch(kRun, kRun);
  mapping.wait_for_prefetch();
  EXPECT_EQ(mapping.statistics().mapped_pages, 1025 * kRun / kPage);
  EXPECT_EQ(std::memcmp(mapping.data(), mark.data(), kPage), 0);
  EXPECT_EQ(mapping.data()[2 * kRun * kRuns - kRun - 1], std::byte{0});
}

// The child reads behind the end that the file got; the pager lives in it, because its memory does not
// come along.
int status_of_reading_behind_the_end(EngineKind engine, const TemporaryFile& file) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto pager = Pager::create({.engine = engine});
    auto store = open_file_store(file.path(), {.mapped = true});
    if (!pager || !store) ::_exit(100);
    auto mapping = pager->map(*store);
    if (!mapping || ::truncate(file.path().c_str(), kPage) != 0) ::_exit(101);
    mapping->prefetch(0, mapping->size());
    mapping->wait_for_prefetch();
    const auto errors = pager->errors();
    if (errors.size() != 1 || errors[0].code != EIO || errors[0].offset != 0) ::_exit(102);
    ::_exit(static_cast<int>(*const_cast<volatile std::byte*>(mapping->data() + kPage)));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST_P(PagerMapped, WhatATruncatedFileHasNoMoreIsSigbusAndReported) {
  const TemporaryFile file(random_bytes(kMiB, 9));
  const int status = status_of_reading_behind_the_end(GetParam(), file);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) << status;
}

USERFAULT_ON_BOTH_ENGINES(PagerMapped);

TEST(FileStoreMapped, RefusesWhatItCannotBe) {
  const TemporaryFile file(random_bytes(4 * kPage, 10));
  for (const FileStoreOptions& options :
       {FileStoreOptions{.writable = true, .mapped = true}, FileStoreOptions{.direct = true, .mapped = true},
        FileStoreOptions{.offset = 1, .mapped = true}}) {
    const auto refused = open_file_store(file.path(), options);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EINVAL);
    EXPECT_NE(refused.error().text.find("mapped"), std::string::npos) << refused.error().text;
  }
  EXPECT_FALSE(open_store("zero:4k", {.mapped = true}));
  EXPECT_TRUE(open_store("file:" + file.path(), {.mapped = true}));
}

}  // namespace
}  // namespace userfault::test
