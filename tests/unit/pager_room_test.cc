// SPDX-License-Identifier: Apache-2.0
// Memory that is locked, pinned, or not to be had: every byte is right all the same, and nobody waits
// for ever.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "support/bounded.h"
#include "support/bus_hook.h"
#include "support/pager_fixture.h"
#include "support/sanitizers.h"
#include "support/temporary_file.h"
#include "support/writable_store.h"

namespace userfault::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::size_t kMiB = std::size_t{1} << 20;

class PagerRoom : public PagerOnEngine {};

struct Locked {
  std::size_t budget;
  bool writable;
};

std::size_t wrong_pages(const Mapping& mapping, std::span<const std::byte> bytes) {
  std::size_t wrong = 0;
  for (std::size_t at = 0; at < bytes.size(); at += kPage)
    wrong += std::memcmp(mapping.data() + at, bytes.data() + at, kPage) != 0;
  return wrong;
}

// Under MCL_FUTURE what is mapped is filled with zeroes there and then, before anybody could register it;
// and the page whose fault ends the workers is there already.
TEST_P(PagerRoom, AProcessThatLocksItsMemoryReadsTheStore) {
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "a sanitizer's runtime makes nothing of mlockall(2)";
  const auto bytes = random_bytes(64 * kPage, 1);
  for (const auto [budget, writable] : {Locked{0, false}, Locked{16 * kPage, false}, Locked{16 * kPage, true}}) {
    SCOPED_TRACE(testing::Message() << "budget " << budget << ", writable " << writable);
    const auto locked_child = [&] {
      if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) ::_exit(kSkippedInChild);
      auto store = std::make_shared<WritableStore>(bytes);
      const Pager pager = make({.prefetchers = 1, .budget = budget, .fills_in_flight = 1});
      const Mapping mapping = map(pager, store, {.writable = writable});
      for (int round = 0; round < 2; ++round) EXPECT_EQ(wrong_pages(mapping, bytes), 0u) << "round " << round;
      if (budget != 0) {
        EXPECT_LE(pager.statistics().resident_bytes, budget);
      }
      if (!writable) return;
      for (std::size_t at = 0; at < bytes.size(); at += kPage) mapping.data()[at] = std::byte{0};
      EXPECT_TRUE(mapping.flush());
      const auto written = store->bytes();
      for (std::size_t at = 0; at < bytes.size(); at += kPage) EXPECT_EQ(written[at], std::byte{0}) << at;
    };
    if (!runs_in_child(locked_child, 5)) GTEST_SKIP() << "mlockall(2) is refused here (RLIMIT_MEMLOCK)";
  }
}

// A byte for each page, never zero.
int fill_with_page_numbers(void*, std::uint64_t offset, std::span<std::byte> into) {
  for (std::size_t at = 0; at < into.size(); at += kPage)
    std::memset(into.data() + at, static_cast<int>(1 + (offset + at) / kPage % 255), kPage);
  return 0;
}

// Whether it is refused or not: what is left has to be enough for the largest pages of the others.
TEST_P(PagerRoom, WhatIsPinnedLeavesRoomForTheLargestPages) {
  expect_to_end([] {
    const Pager pager = make({.prefetchers = 0, .budget = 8 * kMiB, .memory_wait = milliseconds(200)});
    const Mapping small = map(pager, make_function_store(16 * kMiB, fill_with_page_numbers, nullptr));
    const Mapping large =
        map(pager, make_function_store(16 * kMiB, fill_with_page_numbers, nullptr), {.page_size = 2 * kMiB});
    const auto pinned = small.pin(0, 8 * kMiB - 4 * kPage);
    if (!pinned) {
      EXPECT_EQ(pinned.error().code, ENOMEM);
    }
    for (std::size_t at = 0; at < large.size(); at += 2 * kMiB) {
      const auto got = read_or_bus(large.data() + at);
      EXPECT_TRUE(got.has_value()) << "poisoned: " << at;
      EXPECT_EQ(got.value_or(std::byte{0}), static_cast<std::byte>(1 + at / kPage % 255));
    }
    EXPECT_TRUE(pager.errors().empty());
    EXPECT_LE(pager.statistics().resident_bytes, 8 * kMiB);
  });
}

// All of the budget is dirty, and the store takes nothing.
TEST_P(PagerRoom, APinThatFindsNoMemoryIsRefusedInTime) {
  expect_to_end([] {
    auto store = std::make_shared<WritableStore>(random_bytes(64 * kPage, 2));
    const auto before = store->bytes();
    const Pager pager = make({.prefetchers = 0,
                              .store_attempts = 1,
                              .store_pause = microseconds(10),
                              .budget = 16 * kPage,
                              .memory_wait = milliseconds(200)});
    Mapping mapping = map(pager, store, {.detect_streams = false, .writable = true});
    store->failures = 1000000000;
    for (std::size_t page = 0; page < 16; ++page) mapping.data()[page * kPage] = std::byte{0};
    const auto began = std::chrono::steady_clock::now();
    const auto pinned = mapping.pin(32 * kPage, 4 * kPage);
    ASSERT_FALSE(pinned);
    EXPECT_EQ(pinned.error().code, ENOMEM);
    EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(200)) << "memory might have come free";
    EXPECT_EQ(mapping.unpin(32 * kPage, 4 * kPage).error().code, EINVAL) << "nothing of it is pinned";
    for (std::size_t page = 0; page < 16; ++page) EXPECT_EQ(mapping.data()[page * kPage + 1], before[page * kPage + 1]);
    // It was not the last chance.
    store->failures = 0;
    EXPECT_TRUE(mapping.pin(32 * kPage, 4 * kPage));
    EXPECT_EQ(std::memcmp(mapping.data() + 32 * kPage, before.data() + 32 * kPage, 4 * kPage), 0);
    EXPECT_TRUE(mapping.unpin(32 * kPage, 4 * kPage));
    EXPECT_TRUE(mapping.close());
    const auto written = store->bytes();
    for (std::size_t page = 0; page < 16; ++page) EXPECT_EQ(written[page * kPage], std::byte{0}) << page;
  });
}

// What a page that is to be poisoned was before must not make a difference. This one was clean and protected, and went
// to make room for pages that are dirty and cannot go.
TEST_P(PagerRoom, APageThatWasProtectedBeforeIsPoisonedOnce) {
  for (const WriteTracking tracking : {WriteTracking::kFaults, WriteTracking::kScan}) {
    for (const std::size_t page : {kPage, 4 * kPage}) {
      SCOPED_TRACE(testing::Message() << (tracking == WriteTracking::kScan ? "scan" : "faults") << ", page " << page);
      expect_to_end([=] {
        auto store = std::make_shared<WritableStore>(random_bytes(80 * page, 3));
        const Pager pager = make({.prefetchers = 0,
                                  .store_attempts = 1,
                                  .store_pause = microseconds(10),
                                  .budget = 64 * page,
                                  .write_tracking = tracking,
                                  .memory_wait = milliseconds(200)});
        const Mapping mapping = map(pager, store, {.page_size = page, .detect_streams = false, .writable = true});
        EXPECT_TRUE(read_or_bus(mapping.data()).has_value());
        store->failures = 1000000000;
        for (std::size_t at = 1; at <= 64; ++at) mapping.data()[at * page] = std::byte{0};
        ASSERT_FALSE(mapping.resident(0));
        EXPECT_FALSE(read_or_bus(mapping.data()).has_value()) << "there was no memory for it";
        EXPECT_FALSE(read_or_bus(mapping.data()).has_value()) << "and it stays so";
        EXPECT_EQ(pager.statistics().pages_poisoned, 1u);
        store->failures = 0;
      });
    }
  }
}

// Threads that walk, with the prefetchers at work for them, over a store that takes no writes: each page is written or
// SIGBUS, and no thread waits for ever.
TEST_P(PagerRoom, WalksOverAStoreThatTakesNoWritesEnd) {
  expect_to_end([] {
    constexpr std::size_t kPages = 80;
    constexpr std::size_t kThreads = 4;
    auto store = std::make_shared<WritableStore>(random_bytes(kPages * kPage, 4));
    const Pager pager = make(
        {.store_attempts = 1, .store_pause = microseconds(10), .budget = 64 * kPage, .memory_wait = milliseconds(50)});
    const Mapping mapping = map(pager, store, {.writable = true});
    store->failures = 1000000000;
    std::atomic<std::size_t> written{0};
    std::atomic<std::size_t> refused{0};
    {
      std::vector<std::jthread> threads;
      for (std::size_t thread = 0; thread < kThreads; ++thread)
        threads.emplace_back([&, thread] {
          for (std::size_t page = thread; page < kPages; page += kThreads)
            ++(write_or_bus(mapping.data() + page * kPage, std::byte{1}) ? written : refused);
        });
    }
    EXPECT_EQ(written + refused, kPages);
    EXPECT_LE(written, 64u) << "more is dirty than the budget holds";
    EXPECT_GE(refused, kPages - 64);
    EXPECT_EQ(pager.statistics().pages_poisoned, refused) << "each page once";
    store->failures = 0;
  });
}

// A file that takes no writes for a while.
class RefusingFile final : public Store {
 public:
  explicit RefusingFile(std::shared_ptr<Store> file) : file_(std::move(file)) {}
  std::uint64_t size() const override { return file_->size(); }
  bool writable() const override { return true; }
  int flush() override { return file_->flush(); }
  void read(std::span<StoreRequest> batch) override { file_->read(batch); }
  void write(std::span<StoreRequest> batch) override {
    if (!refuses) {
      file_->write(batch);
      return;
    }
    for (StoreRequest& request : batch) request.answer(ENOSPC, 0);
  }
  std::atomic<bool> refuses{false};

 private:
  const std::shared_ptr<Store> file_;
};

// All of the budget is dirty, and of a part of the file that is gone: what needs memory is SIGBUS in time, each write
// that fails is told, and nothing is lost that the file could still take.
TEST_P(PagerRoom, AFileThatIsTruncatedUnderWritesKeepsNoThreadWaiting) {
  const auto bytes = random_bytes(96 * kPage, 5);
  TemporaryFile file(bytes);
  expect_to_end([&] {
    constexpr std::size_t kBudgetPages = 32;
    const Pager pager = make({.store_attempts = 2,
                              .store_pause = microseconds(10),
                              .budget = kBudgetPages * kPage,
                              .write_back_at = UINT64_MAX,
                              .memory_wait = milliseconds(50)});
    auto opened = open_file_store(file.path(), {.writable = true});
    ASSERT_TRUE(opened);
    const auto store = std::make_shared<RefusingFile>(std::move(*opened));
    Mapping mapping = map(pager, store, {.writable = true});
    // Clean and protected once, so that they have gone by the time that they are touched again.
    for (std::size_t page = 0; page < 8; ++page) EXPECT_TRUE(read_or_bus(mapping.data() + page * kPage));
    store->refuses = true;
    std::size_t dirty = 0;
    for (std::size_t page = 96; page-- > 64;) dirty += write_or_bus(mapping.data() + page * kPage, std::byte{0});
    ASSERT_EQ(dirty, kBudgetPages);
    file.truncate(60 * kPage);
    store->refuses = false;
    for (std::size_t page = 0; page < 8; ++page)
      EXPECT_FALSE(read_or_bus(mapping.data() + page * kPage)) << "there is no memory for " << page;
    const auto flushed = mapping.flush();
    ASSERT_FALSE(flushed);
    EXPECT_EQ(flushed.error().code, ENODATA);
    EXPECT_FALSE(mapping.close());
    const auto errors = pager.errors();
    const auto refused = [](const PageError& error) { return error.write && error.code == ENODATA; };
    EXPECT_TRUE(std::ranges::any_of(errors, refused));
    // The file has room again.
    file.truncate(96 * kPage);
    EXPECT_TRUE(mapping.close());
  });
  auto reopened = open_file_store(file.path());
  ASSERT_TRUE(reopened);
  std::vector<std::byte> last(32 * kPage);
  ASSERT_EQ(read_store(**reopened, 64 * kPage, last), 0);
  for (std::size_t page = 0; page < 32; ++page) {
    EXPECT_EQ(last[page * kPage], std::byte{0}) << page;
    EXPECT_EQ(last[page * kPage + 1], bytes[(64 + page) * kPage + 1]) << page;
  }
}

USERFAULT_ON_BOTH_ENGINES(PagerRoom);

}  // namespace
}  // namespace userfault::test
