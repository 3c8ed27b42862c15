// SPDX-License-Identifier: Apache-2.0
// A copy of the process (fork(2)) has neither the pager's threads nor its memory: what it does with its Pager and its
// Mapping ends all the same, and does the parent no harm.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bounded.h"
#include "support/bounded.h"
#include "support/pager_fixture.h"
#include "support/temporary_file.h"
#include "support/writable_store.h"

namespace userfault::test {
namespace {

class PagerFork : public PagerOnEngine {};

// Puts something of the copy's own where the pager's memory is in the parent.
std::byte* take_place_of(const Mapping& mapping) {
  void* const at =
      ::mmap(mapping.data(), kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  EXPECT_EQ(at, mapping.data()) << "the memory is in the copy";
  if (at == MAP_FAILED) return nullptr;
  return static_cast<std::byte*>(at);
}

// The parent's pager is at rest, or in the midst of everything: a page is being read, another one written, and threads
// of the program wait for both.
void fork_and_destroy(const Pager& made, const std::shared_ptr<WritableStore>& store, bool by_close) {
  Pager& pager = const_cast<Pager&>(made);
  std::optional<Mapping> mapping(map(pager, store, {.detect_streams = false, .writable = true}));
  for (std::size_t page = 0; page < 8; ++page) mapping->data()[page * kPage] = std::byte{7};
  store->held = true;
  const int before = store->writes;
  std::jthread flusher([&] { EXPECT_TRUE(mapping->flush()); });
  EXPECT_TRUE(comes_true([&] { return store->writes > before; }));
  const std::jthread writer([&] { mapping->data()[1] = std::byte{8}; });
  expect_to_end([&] {
    // The copy has no thread but this one; the parent may have begun more than one write.
    const int at_fork = store->writes;
    store->held = false;
    std::byte* const own = take_place_of(*mapping);
    mapping->prefetch(0, mapping->size());
    mapping->wait_for_prefetch();
    EXPECT_EQ(mapping->pin(0, kPage).error().code, ESRCH);
    const auto flushed = mapping->flush();
    EXPECT_EQ(flushed.error().code, ESRCH);
    EXPECT_NE(flushed.error().message().find("forked copy"), std::string::npos) << flushed.error().message();
    EXPECT_EQ(pager.map(store).error().code, ESRCH);
    EXPECT_EQ(pager.statistics().faults, 0u);
    if (by_close) {
      EXPECT_TRUE(mapping->close());
    }
    mapping.reset();
    { const Pager gone = std::move(pager); }
    own[0] = std::byte{1};
    EXPECT_EQ(store->writes, at_fork) << "the copy has written";
  });
  store->held = false;
  store->held.notify_all();
  flusher.join();
}

TEST_P(PagerFork, ACopyThatDestroysThemEnds) {
  for (const bool by_close : {false, true}) {
    SCOPED_TRACE(by_close);
    expect_to_end([&] {
      for (const std::uint64_t budget : {std::uint64_t{0}, std::uint64_t{16 * kPage}}) {
        auto store = std::make_shared<WritableStore>(random_bytes(64 * kPage, 1));
        const auto bytes = store->bytes();
        Pager pager = make({.prefetchers = 1, .budget = budget});
        fork_and_destroy(pager, store, by_close);
        // The parent's goes on.
        const auto written = store->bytes();
        for (std::size_t page = 1; page < 8; ++page) EXPECT_EQ(written[page * kPage], std::byte{7}) << page;
        Mapping mapping = map(pager, store, {.writable = true});
        for (std::size_t page = 8; page < 64; ++page)
          EXPECT_EQ(std::memcmp(mapping.data() + page * kPage, bytes.data() + page * kPage, kPage), 0) << page;
        EXPECT_TRUE(mapping.close());
      }
    });
  }
}

// A file behind a pool of threads, which the copy does not have either.
TEST_P(PagerFork, AStoreWithThreadsOfItsOwnIsKept) {
  const auto bytes = random_bytes(64 * kPage, 2);
  const TemporaryFile file(bytes);
  expect_to_end([&] {
    auto opened = open_file_store(file.path(), {.writable = true});
    ASSERT_TRUE(opened);
    std::optional<Pager> pager(make());
    std::optional<Mapping> mapping(map(*pager, std::move(*opened), {.writable = true}));
    mapping->data()[0] = std::byte{0};
    expect_to_end([&] {
      mapping.reset();
      pager.reset();
    });
    EXPECT_EQ(mapping->data()[0], std::byte{0});
    EXPECT_EQ(std::memcmp(mapping->data() + kPage, bytes.data() + kPage, 63 * kPage), 0);
    EXPECT_TRUE(mapping->close());
  });
}

USERFAULT_ON_BOTH_ENGINES(PagerFork);

}  // namespace
}  // namespace userfault::test
