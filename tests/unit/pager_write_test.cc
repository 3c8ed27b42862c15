// SPDX-License-Identifier: Apache-2.0
// What the program writes comes to the store, whole, and is never lost on the way.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "support/pager_fixture.h"
#include "support/temporary_file.h"
#include "support/writable_store.h"

namespace userfault::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Every test with either way of finding out what was written.
class PagerWrite : public testing::TestWithParam<std::tuple<EngineKind, WriteTracking>> {
 protected:
  void SetUp() override {
    const auto [engine, tracking] = GetParam();
    const auto pager = Pager::create({.engine = engine, .write_tracking = tracking});
    if (!pager) GTEST_SKIP() << name_of(engine) << " engine not available: " << pager.error().message();
    if (pager->write_tracking() != tracking) GTEST_SKIP() << "this kernel cannot track writes by scanning";
  }
  [[nodiscard]] static Pager make(PagerOptions options = {}) {
    std::tie(options.engine, options.write_tracking) = GetParam();
    return made(options);
  }
};

std::shared_ptr<WritableStore> store_of(std::size_t pages, unsigned seed) {
  return std::make_shared<WritableStore>(random_bytes(pages * kPage, seed));
}

TEST_P(PagerWrite, FlushBringsItToTheStore) {
  auto store = std::make_shared<WritableStore>(random_bytes(64 * kPage + 77, 1));
  auto expected = store->bytes();
  const Pager pager = make();
  const Mapping mapping = map(pager, store, {.writable = true});
  for (const std::size_t at : {std::size_t{0}, 5 * kPage + 3, 64 * kPage + 70}) {
    mapping.data()[at] = std::byte{0};
    expected[at] = std::byte{0};
  }
  EXPECT_EQ(mapping.statistics().dirty_bytes, 3 * kPage);
  ASSERT_TRUE(mapping.flush());
  EXPECT_EQ(store->bytes(), expected);
  EXPECT_EQ(store->flushes, 1);
  EXPECT_EQ(mapping.statistics().dirty_bytes, 0u);
  EXPECT_EQ(mapping.statistics().bytes_written, 2 * kPage + 77);
  // Written again after it was clean: noticed again.
  mapping.data()[5 * kPage] = std::byte{7};
  expected[5 * kPage] = std::byte{7};
  ASSERT_TRUE(mapping.flush());
  EXPECT_EQ(store->bytes(), expected);
  ASSERT_TRUE(mapping.flush());
  EXPECT_EQ(mapping.statistics().bytes_written, 3 * kPage + 77) << "a clean page was written";
}

// Pages that are in memory and clean are written without anybody being told.
TEST_P(PagerWrite, WhatIsWrittenToAPageThatWasOnlyReadIsFound) {
  auto store = store_of(256, 12);
  auto expected = store->bytes();
  const Pager pager = make();
  const Mapping mapping = map(pager, store, {.writable = true});
  ASSERT_EQ(std::memcmp(mapping.data(), expected.data(), expected.size()), 0);
  mapping.wait_for_prefetch();
  for (std::size_t page = 0; page < 256; page += 3)
    mapping.data()[page * kPage + page] = expected[page * kPage + page] = std::byte{0};
  const bool scan = pager.write_tracking() == WriteTracking::kScan;
  EXPECT_EQ(mapping.statistics().write_faults, scan ? 0u : 86u);
  ASSERT_TRUE(mapping.flush());
  EXPECT_EQ(store->bytes(), expected);
  EXPECT_EQ(mapping.statistics().bytes_written, 86 * kPage);
  EXPECT_EQ(mapping.statistics().dirty_bytes, 0u);
  ASSERT_TRUE(mapping.flush());
  EXPECT_EQ(mapping.statistics().bytes_written, 86 * kPage) << "a clean page was written";
}

TEST_P(PagerWrite, EvictionBringsItToTheStoreAndBack) {
  for (const Eviction eviction : {Eviction::kClock, Eviction::kFifo, Eviction::kRandom}) {
    auto store = store_of(512, 2);
    auto expected = store->bytes();
    const Pager pager = make({.budget = 32 * kPage, .eviction = eviction});
    Mapping mapping = map(pager, store, {.writable = true});
    std::mt19937 random(5);
    for (int i = 0; i < 5000; ++i) {
      const std::size_t at = random() % expected.size();
      ASSERT_EQ(mapping.data()[at], expected[at]) << i;
      mapping.data()[at] = expected[at] = static_cast<std::byte>(i);
    }
    EXPECT_EQ(std::memcmp(mapping.data(), expected.data(), expected.size()), 0);
    ASSERT_TRUE(mapping.close());
    EXPECT_EQ(store->bytes(), expected);
    EXPECT_EQ(pager.statistics().dirty_bytes, 0u);
  }
}

TEST_P(PagerWrite, ADestructorFlushesToo) {
  auto store = store_of(4, 3);
  const Pager pager = make();
  { map(pager, store, {.writable = true}).data()[kPage] = std::byte{0}; }
  EXPECT_EQ(store->bytes()[kPage], std::byte{0});
}

TEST_P(PagerWrite, AStoreThatTakesNothingIsRefused) {
  const auto bytes = random_bytes(kPage, 4);
  const auto refused = make().map(make_memory_store(bytes), {.writable = true});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EROFS);
}

// Each thread counts in words of its own, in pages that it shares with the others.
void count_in_threads(const Mapping& mapping, std::size_t pages, std::uint64_t rounds) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (std::uint64_t i = 0; i < rounds; ++i) {
        auto* const word = reinterpret_cast<volatile std::uint64_t*>(mapping.data() + random() % pages * kPage) + t;
        *word = *word + 1;
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

std::uint64_t total(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof sum) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    sum += word;
  }
  return sum;
}

TEST_P(PagerWrite, NoWriteIsLostWhileOthersFlushAndEvict) {
  for (const std::size_t page_size : {kPage, 4 * kPage}) {
    for (const std::uint64_t budget : {std::uint64_t{0}, std::uint64_t{64}}) {
      auto store = std::make_shared<WritableStore>(std::vector<std::byte>(256 * kPage));
      const Pager pager = make({.workers = 2, .budget = budget * kPage, .evictors = 2, .write_back_at = 16 * kPage});
      Mapping mapping = map(pager, store, {.page_size = page_size, .writable = true});
      std::atomic<bool> stop{false};
      std::thread flusher([&] {
        while (!stop) EXPECT_TRUE(mapping.flush());
      });
      count_in_threads(mapping, 256, 5000);
      stop = true;
      flusher.join();
      EXPECT_EQ(total({mapping.data(), mapping.size()}), 20000u);
      ASSERT_TRUE(mapping.close());
      EXPECT_EQ(total(store->bytes()), 20000u);
    }
  }
}

// The page is changed in one go as far as its one writer can tell: first word first, last word last.
TEST_P(PagerWrite, NoPageIsWrittenHalf) {
  auto store = std::make_shared<WritableStore>(std::vector<std::byte>(kPage));
  const Pager pager = make();
  const Mapping mapping = map(pager, store, {.writable = true});
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    auto* const first = reinterpret_cast<volatile std::uint64_t*>(mapping.data());
    for (std::uint64_t i = 1; !stop; ++i) {
      first[0] = i;
      first[511] = i;
    }
  });
  while (mapping.statistics().bytes_written < 200 * kPage) {
    ASSERT_TRUE(mapping.flush());
    const auto bytes = store->bytes();
    std::uint64_t first;
    std::uint64_t last;
    std::memcpy(&first, bytes.data(), 8);
    std::memcpy(&last, bytes.data() + 511 * 8, 8);
    EXPECT_TRUE(first == last || first == last + 1) << first << " and " << last;
  }
  stop = true;
  writer.join();
}

TEST_P(PagerWrite, AFailedWriteIsTriedAgain) {
  auto store = store_of(8, 5);
  const Pager pager = make({.store_attempts = 3, .store_pause = microseconds(10)});
  const Mapping mapping = map(pager, store, {.writable = true});
  mapping.data()[3 * kPage] = std::byte{0};
  store->failures = 2;
  EXPECT_TRUE(mapping.flush());
  EXPECT_EQ(store->bytes()[3 * kPage], std::byte{0});
  EXPECT_EQ(mapping.statistics().write_errors, 2u);
  EXPECT_TRUE(pager.errors().empty());
}

TEST_P(PagerWrite, WhatCannotBeWrittenStaysAndIsReported) {
  auto store = store_of(8, 6);
  const auto before = store->bytes();
  const Pager pager = make({.store_attempts = 2, .store_pause = microseconds(10)});
  Mapping mapping = map(pager, store, {.writable = true});
  mapping.data()[3 * kPage] = std::byte{0};
  store->failures = 1000000;
  for (int i = 0; i < 3; ++i) {
    const auto flushed = mapping.flush();
    ASSERT_FALSE(flushed);
    EXPECT_EQ(flushed.error().operation, Operation::kStore);
    EXPECT_EQ(flushed.error().code, ENOSPC);
    EXPECT_EQ(flushed.error().address, reinterpret_cast<std::uintptr_t>(mapping.data() + 3 * kPage));
  }
  ASSERT_FALSE(mapping.close());
  ASSERT_EQ(pager.errors().size(), 1u) << "once, however often it was tried";
  EXPECT_TRUE(pager.errors()[0].write);
  EXPECT_EQ(pager.errors()[0].offset, 3 * kPage);
  EXPECT_EQ(pager.errors()[0].code, ENOSPC);
  EXPECT_EQ(mapping.data()[3 * kPage], std::byte{0});
  mapping.data()[3 * kPage + 1] = std::byte{0};  // and can still be written to
  EXPECT_EQ(mapping.statistics().dirty_bytes, kPage);
  EXPECT_EQ(store->bytes(), before);
  store->failures = 0;
  store->flush_error = EIO;
  EXPECT_EQ(mapping.flush().error().code, EIO);
  store->flush_error = 0;
  ASSERT_TRUE(mapping.close());
  EXPECT_EQ(store->bytes()[3 * kPage + 1], std::byte{0});
}

// All of the budget is dirty and the store takes nothing: faults wait until it does again.
TEST_P(PagerWrite, AFullBudgetWaitsForTheStore) {
  auto store = store_of(64, 7);
  const Pager pager = make({.prefetchers = 0,
                            .store_attempts = 2,
                            .store_pause = microseconds(10),
                            .budget = 8 * kPage,
                            .memory_wait = milliseconds(0)});
  Mapping mapping = map(pager, store, {.detect_streams = false, .writable = true});
  store->failures = 1000000000;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (std::size_t page = 0; page < 64; ++page)
      std::atomic_ref(mapping.data()[page * kPage]).store(std::byte{0}, std::memory_order_relaxed);
    done = true;
  });
  while (pager.statistics().memory_waits == 0) std::this_thread::yield();
  EXPECT_FALSE(mapping.flush());
  EXPECT_FALSE(done);
  EXPECT_LE(pager.statistics().resident_bytes, 8 * kPage);
  // What is in memory can be used meanwhile.
  EXPECT_EQ(std::atomic_ref(mapping.data()[0]).load(std::memory_order_relaxed), std::byte{0});
  EXPECT_FALSE(pager.errors().empty());
  store->failures = 0;
  writer.join();
  ASSERT_TRUE(mapping.close());
  const auto bytes = store->bytes();
  for (std::size_t page = 0; page < 64; ++page) EXPECT_EQ(bytes[page * kPage], std::byte{0}) << page;
}

// While a page is on its way to the store it does not come back as it was before.
TEST_P(PagerWrite, ARefaultWaitsForTheWrite) {
  auto store = store_of(64, 8);
  const Pager pager = make({.workers = 2, .prefetchers = 0, .budget = 8 * kPage, .eviction = Eviction::kFifo});
  const Mapping mapping = map(pager, store, {.detect_streams = false, .writable = true});
  mapping.data()[0] = std::byte{0};
  store->held = true;
  std::thread reader([&] {
    for (std::size_t page = 1; page < 64; ++page) (void)*const_cast<volatile std::byte*>(mapping.data() + page * kPage);
  });
  while (store->writes == 0) std::this_thread::yield();
  std::thread refault([&] {
    mapping.data()[1] = std::byte{0};
    EXPECT_EQ(mapping.data()[0], std::byte{0});
  });
  while (pager.statistics().repeated == 0) std::this_thread::yield();
  store->held = false;
  store->held.notify_all();
  reader.join();
  refault.join();
}

// MADV_DONTNEED loses nothing, MADV_REMOVE what was not in the store yet; neither brings zeroes.
TEST_P(PagerWrite, DroppingLosesNothingAndRemovingOnlyWhatWasNotWritten) {
  auto store = store_of(16, 9);
  const auto before = store->bytes();
  const Pager pager = make();
  Mapping mapping = map(pager, store, {.writable = true});
  mapping.data()[2 * kPage] = std::byte{0};
  mapping.data()[3 * kPage] = std::byte{0};
  ASSERT_EQ(::userfault_madvise(mapping.data() + 2 * kPage, kPage, MADV_DONTNEED), 0);
  ASSERT_EQ(::userfault_madvise(mapping.data() + 3 * kPage, kPage, MADV_REMOVE), 0);
  EXPECT_EQ(mapping.data()[2 * kPage], std::byte{0});
  ASSERT_TRUE(mapping.flush());
  EXPECT_EQ(std::memcmp(mapping.data() + 3 * kPage, before.data() + 3 * kPage, kPage), 0);
  ASSERT_TRUE(mapping.close());
  auto expected = before;
  expected[2 * kPage] = std::byte{0};
  EXPECT_EQ(store->bytes(), expected);
}

TEST_P(PagerWrite, APartThatIsRemovedTakesNothingElseWithIt) {
  auto store = store_of(16, 10);
  auto expected = store->bytes();
  const Pager pager = make();
  Mapping mapping = map(pager, store, {.page_size = 8 * kPage, .writable = true});
  for (const std::size_t page : {1u, 2u, 3u}) mapping.data()[page * kPage] = std::byte{0};
  ASSERT_EQ(::userfault_madvise(mapping.data() + 2 * kPage, kPage, MADV_REMOVE), 0);
  EXPECT_EQ(mapping.data()[2 * kPage], expected[2 * kPage]);
  expected[kPage] = expected[3 * kPage] = std::byte{0};
  EXPECT_EQ(std::memcmp(mapping.data(), expected.data(), expected.size()), 0);
  ASSERT_TRUE(mapping.close());
  EXPECT_EQ(store->bytes(), expected);
}

TEST_P(PagerWrite, HugePages) {
  auto store = std::make_shared<WritableStore>(random_bytes((std::size_t{6} << 20) - 77, 11));
  auto expected = store->bytes();
  const Pager pager = make({.budget = std::size_t{8} << 20});
  auto mapping = pager.map(store, {.page_size = std::size_t{2} << 20, .huge = true, .writable = true});
  if (!mapping && mapping.error().code == ENOMEM) GTEST_SKIP() << "fewer than three free huge pages (vm.nr_hugepages)";
  ASSERT_TRUE(mapping) << mapping.error().message();
  EXPECT_EQ(std::memcmp(mapping->data(), expected.data(), expected.size()), 0);
  mapping->data()[5] = expected[5] = std::byte{0};
  ASSERT_TRUE(mapping->flush());
  mapping->data()[6] = expected[6] = std::byte{0};
  ASSERT_TRUE(mapping->close());
  EXPECT_EQ(store->bytes(), expected);
}

std::string name_of_way(const testing::TestParamInfo<PagerWrite::ParamType>& way) {
  const bool scan = std::get<1>(way.param) == WriteTracking::kScan;
  return std::string(name_of(std::get<0>(way.param))) + (scan ? "_scan" : "_faults");
}

INSTANTIATE_TEST_SUITE_P(Pager, PagerWrite,
                         testing::Combine(testing::Values(EngineKind::kKernel, EngineKind::kUser),
                                          testing::Values(WriteTracking::kFaults, WriteTracking::kScan)),
                         name_of_way);

}  // namespace
}  // namespace userfault::test
