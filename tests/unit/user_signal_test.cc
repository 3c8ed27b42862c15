// SPDX-License-Identifier: Apache-2.0
// A signal for a thread that waits on a page, at every moment around the end of the wait's first sleep (10 ms):
// its handler runs and the fault is sent again (REAL-11), however the two meet.
#include <csignal>

#include <sys/syscall.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "support/sanitizers.h"
#include "user_support.h"

namespace userfault::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

std::atomic<int> handled{0};

void install_handler() {
  struct sigaction action = {};
  action.sa_handler = [](int) { handled.fetch_add(1); };
  ASSERT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
}

void send(const std::atomic<long>& tid, int signal) { ::syscall(SYS_tgkill, ::getpid(), tid.load(), signal); }

std::thread toucher_of(const Served& served, std::atomic<long>& tid) {
  return std::thread([&] {
    tid = ::syscall(SYS_gettid);
    EXPECT_EQ(served.content(0), Content::kPattern);
  });
}

// One wait and one signal, `after` the fault was read.
void interrupt(microseconds after) {
  const Served served(1);
  const int before = handled;
  std::atomic<long> tid{0};
  std::thread toucher = toucher_of(served, tid);
  userfault_msg message;
  EXPECT_TRUE(read_message(served.fd, &message));
  const auto due = Clock::now() + after;
  while (Clock::now() < due) {
  }
  send(tid, SIGUSR1);
  EXPECT_TRUE(read_message(served.fd, &message)) << "not sent again, " << after.count() << " us after it was read";
  EXPECT_EQ(handled, before + 1);
  EXPECT_EQ(served.copy(0), 0);
  toucher.join();
}

TEST(UserSignal, TheFaultIsSentAgainWheneverTheSignalComes) {
  if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  install_handler();
  for (microseconds after{9000}; after <= microseconds{10600}; after += microseconds{8}) {
    interrupt(after);
    if (testing::Test::HasFailure()) return;
  }
}

// What the kernel drops, because nothing would run, does not end a wait.
TEST(UserSignal, OneThatIsIgnoredDoesNotSendTheFaultAgain) {
  if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  ::signal(SIGUSR2, SIG_IGN);
  const Served served(1);
  std::atomic<long> tid{0};
  std::thread toucher = toucher_of(served, tid);
  userfault_msg message;
  ASSERT_TRUE(read_message(served.fd, &message));
  for (const int signal : {SIGUSR2, SIGURG, SIGCHLD, SIGWINCH}) send(tid, signal);
  // Twice as long as the thread sleeps before it looks for signals.
  EXPECT_FALSE(wait_readable(served.fd, 80));
  install_handler();
  send(tid, SIGUSR1);
  EXPECT_TRUE(read_message(served.fd, &message)) << "one that is not ignored does";
  EXPECT_EQ(served.copy(0), 0);
  toucher.join();
}

}  // namespace
}  // namespace userfault::test
