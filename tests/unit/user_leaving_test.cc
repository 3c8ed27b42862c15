// SPDX-License-Identifier: Apache-2.0
// Handlers of the program's that come while a fault waits: what they leave behind, the stack they run
// on, and the processes they make.
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "bounded.h"
#include "support/sanitizers.h"
#include "user_support.h"

namespace userfault::test {
namespace {

class UserLeaving : public testing::Test {
 protected:
  void SetUp() override {
    if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  }
};

void handle(int signal, void (*handler)(int), int flags = 0) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

// ---- a wait whose page is filled on top of it and which is never returned to ----

// A wait holds signals back but for those that a thread raises by what it does. One of these that somebody sends
// runs on top of it.
constexpr int kLetThrough = SIGSEGV;

constexpr std::size_t kThreads = 128;
constexpr std::size_t kEach = 516;
constexpr std::size_t kLeft = kThreads * kEach;  // more than there are places for threads that wait
const Served* region = nullptr;
std::atomic<std::size_t> left{0};
thread_local sigjmp_buf way_out;
thread_local volatile std::size_t touched = 0;  // the page

void fill_and_leave(int) {
  userfault_ioctl_zeropage(region->fd, region->page(touched), kPage, 0, nullptr);
  left.fetch_add(1);
  siglongjmp(way_out, 1);
}

[[gnu::noinline]] void touch_and_be_left(std::size_t page) {
  touched = page;
  if (sigsetjmp(way_out, 1) == 0) static_cast<void>(*static_cast<volatile char*>(region->page(touched)));
}

void touch_pages_and_be_left(std::size_t first) {
  for (std::size_t i = 0; i < kEach; ++i) touch_and_be_left(first + i);
}

// Not before the wait is old enough for its thread to have let go of what it needed to begin it.
void signal_who_waits(int fd) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kOldEnough{12};
  std::deque<std::pair<Clock::time_point, std::uint32_t>> waiting;
  while (left.load() < kLeft) {
    userfault_msg message{};
    while (userfault_read(fd, &message, sizeof message) == sizeof message)
      waiting.emplace_back(Clock::now() + kOldEnough, std::uint32_t{message.arg.pagefault.feat.ptid});
    for (; !waiting.empty() && waiting.front().first <= Clock::now(); waiting.pop_front())
      ::syscall(SYS_tgkill, ::getpid(), waiting.front().second, kLetThrough);
    wait_readable(fd, 1);
  }
}

void leave_more_waits_than_there_are_places(const Complaint& complaint) {
  // Before the engine's own, which hands on to it.
  handle(kLetThrough, fill_and_leave);
  const Served served(kLeft + 1, USERFAULT_FEATURE_THREAD_ID);
  region = &served;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) threads.emplace_back(touch_pages_and_be_left, i * kEach);
  signal_who_waits(served.fd);
  for (std::thread& thread : threads) thread.join();
  std::thread another([&] { complaint.unless(served.content(kLeft) == Content::kPattern, "wrong content"); });
  complaint.unless(wait_readable(served.fd, 5000), "the next fault is not reported");
  complaint.unless(served.copy(kLeft) == 0, "COPY");
  another.join();
}

TEST_F(UserLeaving, WaitsThatAreOverAndNeverReturnedToCostNothing) {
  EXPECT_EQ(ending_of(leave_more_waits_than_there_are_places), "");
}

// ---- the stack ----

// An alternate stack of 16 KiB with an inaccessible page below, so that running over is seen.
class SmallStack {
 public:
  SmallStack() {
    void* at = ::mmap(nullptr, kPage + kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory_ = static_cast<char*>(at);
    ::mprotect(memory_, kPage, PROT_NONE);
    const stack_t stack{.ss_sp = memory_ + kPage, .ss_flags = 0, .ss_size = kSize};
    ::sigaltstack(&stack, &before_);
  }
  ~SmallStack() {
    ::sigaltstack(&before_, nullptr);
    ::munmap(memory_, kPage + kSize);
  }
  SmallStack(const SmallStack&) = delete;
  SmallStack& operator=(const SmallStack&) = delete;

 private:
  static constexpr std::size_t kSize = 16384;
  char* memory_ = nullptr;
  stack_t before_{};
};

std::atomic<int> ran{0};

template <std::size_t bytes>
void use_stack(int) {
  volatile char local[bytes];
  for (std::size_t i = 0; i < bytes; i += 64) local[i] = static_cast<char>(i);
  ran = ran + 1 + (local[0] & 0);
}

// The handler comes while the fault waits.
void interrupt_a_wait_on_a_small_stack(const Complaint& complaint, void (*handler)(int)) {
  const Served served(1);
  handle(SIGUSR1, handler);
  std::atomic<pid_t> tid{0};
  std::thread toucher([&] {
    const SmallStack stack;
    tid = thread_number();
    complaint.unless(served.content(0) == Content::kPattern, "wrong content");
  });
  for (int i = 0; i < 3; ++i) {
    complaint.unless(comes_to_sleep(tid), "the fault does not wait");
    ::pthread_kill(toucher.native_handle(), SIGUSR1);
    complaint.unless(comes_true([&] { return ran.load() == i + 1; }), "the handler does not run");
  }
  complaint.unless(wait_readable(served.fd), "the fault is not reported again");
  complaint.unless(served.copy(0) == 0, "COPY");
  toucher.join();
}

TEST_F(UserLeaving, HandlerWithoutOnStackOnASmallAlternateStack) {
  if (kAddressSanitizer) GTEST_SKIP() << "AddressSanitizer makes the handler's frame larger than the stack";
  EXPECT_EQ(ending_of([](const Complaint& complaint) { interrupt_a_wait_on_a_small_stack(complaint, use_stack<512>); }),
            "");
}

// It has the thread's stack, and nothing of the alternate one is lost to the fault.
TEST_F(UserLeaving, HandlerWithoutOnStackThatUsesHalfOfASmallAlternateStack) {
  if (kAddressSanitizer) GTEST_SKIP() << "AddressSanitizer makes the handler's frame larger than the stack";
  EXPECT_EQ(
      ending_of([](const Complaint& complaint) { interrupt_a_wait_on_a_small_stack(complaint, use_stack<8192>); }), "");
}

// ---- processes ----

constexpr unsigned kChildGuard = 10;
std::atomic<int> child_status{-1};
const Served* inherited = nullptr;

// In the child nothing is registered: what was there is there, what was missing reads as zeroes, and
// memory of its own is as ever. 0 when all that is so.
int look_around_in_the_child() {
  ::alarm(kChildGuard);
  volatile char own[kPage] = {};
  own[5] = 5;
  if (own[5] != 5) return 1;
  if (inherited->content(0) != Content::kPattern) return 2;
  if (inherited->content(1) != Content::kZero) return 3;
  *inherited->page(2) = 1;
  return *inherited->page(2) == 1 ? 0 : 4;
}

void fork_and_wait() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(look_around_in_the_child());
  child_status = status_of(child);
}

// Page 0 is there; two threads wait for the pages 1 and 3, which are filled when `make_child` is through.
template <typename MakeChild>
void fork_while_faults_wait(const Complaint& complaint, MakeChild make_child) {
  const Served served(4);
  inherited = &served;
  complaint.unless(served.copy(0) == 0, "COPY");
  std::atomic<pid_t> tids[2] = {};
  std::thread touchers[2];
  for (std::size_t i = 0; i < 2; ++i)
    touchers[i] = std::thread([&, i] {
      tids[i] = thread_number();
      complaint.unless(served.content(1 + 2 * i) == Content::kPattern, "wrong content in the parent");
    });
  for (const auto& tid : tids) complaint.unless(comes_to_sleep(tid), "the fault does not wait");
  make_child(touchers[0].native_handle());
  complaint.unless(comes_true([] { return child_status.load() != -1; }, 2 * kPatience), "the child does not end");
  complaint.unless(child_status == 0, "the child's status is not 0");
  complaint.unless(wait_readable(served.fd), "the parent's faults are not reported");
  for (std::size_t i = 0; i < 2; ++i) {
    complaint.unless(served.copy(1 + 2 * i) == 0, "COPY");
    touchers[i].join();
  }
}

TEST_F(UserLeaving, ForkFromAnotherThreadWhileFaultsWait) {
  EXPECT_EQ(ending_of([](const Complaint& complaint) {
              fork_while_faults_wait(complaint, [](pthread_t) { std::thread(fork_and_wait).join(); });
            }),
            "");
}

TEST_F(UserLeaving, ForkFromAHandlerOnTopOfAFaultThatWaits) {
  handle(SIGUSR1, [](int) { fork_and_wait(); });
  EXPECT_EQ(ending_of([](const Complaint& complaint) {
              fork_while_faults_wait(complaint, [](pthread_t toucher) { ::pthread_kill(toucher, SIGUSR1); });
            }),
            "");
}

// The child returns from the handler to the wait, whose page is nobody's there: the access goes on.
TEST_F(UserLeaving, ChildReturnsFromTheHandlerToTheFault) {
  EXPECT_EQ(ending_of([](const Complaint& complaint) {
              const Served served(1);
              handle(SIGUSR1, [](int) {
                const pid_t child = ::fork();
                if (child == 0) ::alarm(kChildGuard);
                else child_status = status_of(child);
              });
              const pid_t parent = ::getpid();
              std::atomic<pid_t> tid{0};
              std::thread toucher([&] {
                tid = thread_number();
                const Content content = served.content(0);
                if (::getpid() != parent) ::_exit(content == Content::kZero ? 0 : 3);
                complaint.unless(content == Content::kPattern, "wrong content in the parent");
              });
              complaint.unless(comes_to_sleep(tid), "the fault does not wait");
              ::pthread_kill(toucher.native_handle(), SIGUSR1);
              complaint.unless(comes_true([] { return child_status.load() != -1; }, 2 * kPatience),
                               "the child does not end");
              complaint.unless(child_status == 0, "the child's status is not 0");
              complaint.unless(served.copy(0) == 0, "COPY");
              toucher.join();
            }),
            "");
}

}  // namespace
}  // namespace userfault::test
