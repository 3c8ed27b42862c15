// SPDX-License-Identifier: Apache-2.0
// What a store does not do is said, and costs nobody else: writes that are not made durable, answers
// that are too short, and pages that stay dirty because they are pinned.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "support/bounded.h"
#include "support/bus_hook.h"
#include "support/pager_fixture.h"
#include "support/temporary_file.h"
#include "support/writable_store.h"

namespace userfault::test {
namespace {

using std::chrono::microseconds;

class PagerFailures : public PagerOnEngine {};

std::shared_ptr<WritableStore> store_of(std::size_t pages, unsigned seed) {
  return std::make_shared<WritableStore>(random_bytes(pages * kPage, seed));
}

TEST_P(PagerFailures, WhatIsNotMadeDurableIsReportedOnce) {
  auto store = store_of(8, 1);
  const Pager pager = make();
  Mapping mapping = map(pager, store, {.writable = true});
  mapping.data()[3 * kPage] = std::byte{0};
  store->flush_error = EIO;
  const auto flushed = mapping.flush();
  ASSERT_FALSE(flushed);
  EXPECT_EQ(flushed.error().operation, Operation::kStore);
  EXPECT_EQ(flushed.error().code, EIO);
  store->flush_error = 0;
  EXPECT_TRUE(mapping.flush()) << "this store failed once";
  EXPECT_EQ(store->bytes()[3 * kPage], std::byte{0}) << "it was written all the same";
  ASSERT_TRUE(mapping.close());
  const auto errors = pager.errors();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_TRUE(errors[0].write);
  EXPECT_EQ(errors[0].code, EIO);
}

// A store that has lost something says so ever after, and nobody may take a flush() of nothing for a
// success.
TEST_P(PagerFailures, AStoreThatKeepsFailingIsAskedThoughNothingIsDirty) {
  auto store = store_of(8, 2);
  const Pager pager = make();
  Mapping mapping = map(pager, store, {.writable = true});
  mapping.data()[kPage] = std::byte{0};
  store->flush_error = ENOSPC;
  for (int i = 1; i <= 3; ++i) {
    const auto flushed = mapping.flush();
    ASSERT_FALSE(flushed) << i;
    EXPECT_EQ(flushed.error().code, ENOSPC);
    EXPECT_EQ(mapping.statistics().dirty_bytes, 0u);
    EXPECT_EQ(store->flushes, i);
  }
  EXPECT_FALSE(mapping.close());
  EXPECT_EQ(mapping.data()[kPage], std::byte{0}) << "after a failure all is as before";
  EXPECT_EQ(pager.errors().size(), 1u) << "once, however often it was tried";
}

// Nobody sees what a destructor's flush() returns.
TEST_P(PagerFailures, ADestructorLeavesWhatWasNotMadeDurableInTheErrors) {
  for (const bool flushed_before : {false, true}) {
    auto store = store_of(8, 3);
    const Pager pager = make();
    {
      const Mapping mapping = map(pager, store, {.writable = true});
      mapping.data()[kPage] = std::byte{0};
      if (flushed_before) {
        EXPECT_TRUE(mapping.flush());
      }
      store->flush_error = EIO;
    }
    const auto errors = pager.errors();
    ASSERT_EQ(errors.size(), 1u) << flushed_before;
    EXPECT_TRUE(errors[0].write);
    EXPECT_EQ(errors[0].code, EIO);
  }
}

// Says that all is well, and gives only the beginning of what lies behind `from`.
class ShortStore final : public Store {
 public:
  ShortStore(std::span<const std::byte> bytes, std::uint64_t from, std::size_t given)
      : bytes_(bytes), from_(from), given_(given) {}
  std::uint64_t size() const override { return bytes_.size(); }
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      const std::size_t good = request.offset < from_ ? request.length : std::min(given_, request.length);
      std::memcpy(request.data, bytes_.data() + request.offset, good);
      request.answer(0, good);
    }
  }

 private:
  const std::span<const std::byte> bytes_;
  const std::uint64_t from_;
  const std::size_t given_;
};

// The buffers that pages are read into are used again: what was in one before is another page's.
TEST_P(PagerFailures, AShortAnswerIsSigbusAndNeverAnotherPage) {
  const auto bytes = random_bytes(8 * kPage, 4);
  for (const std::size_t given : {std::size_t{0}, kPage / 2, kPage - 1}) {
    SCOPED_TRACE(given);
    expect_to_end([&] {
      const Pager pager = make({.prefetchers = 0, .store_attempts = 2, .store_pause = microseconds(10)});
      const auto store = std::make_shared<ShortStore>(bytes, 4 * kPage, given);
      const Mapping mapping = map(pager, store, {.detect_streams = false});
      for (std::size_t page = 0; page < 4; ++page) EXPECT_EQ(mapping.data()[page * kPage], bytes[page * kPage]);
      const std::size_t last = 6 * kPage - 1;
      const auto got = read_or_bus(mapping.data() + last);
      EXPECT_FALSE(got) << (*got == bytes[last]            ? "it is right by chance"
                            : *got == bytes[4 * kPage - 1] ? "another page's"
                                                           : "made up");
      const auto errors = pager.errors();
      EXPECT_EQ(errors.size(), 1u);
      if (errors.empty()) return;
      EXPECT_EQ(errors[0].offset, 5 * kPage);
      EXPECT_NE(errors[0].code, 0);
      EXPECT_FALSE(errors[0].write);
    });
  }
}

TEST(Stores, AShortAnswerIsAnErrorForWhoWaitsForIt) {
  const auto bytes = random_bytes(2 * kPage, 5);
  ShortStore store(bytes, kPage, 100);
  std::vector<std::byte> got(kPage);
  std::size_t good = 0;
  EXPECT_EQ(read_store(store, 0, got, &good), 0);
  EXPECT_EQ(good, kPage);
  EXPECT_NE(read_store(store, kPage, got, &good), 0);
  EXPECT_EQ(good, 100u);
}

// A page that is pinned stays dirty, whatever is written: writing it in the background achieves nothing.
// There are always more dirty pages here than `write_back_at`, and all of them are pinned.
TEST_P(PagerFailures, PinnedPagesAreNotWrittenOverAndOver) {
  auto store = store_of(8, 6);
  const auto bytes = random_bytes(4096 * kPage, 7);
  expect_to_end([&] {
    const Pager pager = make({.prefetchers = 0, .write_back_at = 4 * kPage});
    Mapping mapping = map(pager, store, {.detect_streams = false, .writable = true});
    ASSERT_TRUE(mapping.pin(0, 8 * kPage));
    for (std::size_t page = 0; page < 8; ++page) mapping.data()[page * kPage] = std::byte{0};
    // What others do takes time, in which an evictor that finds no end would write thousands of times.
    const Mapping other = map(pager, make_memory_store(bytes), {.detect_streams = false});
    constexpr int kMany = 500;
    const int before = store->writes;
    for (std::size_t page = 0; page < 4096 && store->writes - before < kMany; ++page)
      EXPECT_EQ(other.data()[page * kPage], bytes[page * kPage]);
    EXPECT_LT(store->writes - before, kMany / 5);
    EXPECT_TRUE(mapping.flush());
    const auto written = store->bytes();
    for (std::size_t page = 0; page < 8; ++page) EXPECT_EQ(written[page * kPage], std::byte{0}) << page;
    EXPECT_TRUE(mapping.unpin(0, 8 * kPage));
    EXPECT_TRUE(mapping.close());
  });
}

// A mapping that was dirty too when the evictor began is not held until it ends.
TEST_P(PagerFailures, PinnedPagesDoNotKeepAnotherMappingOpen) {
  expect_to_end([] {
    auto store = store_of(8, 8);
    auto other_store = store_of(8, 9);
    const Pager pager = make({.prefetchers = 0, .write_back_at = 4 * kPage});
    Mapping other = map(pager, other_store, {.detect_streams = false, .writable = true});
    const Mapping mapping = map(pager, store, {.detect_streams = false, .writable = true});
    ASSERT_TRUE(mapping.pin(0, 8 * kPage));
    other.data()[kPage] = std::byte{0};
    for (std::size_t page = 0; page < 8; ++page) mapping.data()[page * kPage] = std::byte{0};
    // It is clean either because the evictor was here, or because of us.
    EXPECT_TRUE(other.close());
    EXPECT_EQ(other_store->bytes()[kPage], std::byte{0});
  });
}

USERFAULT_ON_BOTH_ENGINES(PagerFailures);

}  // namespace
}  // namespace userfault::test
