// SPDX-License-Identifier: Apache-2.0
// Filling ahead of faults: when it counts as done, that faults go before it, and what is counted of both.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>

#include "support/bounded.h"
#include "support/held_store.h"
#include "support/pager_fixture.h"
#include "support/temporary_file.h"

namespace userfault::test {
namespace {

constexpr std::size_t kChunk = std::size_t{256} << 10;  // what one fill asks for at most

class PagerPrefetch : public PagerOnEngine {};

bool all_resident(const Mapping& mapping) {
  for (std::size_t at = 0; at < mapping.size(); at += kPage)
    if (!mapping.resident(at)) return false;
  return true;
}

void touch_all(const Mapping& mapping, std::span<const std::byte> bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += kPage) ASSERT_EQ(mapping.data()[at], bytes[at]) << at;
}

// A store may answer long after it was asked, and only then is a page there.
TEST_P(PagerPrefetch, WaitingForItWaitsForTheStoresAnswers) {
  const auto bytes = random_bytes(8 * kChunk, 1);
  expect_to_end([&] {
    const auto store = std::make_shared<HeldStore>(bytes);
    const Pager pager = make({.prefetchers = 2});
    const Mapping mapping = map(pager, store);
    mapping.prefetch(0, mapping.size());
    wait_until([&] { return store->asked() != 0; });
    std::atomic<bool> there{false};
    std::atomic<bool> returned{false};
    std::thread waiter([&] {
      mapping.wait_for_prefetch();
      there = all_resident(mapping);
      returned = true;
    });
    // What others do takes time, in which it would return if it did not wait.
    const Mapping other = map(pager, make_memory_store(bytes), {.detect_streams = false});
    touch_all(other, bytes);
    EXPECT_FALSE(returned) << "before any answer";
    store->let_go(1);
    wait_until([&] { return store->answered() == 1; });
    store->let_all_go();
    waiter.join();
    EXPECT_TRUE(there);
    EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
    EXPECT_EQ(mapping.statistics().faults, 0u);
    EXPECT_EQ(mapping.statistics().pages_by_prefetch, bytes.size() / kPage);
  });
}

// The only prefetcher's requests are held back. A fault is no worse off for that.
TEST_P(PagerPrefetch, AFaultIsAnsweredWhileOneIsHeldBack) {
  const auto bytes = random_bytes(8 * kChunk, 2);
  expect_to_end([&] {
    const auto holds = [](const StoreRequest& request) { return request.offset >= 4 * kChunk; };
    const auto store = std::make_shared<HeldStore>(bytes, holds);
    const Pager pager = make({.prefetchers = 1});
    const Mapping mapping = map(pager, store, {.detect_streams = false});
    mapping.prefetch(4 * kChunk, 4 * kChunk);
    wait_until([&] { return store->asked() != 0; });
    touch_all(mapping, std::span(bytes).first(4 * kChunk));
    EXPECT_EQ(store->answered(), 0u);
    EXPECT_EQ(mapping.statistics().pages_by_prefetch, 0u);
    store->let_all_go();
    mapping.wait_for_prefetch();
    touch_all(mapping, bytes);
    EXPECT_EQ(mapping.statistics().pages_by_fault, 4 * kChunk / kPage);
  });
}

// Blocks whoever asks for a whole chunk until the test lets him go on, as a slow disk does.
class SlowStore final : public Store {
 public:
  explicit SlowStore(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::uint64_t size() const override { return bytes_.size(); }
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      if (request.length > kPage) {
        const std::size_t number = ++begun;
        for (std::size_t seen = allowed; seen < number; seen = allowed) allowed.wait(seen);
        ++ended;
      }
      std::memcpy(request.data, bytes_.data() + request.offset, request.length);
      request.answer(0, request.length);
    }
  }
  void allow(std::size_t chunks) {
    allowed = chunks;
    allowed.notify_all();
  }
  std::atomic<std::size_t> begun{0};
  std::atomic<std::size_t> ended{0};
  std::atomic<std::size_t> allowed{0};

 private:
  const std::span<const std::byte> bytes_;
};

TEST_P(PagerPrefetch, AFaultIsServedInTheMidstOfALongOne) {
  constexpr std::size_t kChunks = 32;
  const auto bytes = random_bytes(kChunks * kChunk, 3);
  expect_to_end([&] {
    const auto store = std::make_shared<SlowStore>(bytes);
    const Pager pager = make({.prefetchers = 1});
    const Mapping mapping = map(pager, store, {.detect_streams = false});
    store->allow(3);
    mapping.prefetch(0, mapping.size());
    wait_until([&] { return store->begun == 4; });
    // It belongs to the range, too, and its turn would come last.
    const std::size_t last = bytes.size() - kPage;
    EXPECT_EQ(mapping.data()[last], bytes[last]);
    EXPECT_EQ(store->ended, 3u) << "chunks had come by the time that the fault was served";
    store->allow(SIZE_MAX);
    mapping.wait_for_prefetch();
    EXPECT_TRUE(all_resident(mapping));
    EXPECT_EQ(mapping.statistics().faults, 1u);
    EXPECT_EQ(mapping.statistics().pages_by_prefetch, kChunks * kChunk / kPage - 1);
    touch_all(mapping, bytes);
  });
}

TEST_P(PagerPrefetch, WithoutPrefetchersThereAreNoHits) {
  const auto bytes = random_bytes(16 * kChunk, 4);
  const Pager pager = make({.prefetchers = 0});
  const Mapping upwards = map(pager, make_memory_store(bytes));
  touch_all(upwards, bytes);
  const Mapping strides = map(pager, make_memory_store(bytes));
  for (std::size_t at = 0; at < bytes.size(); at += 3 * kPage) ASSERT_EQ(strides.data()[at], bytes[at]);
  EXPECT_EQ(pager.statistics().prefetch_hits, 0u);
  EXPECT_EQ(pager.statistics().pages_by_prefetch, 0u);
}

// How far a walk got ahead of the prefetchers is nobody's to say: only that what it did not get was no hit.
TEST_P(PagerPrefetch, HitsAreNoMoreThanWhatWasFetched) {
  const auto bytes = random_bytes(32 * kChunk, 5);
  for (const std::size_t step : {std::size_t{1}, std::size_t{3}}) {
    for (int round = 0; round < 3; ++round) {
      const Pager pager = make({.prefetchers = 2});
      const Mapping mapping = map(pager, make_memory_store(bytes));
      for (std::size_t at = 0; at < bytes.size(); at += step * kPage) ASSERT_EQ(mapping.data()[at], bytes[at]);
      mapping.wait_for_prefetch();
      const Statistics statistics = mapping.statistics();
      EXPECT_LE(statistics.prefetch_hits, statistics.pages_by_prefetch) << "steps of " << step;
    }
  }
}

// A walk that lets what was asked for ahead of it come finds it there.
TEST_P(PagerPrefetch, AWalkThatFindsPagesThereCountsHits) {
  const auto bytes = random_bytes(32 * kChunk, 6);
  for (const std::size_t step : {std::size_t{1}, std::size_t{3}}) {
    const Pager pager = make({.prefetchers = 1});
    const Mapping mapping = map(pager, make_memory_store(bytes));
    for (std::size_t at = 0; at < bytes.size(); at += step * kPage) {
      ASSERT_EQ(mapping.data()[at], bytes[at]);
      mapping.wait_for_prefetch();
    }
    const Statistics statistics = mapping.statistics();
    EXPECT_GT(statistics.prefetch_hits, 64u) << "steps of " << step;
    EXPECT_LE(statistics.prefetch_hits, statistics.pages_by_prefetch) << "steps of " << step;
    EXPECT_LT(statistics.faults, bytes.size() / kPage / step / 4) << "steps of " << step;
  }
}

TEST_P(PagerPrefetch, EveryFaultHasItsPlaceInTheHistogram) {
  constexpr std::size_t kFaults = 300;
  const auto bytes = random_bytes(kFaults * kPage, 7);
  const Pager pager = make({.prefetchers = 0});
  const Mapping mapping = map(pager, make_memory_store(bytes), {.detect_streams = false});
  touch_all(mapping, bytes);
  // The thread is woken before its fault is counted.
  wait_until([&] { return mapping.statistics().service.count() >= kFaults; });
  const LatencyHistogram service = pager.statistics().service;
  EXPECT_EQ(service.count(), kFaults);
  std::uint64_t before = 1;
  for (const double part : {0.0, 0.01, 0.5, 0.9, 0.99, 1.0}) {
    EXPECT_GE(service.quantile(part), before) << part;
    before = service.quantile(part);
  }
  EXPECT_EQ(service.max(), before);
}

USERFAULT_ON_BOTH_ENGINES(PagerPrefetch);

}  // namespace
}  // namespace userfault::test
