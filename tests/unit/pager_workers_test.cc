// SPDX-License-Identifier: Apache-2.0
// The threads that answer faults: one page that is slow holds up no other one.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bounded.h"
#include "support/bounded.h"
#include "support/pager_fixture.h"
#include "support/temporary_file.h"

namespace userfault::test {
namespace {

using std::chrono::milliseconds;

class PagerWorkers : public PagerOnEngine {};

// The first `slow` pages are read when the test says so, by a function that waits for that; the others at once.
class SlowPages {
 public:
  explicit SlowPages(std::size_t slow) : slow_(slow) {}
  [[nodiscard]] std::shared_ptr<Store> store(std::size_t pages) {
    return make_function_store(pages * kPage, &SlowPages::read, this);
  }
  [[nodiscard]] bool comes_to_wait(std::size_t readers) {
    return comes_true([&] {
      const std::lock_guard lock(mutex_);
      return waiting_ == readers;
    });
  }
  void let_go() {
    const std::lock_guard lock(mutex_);
    go_ = true;
    changed_.notify_all();
  }
  static std::byte byte_of(std::size_t page) { return static_cast<std::byte>(1 + page % 255); }

 private:
  static int read(void* context, std::uint64_t offset, std::span<std::byte> into) {
    return static_cast<SlowPages*>(context)->read(offset, into);
  }
  int read(std::uint64_t offset, std::span<std::byte> into) {
    if (offset / kPage < slow_) {
      std::unique_lock lock(mutex_);
      ++waiting_;
      changed_.wait(lock, [this] { return go_; });
      --waiting_;
    }
    for (std::size_t at = 0; at < into.size(); at += kPage)
      std::memset(into.data() + at, static_cast<int>(byte_of((offset + at) / kPage)), kPage);
    return 0;
  }

  const std::size_t slow_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t waiting_ = 0;
  bool go_ = false;
};

std::size_t workers_of_this_process() {
  std::size_t count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    count += name == "uf-fault" ? 1 : 0;
  }
  return count;
}

std::jthread reader_of(const Mapping& mapping, std::size_t page) {
  return std::jthread([&mapping, page] { EXPECT_EQ(mapping.data()[page * kPage], SlowPages::byte_of(page)); });
}

// As many pages are slow as leave one worker; were one of the others behind one of them, it would never come.
TEST_P(PagerWorkers, SlowPagesHoldNoOtherUp) {
  for (const bool budget : {false, true}) {
    SCOPED_TRACE(budget);
    expect_to_end([&] {
      constexpr std::size_t kSlow = 15;
      SlowPages pages(kSlow);
      const Pager pager = make({.prefetchers = 0, .budget = budget ? 256 * kPage : 0});
      const Mapping mapping = map(pager, pages.store(512), {.detect_streams = false});
      std::vector<std::jthread> slow;
      for (std::size_t page = 0; page < kSlow; ++page) slow.push_back(reader_of(mapping, page));
      EXPECT_TRUE(pages.comes_to_wait(kSlow)) << "one of them waits for another";
      for (std::size_t page = kSlow; page < 512; ++page)
        EXPECT_EQ(mapping.data()[page * kPage], SlowPages::byte_of(page));
      EXPECT_TRUE(pages.comes_to_wait(kSlow));
      pages.let_go();
    });
  }
}

// Faults that come together are read together: none of them may be left behind one that is slow.
TEST_P(PagerWorkers, FaultsThatComeTogetherDoNotWaitForEachOther) {
  expect_to_end([&] {
    constexpr std::size_t kRounds = 20;
    constexpr std::size_t kThreads = 8;
    for (std::size_t round = 0; round < kRounds; ++round) {
      SlowPages pages(1);
      const Pager pager = make({.prefetchers = 0});
      const Mapping mapping = map(pager, pages.store(kThreads * 32), {.detect_streams = false});
      std::jthread slow;
      {
        std::vector<std::jthread> fast;
        for (std::size_t thread = 1; thread < kThreads; ++thread)
          fast.emplace_back([&, thread] {
            for (std::size_t page = thread; page < kThreads * 32; page += kThreads)
              EXPECT_EQ(mapping.data()[page * kPage], SlowPages::byte_of(page));
          });
        slow = reader_of(mapping, 0);
      }
      EXPECT_TRUE(pages.comes_to_wait(1));
      pages.let_go();
    }
  });
}

TEST_P(PagerWorkers, ThereAreNoMoreThanWereAllowed) {
  struct Case {
    unsigned workers;
    unsigned most;
    std::size_t expected;
  };
  for (const auto [workers, most, expected] : {Case{1, 1, 1}, Case{1, 3, 3}, Case{4, 2, 4}}) {
    SCOPED_TRACE(testing::Message() << workers << " of " << most);
    expect_to_end([&] {
      SlowPages pages(expected + 2);
      {
        const Pager pager = make({.workers = workers, .most_workers = most, .prefetchers = 0});
        const Mapping mapping = map(pager, pages.store(64), {.detect_streams = false});
        EXPECT_TRUE(comes_true([&] { return workers_of_this_process() == workers; }));
        std::vector<std::jthread> readers;
        for (std::size_t page = 0; page < expected + 2; ++page) readers.push_back(reader_of(mapping, page));
        EXPECT_TRUE(pages.comes_to_wait(expected));
        EXPECT_EQ(workers_of_this_process(), expected);
        pages.let_go();
      }
      EXPECT_TRUE(comes_true([] { return workers_of_this_process() == 0; }));
    });
  }
}

// A store that fails at once is slow, too, where it is asked again after a pause.
TEST_P(PagerWorkers, APauseBeforeTheNextTryHoldsNoOtherUp) {
  expect_to_end([&] {
    static std::atomic<bool> fails{true};
    static std::atomic<bool> failed{false};
    class FailingStore final : public Store {
     public:
      std::uint64_t size() const override { return 16 * kPage; }
      void read(std::span<StoreRequest> batch) override {
        for (StoreRequest& request : batch) {
          if (request.offset == 0 && fails) {
            failed = true;
            request.answer(EIO, 0);
          } else {
            std::memset(request.data, 1, request.length);
            request.answer(0, request.length);
          }
        }
      }
    };
    const Pager pager = make({.prefetchers = 0, .store_attempts = 100000, .store_pause = milliseconds(20)});
    const Mapping mapping = map(pager, std::make_shared<FailingStore>(), {.detect_streams = false});
    const std::jthread slow([&] { EXPECT_EQ(mapping.data()[0], std::byte{1}); });
    EXPECT_TRUE(comes_true([] { return failed.load(); }));
    for (std::size_t page = 1; page < 16; ++page) EXPECT_EQ(mapping.data()[page * kPage], std::byte{1});
    EXPECT_FALSE(mapping.resident(0));
    fails = false;
  });
}

USERFAULT_ON_BOTH_ENGINES(PagerWorkers);

}  // namespace
}  // namespace userfault::test
