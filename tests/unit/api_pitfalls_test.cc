// SPDX-License-Identifier: Apache-2.0
// What others fell into, each as a test (docs/design.md, "Pitfalls"): how the typed API keeps its
// user out of it, or how to get out. REAL-09, REAL-10, REAL-11, REAL-12, REAL-22.
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <functional>
#include <set>
#include <thread>

#include "api_support.h"
#include "child.h"

namespace {
std::atomic<int> ioctls_made;
std::atomic<int> naps_taken;
}  // namespace

// Counts what the library, which is linked statically here, asks the kernel for.
extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  ++ioctls_made;
  return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}

// The library's naps.
extern "C" int count_nap(const timespec* duration, timespec* left) noexcept __asm__("nanosleep");
int count_nap(const timespec* duration, timespec* left) noexcept {
  ++naps_taken;
  return static_cast<int>(::syscall(SYS_nanosleep, duration, left));
}

namespace userfault::test {
namespace {

class ApiPitfalls : public ApiTest {};
USERFAULT_ON_BOTH_ENGINES(ApiPitfalls);

// A region with a layout event on its way: a thread sits in madvise(MADV_DONTNEED) of its first
// page until the event is read.
class PendingRemove {
 public:
  explicit PendingRemove(const Descriptor& descriptor)
      : descriptor_(descriptor), region_(Region::create(descriptor, 4 * kPage).value()) {
    EXPECT_TRUE(descriptor.zeropage(first_page()));
    region_.data()[0] = std::byte{1};
    changer_ = std::jthread([this] { EXPECT_TRUE(memory::advise(first_page(), MADV_DONTNEED)); });
    EXPECT_TRUE(descriptor.wait(kGuard).value_or(false));
  }
  ~PendingRemove() {
    if (changer_.joinable()) finish();
  }
  [[nodiscard]] const Region& region() const { return region_; }
  [[nodiscard]] PageRange first_page() const { return {region_.range().start, kPage}; }
  [[nodiscard]] PageRange second_page() const { return {region_.range().start + kPage, kPage}; }
  void read_event() {
    const auto removed = next<Removed>(descriptor_);
    EXPECT_TRUE(removed && removed->range == first_page());
  }
  void finish() {
    if (descriptor_.wait(std::chrono::milliseconds(0)).value_or(false)) read_event();
    changer_.join();
  }

 private:
  const Descriptor& descriptor_;
  Region region_;
  std::jthread changer_;
};

// REAL-09. The raw loop `while (errno == EAGAIN)` makes about 400,000 calls in the time that this
// takes; here the calls are counted, and the thread sleeps between them.
TEST_P(ApiPitfalls, EagainIsWaitedOutWithoutABusyLoop) {
  const auto descriptor = open(feature::kEventRemove);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kEventRemove);
  PendingRemove pending(*descriptor);
  const auto source = page_of('e');
  const auto once = descriptor->copy(pending.second_page(), source.data());
  ASSERT_TRUE(once) << why(once);
  EXPECT_EQ(once->outcome, Outcome::kRetry);
  EXPECT_EQ(once->bytes, 0u);

  constexpr int kAttempts = 8;
  const RetryPolicy policy{.attempts = kAttempts,
                           .first_pause = std::chrono::microseconds(100),
                           .longest_pause = std::chrono::microseconds(2000)};
  ioctls_made = naps_taken = 0;
  const auto copied = descriptor->copy_fully(pending.second_page(), source.data(), {}, policy);
  const int calls = ioctls_made;
  const int naps = naps_taken;
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code, EAGAIN);
  EXPECT_EQ(copied.error().address, pending.second_page().start);
  if (GetParam() == EngineKind::kKernel) {
    EXPECT_EQ(calls, kAttempts);
  }
  EXPECT_EQ(naps, kAttempts - 1) << "it has to sleep between its tries";
  EXPECT_EQ(descriptor->write_protect_fully(pending.second_page(), policy).error().code, EAGAIN);
}

// What it is for: the event is read by another thread, and the copy goes through.
TEST_P(ApiPitfalls, EagainEndsWhenTheEventIsRead) {
  const auto descriptor = open(feature::kEventRemove);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kEventRemove);
  PendingRemove pending(*descriptor);
  const auto source = page_of('g');
  Result<Transfer> copied = Unexpected(Error{});
  std::jthread copier([&] { copied = descriptor->copy_fully(pending.second_page(), source.data()); });
  pending.finish();
  copier.join();
  ASSERT_TRUE(copied) << why(copied);
  EXPECT_TRUE(copied->complete());
}

// REAL-12: a page that somebody else filled without waking. EEXIST alone would leave the reader
// asleep for ever.
TEST_P(ApiPitfalls, ExistsWakesWhoeverStillSleeps) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  std::atomic<bool> awake = false;
  std::jthread reader([&] {
    static_cast<void>(*reinterpret_cast<volatile char*>(memory->data()));
    awake = true;
  });
  ASSERT_TRUE(next<Fault>(*descriptor));
  const auto source = page_of('1');
  ASSERT_TRUE(descriptor->copy(memory->range(), source.data(), {.wake = false}));
  const auto exists = descriptor->copy(memory->range(), source.data());
  ASSERT_TRUE(exists) << why(exists);
  EXPECT_EQ(exists->outcome, Outcome::kExists);
  EXPECT_FALSE(awake) << "EEXIST does not wake";
  const auto fully = descriptor->copy_fully(memory->range(), source.data());
  ASSERT_TRUE(fully) << why(fully);
  EXPECT_EQ(fully->outcome, Outcome::kExists);
  reader.join();
}

// The output field is negative in each of these; as an unsigned count it would be 2^64 - something.
TEST_P(ApiPitfalls, NegativeResultIsNeverACount) {
  const auto descriptor = open(feature::kEventRemove);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kEventRemove);
  const auto source = page_of('n', 4 * kPage);
  {
    PendingRemove pending(*descriptor);
    EXPECT_EQ(descriptor->copy(pending.second_page(), source.data()).value().bytes, 0u);
    EXPECT_EQ(descriptor->zeropage(pending.second_page()).value().bytes, 0u);
  }
  const auto memory = Region::create(*descriptor, 4 * kPage);
  ASSERT_TRUE(memory) << why(memory);
  ASSERT_TRUE(descriptor->zeropage({memory->range().start + kPage, kPage}));
  EXPECT_EQ(descriptor->copy(memory->range(), source.data()).value().bytes, kPage);
  EXPECT_EQ(descriptor->copy(memory->range(), source.data()).value().bytes, 0u);
  EXPECT_FALSE(descriptor->copy({memory->range().end(), kPage}, source.data()));
}

// A monitor may drop memory that it serves itself: Region unregisters first, so that its own munmap
// raises no event that it would have to read. Without that this test hangs.
TEST_P(ApiPitfalls, MonitorMayFreeItsOwnRegion) {
  const auto descriptor = open(feature::kEventUnmap | feature::kEventRemove);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kEventUnmap | feature::kEventRemove);
  for (int i = 0; i < 10; ++i) {
    auto region = Region::create(*descriptor, 16 * kPage);
    ASSERT_TRUE(region) << why(region);
    ASSERT_TRUE(descriptor->zeropage(region->range()));
  }
  EXPECT_FALSE(descriptor->wait(std::chrono::milliseconds(0)).value_or(true)) << "an event was raised";
}

// And what it is kept out of: the same munmap on a registered range waits for a reader.
TEST_P(ApiPitfalls, UnmappingARegisteredRangeWaitsForTheReader) {
  const auto descriptor = open(feature::kEventUnmap);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kEventUnmap);
  auto region = Region::create(*descriptor, kPage);
  ASSERT_TRUE(region) << why(region);
  const PageRange range = region->release();
  std::atomic<bool> returned = false;
  std::jthread freeing([&] {
    EXPECT_TRUE(memory::unmap(range));
    returned = true;
  });
  ASSERT_TRUE(descriptor->wait(kGuard).value_or(false));
  EXPECT_FALSE(returned);
  const auto unmapped = next<Unmapped>(*descriptor);
  freeing.join();
  ASSERT_TRUE(unmapped);
  EXPECT_EQ(unmapped->range, range);
}

// One message a thread; one copy answers all of them.
TEST_P(ApiPitfalls, ManyThreadsOnOnePage) {
  constexpr std::size_t kThreads = 8;
  const auto descriptor = open(feature::kThreadId);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kThreadId);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  std::atomic<int> right = 0;
  std::vector<std::jthread> readers;
  for (std::size_t i = 0; i < kThreads; ++i)
    readers.emplace_back([&] { right += *reinterpret_cast<volatile char*>(memory->data()) == 'm'; });
  std::set<std::uint32_t> threads;
  for (std::size_t i = 0; i < kThreads; ++i) {
    const auto fault = next<Fault>(*descriptor);
    ASSERT_TRUE(fault);
    threads.insert(fault->thread_id);
  }
  EXPECT_EQ(threads.size(), kThreads);
  const auto source = page_of('m');
  ASSERT_TRUE(descriptor->copy(memory->range(), source.data()));
  readers.clear();
  EXPECT_EQ(right, static_cast<int>(kThreads));
  EXPECT_FALSE(descriptor->wait(std::chrono::milliseconds(0)).value_or(true));
}

// REAL-10: REMOVE comes before the pages go. A copy in between is refused with kRetry rather than
// lost, and after the event the page is missing again: what is copied then stays.
TEST_P(ApiPitfalls, RemoveRacingWithCopy) {
  const auto descriptor = open(feature::kEventRemove);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kEventRemove);
  for (int round = 0; round < 20; ++round) {
    PendingRemove pending(*descriptor);
    const auto source = page_of('n');
    const auto racing = descriptor->copy(pending.first_page(), source.data());
    ASSERT_TRUE(racing) << why(racing);
    EXPECT_EQ(racing->outcome, Outcome::kRetry);
    pending.finish();
    const auto copied = descriptor->copy_fully(pending.first_page(), source.data());
    ASSERT_TRUE(copied) << why(copied);
    EXPECT_TRUE(copied->complete()) << "the old page is still there";
    EXPECT_EQ(static_cast<char>(pending.region().data()[0]), 'n');
  }
}

// A monitor in another process reads a fault and dies. Its message died with it; whoever kept a
// copy of the descriptor wakes the range, the threads fault again, and nobody sees a zero page.
TEST_P(ApiPitfalls, MonitorDiesAndAnotherTakesOver) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = Region::create(*descriptor, kPage);
  ASSERT_TRUE(memory) << why(memory);
  const pid_t monitor = ::fork();
  if (monitor == 0) {
    ::alarm(20);
    ::_exit(next<Fault>(*descriptor) ? 0 : 1);
  }
  char read = 0;
  std::jthread reader([&] { read = *reinterpret_cast<volatile char*>(memory->data()); });
  int status = 0;
  ASSERT_EQ(::waitpid(monitor, &status, 0), monitor);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  ASSERT_TRUE(descriptor->wake(memory->range()));
  const auto fault = next<Fault>(*descriptor);
  ASSERT_TRUE(fault) << "the thread did not fault again";
  const auto source = page_of('t');
  ASSERT_TRUE(descriptor->copy(memory->range(), source.data()));
  reader.join();
  EXPECT_EQ(read, 't');
}

// REAL-22: with the last copy closed, threads go on and see zeroes. That is why close() warns.
TEST_P(ApiPitfalls, LastCloseShowsZeroes) {
  auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const Memory memory(kPage);
  ASSERT_TRUE(descriptor->register_range(memory.range(), mode::kMissing));
  char read = 'x';
  std::jthread reader([&] { read = *memory.data(); });
  ASSERT_TRUE(next<Fault>(*descriptor));
  descriptor->close();
  reader.join();
  EXPECT_EQ(read, 0);
}

// A handler that reads memory it serves would wait for itself. With UFFD_USER_MODE_ONLY an access
// from inside a system call, such as the source of a copy, gives EFAULT instead.
TEST_P(ApiPitfalls, CopyFromServedMemoryDoesNotHang) {
  const auto descriptor = Descriptor::open({.engine = GetParam(), .user_mode_only = OpenOptions::UserModeOnly::kYes});
  ASSERT_TRUE(descriptor) << why(descriptor);
  const auto memory = Region::create(*descriptor, 2 * kPage);
  ASSERT_TRUE(memory) << why(memory);
  const PageRange first{memory->range().start, kPage};
  const auto copied = descriptor->copy(first, memory->data() + kPage);
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code, EFAULT);
}

}  // namespace
}  // namespace userfault::test
