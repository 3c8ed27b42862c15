// SPDX-License-Identifier: Apache-2.0
// read(2) on a userfaultfd.
#include <array>
#include <vector>

#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;
constexpr std::size_t kMessage = sizeof(userfault_msg);

// A thread that is at rest on that page: its message is in the queue.
Faulter faulted(const void* page) {
  Faulter faulter = Faulter::read(page);
  faulter.expect_waiting();
  return faulter;
}

std::uint64_t address_in(const userfault_msg& message) { return message.arg.pagefault.address; }
std::uint64_t number(const void* page) { return reinterpret_cast<std::uintptr_t>(page); }

CONFORMANCE_TEST(MessageRead, OneReadReturnsManyInOrder, "MSG-01 REAL-40", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  std::vector<Faulter> faulters;
  for (const std::size_t page : {3u, 1u, 2u}) faulters.push_back(faulted(map.page(page)));
  std::array<userfault_msg, 8> messages{};
  ASSERT_EQ(userfault_read(uffd.fd(), messages.data(), sizeof messages), static_cast<ssize_t>(3 * kMessage));
  EXPECT_EQ(address_in(messages[0]), number(map.page(3)));
  EXPECT_EQ(address_in(messages[1]), number(map.page(1)));
  EXPECT_EQ(address_in(messages[2]), number(map.page(2)));
  uffd.expect_no_message();
  uffd.fill_with_zeros(map.all());
  for (Faulter& faulter : faulters) faulter.join();
}

// As many whole messages as fit; what does not fit stays for the next read.
CONFORMANCE_TEST(MessageRead, OnlyWholeMessagesThatFit, "MSG-01", Backings::kPrivate) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  std::vector<Faulter> faulters;
  for (const std::size_t page : {0u, 1u, 2u}) faulters.push_back(faulted(map.page(page)));
  std::array<userfault_msg, 3> messages{};
  messages[2].event = 0x77;
  ASSERT_EQ(userfault_read(uffd.fd(), messages.data(), 2 * kMessage + kMessage - 1),
            static_cast<ssize_t>(2 * kMessage));
  EXPECT_EQ(messages[2].event, 0x77);
  uffd.expect_fault(map.page(2), 0);
  uffd.fill_with_zeros(map.all());
  for (Faulter& faulter : faulters) faulter.join();
}

CONFORMANCE_TEST(MessageRead, BufferBelowOneMessageIsInvalid, "MSG-01 REAL-21", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  userfault_msg message;
  const auto expect_invalid = [&] {
    for (const std::size_t bytes : {std::size_t{1}, kMessage - 1}) {
      EXPECT_EQ(userfault_read(uffd.fd(), &message, bytes), -1);
      EXPECT_EQ(errno, EINVAL);
    }
  };
  // What is wrong with the call comes before what is there to read.
  Faulter faulter = faulted(map.page(0));
  expect_invalid();
  uffd.expect_fault(map.page(0), 0);
  uffd.fill_with_zeros(map.all());
  faulter.join();
}

CONFORMANCE_TEST(MessageRead, NothingThereIsEagain, "MSG-01", Backings::kNone) {
  Uffd uffd(ctx);
  userfault_msg message;
  EXPECT_EQ(userfault_read(uffd.fd(), &message, sizeof message), -1);
  EXPECT_EQ(errno, EAGAIN);
}

CONFORMANCE_TEST(MessageRead, BeforeTheHandshakeItIsInvalid, "REAL-21", Backings::kNone) {
  for (const bool nonblocking : {true, false}) {
    Uffd uffd(ctx, {.handshake = false, .nonblocking = nonblocking});
    userfault_msg message;
    EXPECT_EQ(userfault_read(uffd.fd(), &message, sizeof message), -1);
    EXPECT_EQ(errno, EINVAL);
  }
}

CONFORMANCE_TEST(MessageRead, BlockingDescriptorWaits, "MSG-01", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.nonblocking = false});
  uffd.must_register(map.all(), kMissing);
  userfault_msg message{};
  Task reader(
      [&] { EXPECT_EQ(userfault_read(uffd.fd(), &message, sizeof message), static_cast<ssize_t>(sizeof message)); });
  reader.expect_waiting();
  Faulter faulter = Faulter::read(map.page(0));
  reader.join();
  EXPECT_EQ(message.event, USERFAULT_EVENT_PAGEFAULT);
  EXPECT_EQ(address_in(message), number(map.page(0)));
  uffd.fill_with_zeros(map.all());
  faulter.join();
}

// The buffer is memory like any other: one that is not there gives EFAULT.
CONFORMANCE_TEST(MessageRead, BufferThatIsNotThere, "MSG-01 GEN-01", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = faulted(map.page(0));
  EXPECT_EQ(userfault_read(uffd.fd(), reinterpret_cast<void*>(8), sizeof(userfault_msg)), -1);
  EXPECT_EQ(errno, EFAULT);
  uffd.fill_with_zeros(map.all());
  faulter.join();
}

CONFORMANCE_TEST(MessageRead, TwoThreadsOnOnePageAreTwoMessages, "REAL-40", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter first = faulted(map.page(0));
  Faulter second = faulted(map.page(0));
  uffd.expect_fault(map.page(0), 0);
  uffd.expect_fault(map.page(0), 0);
  uffd.expect_no_message();
  fill_page(uffd, map, 0, 4);
  EXPECT_EQ(first.join().value, pattern_word(4, 0));
  EXPECT_EQ(second.join().value, pattern_word(4, 0));
}

CONFORMANCE_TEST(MessageRead, FaultThatIsResolvedUnreadLeavesNoMessage, "REAL-11", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter first = faulted(map.page(0));
  Faulter second = faulted(map.page(1));
  uffd.fill_with_zeros(map.range(0, 1));
  first.join();
  uffd.expect_fault(map.page(1), 0);
  uffd.expect_no_message();
  uffd.fill_with_zeros(map.range(1, 1));
  second.join();
}

// A fault that is younger than an event is read before it.
CONFORMANCE_TEST(MessageRead, PageFaultsComeBeforeEarlierEvents, "REAL-08", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_EVENT_UNMAP});
  uffd.must_register(map.all(), kMissing);
  Task unmapping([&] { EXPECT_EQ(userfault_munmap(map.page(1), map.page_size()), 0); });
  unmapping.expect_waiting_for_reader();
  Faulter faulter = faulted(map.page(0));
  uffd.expect_fault(map.page(0), 0);
  expect_unmapped(uffd, map.range(1, 1));
  unmapping.join();
  uffd.fill_with_zeros(map.range(0, 1));
  faulter.join();
}

}  // namespace
}  // namespace userfault::conformance
