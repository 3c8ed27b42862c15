// SPDX-License-Identifier: Apache-2.0
// The pager on each engine: every byte is the store's, or touching it is SIGBUS.
#include "userfault/pager.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <thread>

#include "support/bus_hook.h"
#include "support/held_store.h"
#include "support/pager_fixture.h"
#include "support/temporary_file.h"
#include "userfault/userfault.h"

namespace userfault::test {
namespace {

class PagerTest : public PagerOnEngine {};

// How a child ends that reads one byte; the parent's mapping is not in a child, so the pager lives
// in the child too.
int status_of_reading(EngineKind engine, const std::string& path, std::size_t shrink_to, std::size_t at) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto pager = Pager::create({.engine = engine, .store_pause = std::chrono::microseconds(1)});
    auto store = open_file_store(path);
    if (!pager || !store) ::_exit(100);
    auto mapping = pager->map(*store);
    if (!mapping || ::truncate(path.c_str(), static_cast<off_t>(shrink_to)) != 0) ::_exit(101);
    ::_exit(static_cast<int>(*const_cast<volatile std::byte*>(mapping->data() + at)));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST_P(PagerTest, EveryByteIsTheFiles) {
  const auto bytes = random_bytes(300 * kPage + 123, 1);
  const TemporaryFile file(bytes);
  const Pager pager = make();
  const Mapping mapping = map(pager, *open_file_store(file.path()));
  ASSERT_EQ(mapping.size(), bytes.size());
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
  const std::vector<std::byte> zeroes(301 * kPage - bytes.size());
  EXPECT_EQ(std::memcmp(mapping.data() + bytes.size(), zeroes.data(), zeroes.size()), 0) << "behind the end";
  const Statistics statistics = pager.statistics();
  EXPECT_EQ(statistics.pages_by_fault + statistics.pages_by_prefetch, 301u);
  EXPECT_EQ(statistics.bytes_by_fault + statistics.bytes_by_prefetch, bytes.size());
  EXPECT_EQ(statistics.resident_bytes, 301 * kPage);
}

TEST_P(PagerTest, ZeroPartsAreZeroPages) {
  auto bytes = random_bytes(64 * kPage, 2);
  std::fill(bytes.begin() + 16 * kPage, bytes.begin() + 48 * kPage, std::byte{0});
  const TemporaryFile file(bytes);
  const Pager pager = make();
  const Mapping mapping = map(pager, *open_file_store(file.path(), {.zero_tail = 64 * kPage}));
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
  for (std::size_t at = bytes.size(); at < mapping.size(); ++at) ASSERT_EQ(mapping.data()[at], std::byte{0});
  EXPECT_GE(pager.statistics().zero_pages, 64u + 32u - 2 * 3u);
}

TEST_P(PagerTest, AFaultBringsItsNeighbours) {
  const auto bytes = random_bytes(64 * kPage, 3);
  const Pager pager = make();
  const Mapping mapping = map(pager, make_memory_store(bytes), {.around = 16, .detect_streams = false});
  EXPECT_EQ(mapping.data()[21 * kPage], bytes[21 * kPage]);
  EXPECT_EQ(pager.statistics().pages_by_fault, 16u);
  // Marked resident right after the thread that waited was woken.
  while (!mapping.resident(31 * kPage)) std::this_thread::yield();
  for (std::size_t page = 0; page < 64; ++page)
    EXPECT_EQ(mapping.resident(page * kPage), page >= 16 && page < 32) << page;
}

TEST_P(PagerTest, LargerPagesAreFilledWhole) {
  const auto bytes = random_bytes((std::size_t{3} << 20) + 5, 4);
  const Pager pager = make();
  for (const std::size_t page : {kPage, 4 * kPage, std::size_t{64} << 10, std::size_t{2} << 20}) {
    const Mapping mapping = map(pager, make_memory_store(bytes), {.page_size = page});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapping.data()) % page, 0u);
    EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0) << page;
  }
}

TEST_P(PagerTest, HugePages) {
  const auto bytes = random_bytes((std::size_t{4} << 20) - 77, 5);
  const Pager pager = make();
  auto mapping = pager.map(make_memory_store(bytes), {.page_size = std::size_t{2} << 20, .huge = true});
  if (!mapping && mapping.error().code == ENOMEM) GTEST_SKIP() << "fewer than two free huge pages (vm.nr_hugepages)";
  ASSERT_TRUE(mapping) << mapping.error().message();
  EXPECT_EQ(std::memcmp(mapping->data(), bytes.data(), bytes.size()), 0);
}

TEST_P(PagerTest, PrefetchFillsEverythingWithoutAFault) {
  const auto bytes = random_bytes(1000 * kPage, 6);
  const TemporaryFile file(bytes);
  const Pager pager = make({.prefetchers = 2});
  const Mapping mapping = map(pager, *open_file_store(file.path()));
  mapping.prefetch(0, mapping.size());
  mapping.wait_for_prefetch();
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
  EXPECT_EQ(pager.statistics().pages_by_prefetch, 1000u);
  EXPECT_EQ(pager.statistics().faults, 0u);
}

TEST_P(PagerTest, WhatTheProgramDropsComesBack) {
  const auto bytes = random_bytes(8 * kPage, 7);
  const Pager pager = make();
  const Mapping mapping = map(pager, make_memory_store(bytes), {.detect_streams = false});
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0) << round;
    ASSERT_EQ(::userfault_madvise(mapping.data() + 2 * kPage, 3 * kPage, MADV_DONTNEED), 0);
  }
}

TEST_P(PagerTest, AMappingThatTheProgramSplitIsStillFilled) {
  const auto bytes = random_bytes(16 * kPage, 8);
  const Pager pager = make();
  const Mapping mapping = map(pager, make_memory_store(bytes), {.page_size = 8 * kPage});
  ASSERT_EQ(::userfault_mprotect(mapping.data() + 3 * kPage, kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
}

TEST_P(PagerTest, MapsAtAnAddressAndRefusesATakenOne) {
  const auto bytes = random_bytes(2 * kPage, 9);
  const Pager pager = make();
  void* const place = ::mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(place, MAP_FAILED);
  const auto taken = pager.map(make_memory_store(bytes), {.address = place});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, EEXIST);
  ASSERT_EQ(::munmap(place, 4 * kPage), 0);
  const Mapping mapping = map(pager, make_memory_store(bytes), {.address = place});
  EXPECT_EQ(mapping.data(), place);
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
}

TEST_P(PagerTest, RefusesBadOptions) {
  const auto bytes = random_bytes(kPage, 10);
  const Pager pager = make();
  for (const MapOptions& options : {MapOptions{.page_size = 3 * kPage}, MapOptions{.page_size = 1024},
                                    MapOptions{.page_size = std::size_t{4} << 20}, MapOptions{.around = 3},
                                    MapOptions{.page_size = kPage, .huge = true}}) {
    const auto mapping = pager.map(make_memory_store(bytes), options);
    ASSERT_FALSE(mapping);
    EXPECT_EQ(mapping.error().code, EINVAL);
  }
  EXPECT_EQ(pager.map(make_zero_store(0)).error().code, EINVAL);
  EXPECT_EQ(pager.map(nullptr).error().code, EINVAL);
}

TEST_P(PagerTest, APageThatIsGoneFromTheFileIsSigbus) {
  const auto bytes = random_bytes(8 * kPage, 11);
  for (const std::size_t at : {5 * kPage, 4 * kPage + 500, 7 * kPage}) {
    TemporaryFile file(bytes);
    const int status = status_of_reading(GetParam(), file.path(), 4 * kPage + 100, at);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) << "status " << status << " at " << at;
  }
  TemporaryFile file(bytes);
  const int status = status_of_reading(GetParam(), file.path(), 4 * kPage + 100, kPage);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == static_cast<int>(bytes[kPage])) << status;
}

TEST_P(PagerTest, AChildDoesNotReadZeroes) {
  const auto bytes = random_bytes(4 * kPage, 12);
  const Pager pager = make();
  const Mapping mapping = map(pager, make_memory_store(bytes));
  const pid_t child = ::userfault_fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would make an exit status of it
    ::_exit(static_cast<int>(*const_cast<volatile std::byte*>(mapping.data() + kPage)));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
}

// A store that fails as often as it is told to before it gives a page.
struct Flaky {
  std::atomic<int> failures{0};
  std::atomic<int> calls{0};
  static int fill(void* context, std::uint64_t offset, std::span<std::byte> into) {
    auto& self = *static_cast<Flaky*>(context);
    ++self.calls;
    if (self.failures.fetch_sub(1) > 0) return EIO;
    for (std::size_t i = 0; i < into.size(); ++i) into[i] = static_cast<std::byte>(1 + (offset + i) / kPage);
    return 0;
  }
};

TEST_P(PagerTest, AStoreThatFailsTwiceIsAskedAThirdTime) {
  Flaky flaky{.failures = 2};
  const Pager pager = make({.store_attempts = 3, .store_pause = std::chrono::microseconds(10)});
  const Mapping mapping = map(pager, make_function_store(4 * kPage, &Flaky::fill, &flaky));
  EXPECT_EQ(mapping.data()[2 * kPage], std::byte{3});
  EXPECT_EQ(flaky.calls, 3);
  EXPECT_EQ(pager.statistics().store_errors, 2u);
  EXPECT_EQ(pager.statistics().pages_poisoned, 0u);
  EXPECT_TRUE(pager.errors().empty());
}

TEST_P(PagerTest, AnErrorIsReportedWithItsOffset) {
  const pid_t child = ::fork();
  if (child == 0) {
    static sigjmp_buf resume;
    Flaky flaky{.failures = 1000};
    const Pager pager = make({.store_attempts = 2, .store_pause = std::chrono::microseconds(10)});
    const Mapping mapping = map(pager, make_function_store(8 * kPage, &Flaky::fill, &flaky));
    bus_hook = [] { siglongjmp(resume, 1); };
    if (sigsetjmp(resume, 1) != 0) {
      const auto errors = pager.errors();
      const bool right = errors.size() == 1 && errors[0].offset == 3 * kPage && errors[0].code == EIO &&
                         pager.statistics().pages_poisoned == 1 && pager.statistics().store_errors == 2;
      ::_exit(right ? 42 : 43);
    }
    (void)*const_cast<volatile std::byte*>(mapping.data() + 3 * kPage);
    ::_exit(44);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
}

// A fault's neighbours that cannot be had are nobody's concern until somebody touches them.
TEST_P(PagerTest, OnlyThePageThatIsTouchedIsPoisoned) {
  const auto bytes = random_bytes(16 * kPage, 13);
  TemporaryFile file(bytes);
  const Pager pager = make({.store_pause = std::chrono::microseconds(10)});
  const Mapping mapping = map(pager, *open_file_store(file.path()), {.around = 16, .detect_streams = false});
  file.truncate(8 * kPage);
  EXPECT_EQ(mapping.data()[2 * kPage], bytes[2 * kPage]);
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), 8 * kPage), 0);
  EXPECT_EQ(pager.statistics().pages_poisoned, 0u);
  file.replace(bytes);
  EXPECT_EQ(std::memcmp(mapping.data(), bytes.data(), bytes.size()), 0);
}

// Eight threads read every page, each in its own order, while pages are fetched ahead and dropped.
void read_from_eight_threads(const Mapping& mapping, std::span<const std::byte> bytes, bool drop) {
  std::atomic<std::size_t> wrong{0};
  std::vector<std::thread> threads;
  const std::size_t pages = bytes.size() / kPage;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::uint32_t> order(pages);
      std::iota(order.begin(), order.end(), 0u);
      if (t % 4 != 0) std::ranges::shuffle(order, std::mt19937(t));
      for (const std::size_t page : order) {
        if (std::memcmp(mapping.data() + page * kPage, bytes.data() + page * kPage, kPage) != 0) ++wrong;
        if (drop && page % 61 == t) (void)::userfault_madvise(mapping.data() + page * kPage, kPage, MADV_DONTNEED);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u) << "pages with a wrong byte";
}

struct Shape {
  unsigned workers;
  bool prefetch;
  bool drop;
  std::size_t page_size;
  std::size_t around;
};

TEST_P(PagerTest, EightReadersSeeNothingButTheStoresBytes) {
  const auto bytes = random_bytes(4000 * kPage, 14);
  const TemporaryFile file(bytes);
  for (const Shape& shape :
       {Shape{1, false, false, kPage, 1}, Shape{3, false, false, kPage, 1}, Shape{2, true, false, kPage, 16},
        Shape{2, true, true, kPage, 1}, Shape{3, true, true, 4 * kPage, 8}}) {
    SCOPED_TRACE(testing::Message() << shape.workers << " workers, prefetch " << shape.prefetch << ", drop "
                                    << shape.drop);
    const Pager pager = make({.workers = shape.workers, .prefetchers = 2});
    const Mapping mapping =
        map(pager, *open_file_store(file.path()), {.page_size = shape.page_size, .around = shape.around});
    if (shape.prefetch) mapping.prefetch(0, mapping.size());
    read_from_eight_threads(mapping, bytes, shape.drop);
    EXPECT_EQ(pager.statistics().pages_poisoned, 0u);
  }
}

TEST_P(PagerTest, AStoreMayAnswerLaterFromAnotherThread) {
  const auto bytes = random_bytes(2000 * kPage, 15);
  const Pager pager = make({.workers = 2, .prefetchers = 2});
  const auto store = std::make_shared<HeldStore>(bytes);
  store->let_all_go();
  const Mapping mapping = map(pager, store);
  mapping.prefetch(0, mapping.size() / 2);
  read_from_eight_threads(mapping, bytes, true);
}

TEST_P(PagerTest, ManyMappingsComeAndGoWhileOthersAreRead) {
  const auto bytes = random_bytes(200 * kPage, 16);
  const Pager pager = make({.workers = 2, .prefetchers = 1});
  std::atomic<bool> stop{false};
  std::thread churn([&] {
    while (!stop) {
      const Mapping one = map(pager, make_memory_store(bytes));
      one.prefetch(0, one.size());
      EXPECT_EQ(one.data()[150 * kPage], bytes[150 * kPage]);
    }
  });
  for (int round = 0; round < 30; ++round) {
    const Mapping mapping = map(pager, make_memory_store(bytes));
    read_from_eight_threads(mapping, bytes, false);
  }
  stop = true;
  churn.join();
  EXPECT_EQ(pager.statistics().resident_bytes, 0u);
}

TEST_P(PagerTest, PagersComeAndGo) {
  for (int round = 0; round < 200; ++round) {
    const Pager pager = make({.workers = 3, .prefetchers = 2});
  }
}

USERFAULT_ON_BOTH_ENGINES(PagerTest);

}  // namespace
}  // namespace userfault::test
