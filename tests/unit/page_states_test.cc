// SPDX-License-Identifier: Apache-2.0
// Page states, streams, and the way to poison that needs no UFFDIO_POISON.
#include "pager/page_states.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "pager/poison.h"
#include "pager/streams.h"
#include "userfault/histogram.h"

namespace userfault::pager {
namespace {

TEST(PageStates, OneOwnerAtATime) {
  PageStates states(4);
  ASSERT_TRUE(states.valid());
  EXPECT_TRUE(states.claim(1));
  EXPECT_FALSE(states.claim(1));
  EXPECT_EQ(states.claim_or_want(1), PageState::kOwned);
  EXPECT_EQ(states.claim_or_want(1), PageState::kOwned);
  EXPECT_TRUE(states.finish(1, PageState::kResident)) << "somebody wanted it meanwhile";
  EXPECT_EQ(states.claim_or_want(1), PageState::kResident);
  EXPECT_FALSE(states.claim(1));
  EXPECT_TRUE(states.claim(1, PageState::kResident));
  EXPECT_FALSE(states.finish(1, PageState::kPoisoned));
  EXPECT_EQ(states.get(1), PageState::kPoisoned);
  EXPECT_EQ(states.get(0), PageState::kAbsent);
}

TEST(PageStates, EightThreadsNeverOwnOnePageTogether) {
  constexpr std::size_t kPages = 64;
  PageStates states(kPages);
  std::vector<std::atomic<int>> owners(kPages);
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20000; ++round) {
        const auto page = static_cast<std::size_t>(round * 7) % kPages;
        if (states.claim_or_want(page) != PageState::kAbsent) continue;
        if (owners[page].fetch_add(1) != 0) ++shared;
        owners[page].fetch_sub(1);
        (void)states.finish(page, PageState::kAbsent);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(shared, 0);
}

TEST(Streams, AWalkGrowsAndARandomAccessDoesNot) {
  Streams streams({.window = 16, .ahead = 128});
  std::size_t page = 1000;
  std::size_t ahead = 0;
  for (int i = 0; i < 12; ++i) {
    const auto advice = streams.on_fault(page);
    EXPECT_EQ(advice.now.first, page);
    EXPECT_LE(advice.now.count, 16u);
    EXPECT_LE(advice.ahead.count, 128u);
    ahead = advice.ahead.count;
    page = std::max(advice.now.end(), advice.ahead.count != 0 ? advice.ahead.end() : 0);
  }
  EXPECT_EQ(ahead, 128u);
  for (std::size_t i = 0; i < 1000; ++i)
    EXPECT_EQ(streams.on_fault(100000 + (i * 7919) % 65536 * 2).now.count, 1u) << i;
}

TEST(Streams, TwoWalksAtOnceAreBothSeen) {
  Streams streams({.window = 8, .ahead = 8});
  std::size_t first = 0;
  std::size_t second = 100000;
  for (int i = 0; i < 4; ++i) {
    first = streams.on_fault(first).now.end();
    second = streams.on_fault(second).now.end();
  }
  EXPECT_GT(first, 8u);
  EXPECT_GT(second, 100008u);
}

TEST(Streams, AWalkInEvenStepsIsSeenUpwardsAndDownwards) {
  for (const std::ptrdiff_t step : {7, -5, -1}) {
    Streams streams({.window = 16, .ahead = 128});
    std::size_t page = 1000000;
    std::size_t faults = 0;
    std::size_t asked = 0;
    std::vector<std::size_t> ahead;
    for (int i = 0; i < 2000; ++i, page += static_cast<std::size_t>(step)) {
      if (std::ranges::find(ahead, page) != ahead.end()) continue;
      ++faults;
      const auto advice = streams.on_fault(page);
      EXPECT_EQ(advice.now.count, 1u);
      for (std::size_t k = 0; k < advice.ahead.count; ++k, ++asked)
        ahead.push_back(advice.ahead.first + static_cast<std::size_t>(advice.stride) * k);
    }
    EXPECT_LE(faults, 60u) << step;
    EXPECT_LE(asked, 2100u) << step;
  }
}

// Pages that are fetched ahead one by one and not yet there fault, too.
TEST(Streams, AWalkInStridesMayCatchUpWithWhatWasFetchedAhead) {
  Streams streams({.window = 16, .ahead = 128});
  std::size_t asked = 0;
  for (std::size_t i = 0; i < 100; ++i) asked = std::max(asked, streams.on_fault(3 * i).ahead.count);
  EXPECT_GT(asked, 2u);
}

TEST(Histogram, QuantilesAreAtMostASixteenthTooHigh) {
  LatencyHistogram histogram;
  for (std::uint64_t ns = 1; ns <= 100000; ++ns) histogram.add(ns);
  for (const double q : {0.01, 0.5, 0.9, 0.99, 1.0}) {
    const double exact = q * 100000;
    EXPECT_GE(static_cast<double>(histogram.quantile(q)), exact - 1);
    EXPECT_LE(static_cast<double>(histogram.quantile(q)), exact * 17 / 16 + 1);
  }
  EXPECT_EQ(histogram.max(), 100000u);
  EXPECT_EQ(LatencyHistogram().quantile(0.5), 0u);
  for (std::size_t i = 0; i + 1 < LatencyHistogram::kBuckets; ++i) {
    ASSERT_EQ(LatencyHistogram::bucket_of(LatencyHistogram::upper_bound(i)), i);
    ASSERT_EQ(LatencyHistogram::bucket_of(LatencyHistogram::upper_bound(i) + 1), i + 1);
  }
  EXPECT_EQ(LatencyHistogram::upper_bound(LatencyHistogram::kBuckets - 1), UINT64_MAX);
}

// Kernels before 6.6 have no UFFDIO_POISON: the page becomes a mapping that ends in SIGBUS.
TEST(PoisonByMapping, IsSigbusAndLeavesTheNeighboursAlone) {
  constexpr std::size_t kPage = 4096;
  const auto child_reads = [](std::size_t page) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto descriptor = Descriptor::open();
      auto* const memory = static_cast<std::byte*>(
          ::mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      const PageRange all = PageRange::of(memory, 3 * kPage);
      if (!descriptor || !descriptor->register_range(all, mode::kMissing) || !descriptor->zeropage_fully(all))
        ::_exit(100);
      memory[0] = std::byte{11};
      memory[2 * kPage] = std::byte{13};
      poison_by_mapping(*descriptor, PageRange::of(memory + kPage, kPage));
      ::_exit(static_cast<int>(*const_cast<volatile std::byte*>(memory + page * kPage)));
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  };
  EXPECT_EQ(WEXITSTATUS(child_reads(0)), 11);
  EXPECT_EQ(WEXITSTATUS(child_reads(2)), 13);
  const int status = child_reads(1);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) << status;
}

}  // namespace
}  // namespace userfault::pager
