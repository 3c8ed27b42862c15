// SPDX-License-Identifier: Apache-2.0
// Less memory than data: every byte is the store's all the same, and never more is in memory.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "support/pager_fixture.h"
#include "support/temporary_file.h"
#include "support/writable_store.h"

namespace userfault::test {
namespace {

class PagerBudget : public PagerOnEngine {};

std::size_t wrong_pages(const Mapping& mapping, std::span<const std::byte> bytes, unsigned seed) {
  std::vector<std::uint32_t> order(bytes.size() / kPage);
  std::iota(order.begin(), order.end(), 0u);
  if (seed != 0) std::ranges::shuffle(order, std::mt19937(seed));
  std::size_t wrong = 0;
  for (const std::size_t page : order)
    wrong += std::memcmp(mapping.data() + page * kPage, bytes.data() + page * kPage, kPage) != 0;
  return wrong;
}

TEST_P(PagerBudget, IsKeptWhateverIsEvicted) {
  const auto bytes = random_bytes(1024 * kPage, 1);
  const TemporaryFile file(bytes);
  for (const Eviction eviction : {Eviction::kClock, Eviction::kFifo, Eviction::kRandom}) {
    for (const std::size_t pages : {4u, 5u, 64u, 512u}) {
      SCOPED_TRACE(testing::Message() << "eviction " << static_cast<int>(eviction) << ", pages " << pages);
      const Pager pager = make({.budget = pages * kPage, .eviction = eviction});
      const Mapping mapping = map(pager, *open_file_store(file.path()), {.around = 8});
      std::atomic<bool> stop{false};
      std::atomic<std::uint64_t> most{0};
      std::thread watch([&] {
        while (!stop) most = std::max(most.load(), pager.statistics().resident_bytes);
      });
      EXPECT_EQ(wrong_pages(mapping, bytes, 0), 0u);
      EXPECT_EQ(wrong_pages(mapping, bytes, 7), 0u);
      stop = true;
      watch.join();
      EXPECT_LE(most, pages * kPage);
      EXPECT_GE(pager.statistics().evictions, 2 * (1024 - pages));
    }
  }
}

TEST_P(PagerBudget, IsSharedByAllMappings) {
  const auto bytes = random_bytes(256 * kPage, 2);
  const Pager pager = make({.workers = 2, .budget = 100 * kPage});
  std::vector<Mapping> mappings;
  for (int i = 0; i < 4; ++i) mappings.push_back(map(pager, make_memory_store(bytes)));
  std::vector<std::thread> threads;
  std::atomic<std::size_t> wrong{0};
  for (unsigned i = 0; i < 8; ++i) threads.emplace_back([&, i] { wrong += wrong_pages(mappings[i % 4], bytes, i); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_LE(pager.statistics().resident_bytes, 100 * kPage);
  mappings.clear();
  EXPECT_EQ(pager.statistics().resident_bytes, 0u);
}

TEST_P(PagerBudget, OfFewerThanFourPagesIsRefused) {
  const auto bytes = random_bytes(64 * kPage, 3);
  const Pager pager = make({.budget = 4 * kPage});
  EXPECT_TRUE(pager.map(make_memory_store(bytes)));
  const auto refused = pager.map(make_memory_store(bytes), {.page_size = 2 * kPage});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EINVAL);
}

TEST_P(PagerBudget, LargerPagesAreEvictedWhole) {
  const auto bytes = random_bytes(std::size_t{6} << 20, 4);
  for (const std::size_t page : {4 * kPage, std::size_t{64} << 10, std::size_t{512} << 10}) {
    const Pager pager = make({.budget = std::size_t{2} << 20});
    const Mapping mapping = map(pager, make_memory_store(bytes), {.page_size = page});
    EXPECT_EQ(wrong_pages(mapping, bytes, 0), 0u) << page;
    EXPECT_EQ(wrong_pages(mapping, bytes, 3), 0u) << page;
  }
}

// kClock's promise: what is used all the time stays.
TEST_P(PagerBudget, AHotPageIsRevivedRatherThanRead) {
  auto store = std::make_shared<WritableStore>(random_bytes(4096 * kPage, 5));
  const auto bytes = store->bytes();
  const Pager pager = make({.prefetchers = 0, .budget = 256 * kPage});
  const Mapping mapping = map(pager, store, {.detect_streams = false});
  std::size_t wrong = 0;
  for (std::size_t page = 8; page < 4096; ++page)
    for (const std::size_t touched : {page, page % 8})
      wrong += mapping.data()[touched * kPage] != bytes[touched * kPage];
  EXPECT_EQ(wrong, 0u);
  // The first to go had no time to be touched again.
  EXPECT_LE(store->reads, 4096 + 64) << "hot pages were evicted";
  EXPECT_GT(mapping.statistics().revived, 0u);
}

TEST_P(PagerBudget, PinnedPagesStay) {
  auto store = std::make_shared<WritableStore>(random_bytes(1024 * kPage, 6));
  const auto bytes = store->bytes();
  const Pager pager = make({.budget = 64 * kPage});
  const Mapping mapping = map(pager, store);
  ASSERT_TRUE(mapping.pin(100 * kPage + 5, 40 * kPage));
  for (std::size_t page = 100; page <= 140; ++page) EXPECT_TRUE(mapping.resident(page * kPage)) << page;
  EXPECT_EQ(mapping.pin(500 * kPage, 30 * kPage).error().code, ENOMEM);
  for (const unsigned seed : {0u, 1u}) EXPECT_EQ(wrong_pages(mapping, bytes, seed), 0u);
  for (std::size_t page = 100; page <= 140; ++page) EXPECT_TRUE(mapping.resident(page * kPage)) << page;
  EXPECT_EQ(mapping.unpin(100 * kPage, 40 * kPage).error().code, EINVAL);
  EXPECT_TRUE(mapping.unpin(100 * kPage + 5, 40 * kPage));
  EXPECT_TRUE(mapping.pin(500 * kPage, 30 * kPage));
  EXPECT_EQ(wrong_pages(mapping, bytes, 2), 0u);
  EXPECT_EQ(mapping.pin(0, 0).error().code, EINVAL);
  EXPECT_EQ(mapping.pin(1000 * kPage, 25 * kPage).error().code, EINVAL);
}

TEST_P(PagerBudget, PrefetchBringsNoMoreThanFits) {
  const auto bytes = random_bytes(1024 * kPage, 7);
  const Pager pager = make({.prefetchers = 2, .budget = 64 * kPage});
  const Mapping mapping = map(pager, make_memory_store(bytes));
  const MappedRange ranges[] = {{0, 16 * kPage}, {100 * kPage, kPage}, {200 * kPage, 800 * kPage}};
  mapping.prefetch(ranges);
  mapping.wait_for_prefetch();
  EXPECT_LE(pager.statistics().resident_bytes, 64 * kPage);
  EXPECT_GT(pager.statistics().pages_by_prefetch, 16u);
  EXPECT_EQ(wrong_pages(mapping, bytes, 1), 0u);
}

// What the program does to its own view of the memory changes nothing that it reads.
TEST_P(PagerBudget, DroppedPagesComeBack) {
  const auto bytes = random_bytes(128 * kPage, 8);
  const Pager pager = make({.workers = 2, .budget = 32 * kPage});
  const Mapping mapping = map(pager, make_memory_store(bytes), {.page_size = 2 * kPage});
  std::atomic<bool> stop{false};
  std::thread drops([&] {
    std::mt19937 random(1);
    while (!stop) (void)::userfault_madvise(mapping.data() + random() % 128 * kPage, kPage, MADV_DONTNEED);
  });
  for (unsigned seed = 0; seed < 20; ++seed) EXPECT_EQ(wrong_pages(mapping, bytes, seed), 0u);
  stop = true;
  drops.join();
}

TEST_P(PagerBudget, MappingsComeAndGo) {
  const auto bytes = random_bytes(64 * kPage, 9);
  const Pager pager = make({.workers = 2, .prefetchers = 2, .budget = 48 * kPage, .evictors = 2});
  std::vector<std::thread> threads;
  std::atomic<std::size_t> wrong{0};
  for (unsigned i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (unsigned round = 0; round < 20; ++round) {
        const Mapping mapping = map(pager, make_memory_store(bytes));
        if (round % 2 == 0) mapping.prefetch(0, mapping.size());
        wrong += wrong_pages(mapping, bytes, i + round);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(pager.statistics().resident_bytes, 0u);
}

std::size_t mappings_of_this_process() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

// What is in memory may be shown page by page. What is not must be as cheap as what never was, or a long walk ends at
// vm.max_map_count.
TEST_P(PagerBudget, MappingsGoWithTheBudgetNotWithWhatWasTouched) {
  constexpr std::size_t kBudgetPages = 256;
  constexpr std::size_t kPages = 32 * kBudgetPages;
  for (const WriteTracking tracking : {WriteTracking::kFaults, WriteTracking::kScan}) {
    SCOPED_TRACE(tracking == WriteTracking::kScan ? "scan" : "faults");
    std::vector<std::byte> bytes(kPages * kPage);
    const Pager pager = make({.prefetchers = 0, .budget = kBudgetPages * kPage, .write_tracking = tracking});
    Mapping mapping = map(pager, make_writable_memory_store(bytes), {.detect_streams = false, .writable = true});
    const std::size_t before = mappings_of_this_process();
    std::mt19937 random(1);
    std::size_t most = 0;
    for (std::size_t i = 1; i <= kPages; ++i) {
      std::byte* const at = mapping.data() + random() % kPages * kPage;
      if (random() % 2 == 0) {
        *at = std::byte{1};
      } else {
        EXPECT_LE(std::to_integer<int>(*const_cast<const volatile std::byte*>(at)), 1);
      }
      if (i % kBudgetPages == 0) most = std::max(most, mappings_of_this_process());
    }
    EXPECT_LE(most, before + 2 * kBudgetPages + 64) << "after " << pager.statistics().evictions << " evictions";
    EXPECT_GT(pager.statistics().evictions, 2 * kBudgetPages);
    EXPECT_TRUE(mapping.close());
  }
}

USERFAULT_ON_BOTH_ENGINES(PagerBudget);

}  // namespace
}  // namespace userfault::test
