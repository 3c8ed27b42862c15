// SPDX-License-Identifier: Apache-2.0
// The five message kinds, decoded from real events, and reading them. MSG-01 to MSG-04, FEAT-01,
// FEAT-02, FEAT-03, FEAT-06, FEAT-08, FEAT-11, REAL-08, REAL-11, REAL-40.
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "api/decode.h"
#include "api_support.h"
#include "child.h"

namespace userfault::test {
namespace {

class ApiMessages : public ApiTest {};
USERFAULT_ON_BOTH_ENGINES(ApiMessages);

TEST_P(ApiMessages, NothingThereIsEmpty) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  std::array<Message, 4> messages;
  const auto read = descriptor->read(messages);
  ASSERT_TRUE(read) << why(read);
  EXPECT_TRUE(read->empty());
  EXPECT_EQ(descriptor->read({}).error().code, EINVAL);
}

TEST_P(ApiMessages, FaultFlagsAndAddresses) {
  const Features features = feature::kThreadId | feature::kExactAddress;
  const auto descriptor = open(features);
  if (!descriptor) GTEST_SKIP() << lacks(features);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  std::atomic<std::uint32_t> thread_id = 0;
  std::jthread writer([&] {
    thread_id = static_cast<std::uint32_t>(::syscall(SYS_gettid));
    *reinterpret_cast<volatile char*>(memory->data() + 123) = 1;
  });
  const auto fault = next<Fault>(*descriptor);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->address, memory->range().start + 123);
  EXPECT_TRUE(fault->write);
  EXPECT_FALSE(fault->write_protect || fault->minor);
  EXPECT_EQ(fault->thread_id, thread_id);
  EXPECT_TRUE(descriptor->zeropage(memory->page_of(fault->address)));
}

TEST_P(ApiMessages, WithoutTheFeaturesNoThreadAndTheStartOfThePage) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  std::jthread reader([&] { static_cast<void>(*reinterpret_cast<volatile char*>(memory->data() + 123)); });
  const auto fault = next<Fault>(*descriptor);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->address, memory->range().start);
  EXPECT_FALSE(fault->write);
  EXPECT_EQ(fault->thread_id, 0u);
  EXPECT_TRUE(descriptor->zeropage(memory->range()));
}

TEST_P(ApiMessages, ForkedBringsTheChildsDescriptor) {
  if (!available_.has(feature::kEventFork)) GTEST_SKIP() << lacks(feature::kEventFork);
  const auto descriptor = Descriptor::open({.engine = GetParam(), .required = feature::kEventFork});
  if (!descriptor && descriptor.error().code == EPERM) GTEST_SKIP() << descriptor.error().message();
  ASSERT_TRUE(descriptor) << why(descriptor);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  pid_t child = -1;
  std::jthread forking([&] {
    const auto forked = memory::fork();
    if (forked && *forked == 0) {
      ::alarm(20);
      ::_exit(*reinterpret_cast<volatile char*>(memory->data()));
    }
    child = forked.value_or(-1);
  });
  const auto event = next<Forked>(*descriptor);
  ASSERT_TRUE(event);
  auto childs = Descriptor::adopt(event->fd);
  ASSERT_TRUE(childs) << why(childs);
  ASSERT_TRUE(next<Fault>(*childs));
  const auto source = page_of(42);
  const auto copied = childs->copy(memory->range(), source.data());
  ASSERT_TRUE(copied) << why(copied);
  forking.join();
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
}

TEST_P(ApiMessages, RemappedTellsFromToAndLength) {
  const auto descriptor = open(feature::kEventRemap);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kEventRemap);
  auto region = Region::create(*descriptor, 2 * kPage);
  ASSERT_TRUE(region) << why(region);
  const PageRange from = region->release();
  const PageRange place = memory::map(2 * kPage, {.flags = MAP_PRIVATE | MAP_ANONYMOUS}).value();
  Result<PageRange> moved = Unexpected(Error{});
  std::jthread mover([&] { moved = memory::remap(from, from.length, {.to = place.start}); });
  const auto event = next<Remapped>(*descriptor);
  mover.join();
  ASSERT_TRUE(event);
  ASSERT_TRUE(moved) << why(moved);
  EXPECT_EQ(event->from, from.start);
  EXPECT_EQ(event->to, place.start);
  EXPECT_EQ(event->length, 2 * kPage);
  EXPECT_TRUE(descriptor->zeropage(*moved)) << "the registration moved along";
  ASSERT_TRUE(descriptor->unregister(*moved));
  ASSERT_TRUE(memory::unmap(*moved));
}

TEST_P(ApiMessages, RemovedAndUnmappedTellTheRange) {
  const Features features = feature::kEventRemove | feature::kEventUnmap;
  const auto descriptor = open(features);
  if (!descriptor) GTEST_SKIP() << lacks(features);
  auto region = Region::create(*descriptor, 4 * kPage);
  ASSERT_TRUE(region) << why(region);
  ASSERT_TRUE(descriptor->zeropage(region->range()));
  const PageRange range = region->release();
  const PageRange middle{range.start + kPage, 2 * kPage};
  std::jthread changer([&] {
    EXPECT_TRUE(memory::advise(middle, MADV_DONTNEED));
    EXPECT_TRUE(memory::unmap(range));
  });
  const auto removed = next<Removed>(*descriptor);
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->range, middle);
  const auto unmapped = next<Unmapped>(*descriptor);
  ASSERT_TRUE(unmapped);
  EXPECT_EQ(unmapped->range, range);
}

// One read brings what is there; REAL-40: page faults in the order in which they came.
TEST_P(ApiMessages, BatchReading) {
  constexpr std::size_t kThreads = 12;
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = Region::create(*descriptor, kThreads * kPage);
  ASSERT_TRUE(memory) << why(memory);
  std::vector<std::jthread> readers;
  for (std::size_t i = 0; i < kThreads; ++i)
    readers.emplace_back([&, i] { static_cast<void>(*reinterpret_cast<volatile char*>(memory->data() + i * kPage)); });
  std::vector<std::uintptr_t> faulted;
  std::array<Message, 5> messages;
  while (faulted.size() < kThreads) {
    ASSERT_TRUE(descriptor->wait(kGuard).value_or(false));
    const auto read = descriptor->read(messages);
    ASSERT_TRUE(read) << why(read);
    EXPECT_LE(read->size(), messages.size());
    for (const Message& message : *read) faulted.push_back(std::get<Fault>(message).address);
  }
  std::ranges::sort(faulted);
  for (std::size_t i = 0; i < kThreads; ++i) EXPECT_EQ(faulted[i], memory->range().start + i * kPage);
  EXPECT_TRUE(descriptor->zeropage(memory->range()));
}

TEST_P(ApiMessages, RawReadingKeepsTheWireForm) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  std::jthread reader([&] { static_cast<void>(*reinterpret_cast<volatile char*>(memory->data())); });
  ASSERT_TRUE(descriptor->wait(kGuard).value_or(false));
  std::array<userfault_msg, 2> raw;
  const auto read = descriptor->read_raw(raw);
  ASSERT_TRUE(read) << why(read);
  ASSERT_EQ(read->size(), 1u);
  EXPECT_EQ(raw[0].event, USERFAULT_EVENT_PAGEFAULT);
  EXPECT_EQ(raw[0].arg.pagefault.address, memory->range().start);
  EXPECT_TRUE(descriptor->zeropage(memory->range()));
}

// REAL-11: what was resolved before it was read is not there to be read.
TEST_P(ApiMessages, ResolvedFaultDisappears) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  std::jthread reader([&] { static_cast<void>(*reinterpret_cast<volatile char*>(memory->data())); });
  ASSERT_TRUE(descriptor->wait(kGuard).value_or(false));
  ASSERT_TRUE(descriptor->zeropage(memory->range()));
  reader.join();
  Message message;
  const auto read = descriptor->read({&message, 1});
  ASSERT_TRUE(read) << why(read);
  EXPECT_TRUE(read->empty());
}

// No event that an engine may send; to guess would be to fill a wrong page.
TEST(ApiDecode, UnknownEventAborts) {
  const ChildEnd end = run_in_child([](Report) {
    ::close(2);
    userfault_msg raw{};
    raw.event = 0x17;
    static_cast<void>(api::decode(raw));
  });
  EXPECT_TRUE(end.killed_by(SIGABRT)) << end.status;
}

}  // namespace
}  // namespace userfault::test
