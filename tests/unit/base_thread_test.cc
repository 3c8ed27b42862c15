// SPDX-License-Identifier: Apache-2.0
// base::Thread, base::Mutex, base::MutexLock and base::Condition.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "base/thread.h"

namespace userfault::base {
namespace {

using std::chrono::steady_clock;

TEST(BaseThread, RunsItsBodyUnderItsName) {
  std::string name(16, '\0');
  Thread thread;
  ASSERT_EQ(thread.start("uf-test", [&] { ::pthread_getname_np(::pthread_self(), name.data(), name.size()); }), 0);
  thread.join();
  EXPECT_STREQ(name.c_str(), "uf-test");
}

// A program's handlers must never run in a thread that it does not know of; what a fault raises has
// to get through, because blocked it ends the process.
TEST(BaseThread, BlocksTheProgramsSignalsButNotTheFaults) {
  sigset_t inside;
  ::sigemptyset(&inside);
  Thread thread;
  ASSERT_EQ(thread.start("uf-test", [&] { ::pthread_sigmask(SIG_BLOCK, nullptr, &inside); }), 0);
  thread.join();
  for (const int number : {SIGTERM, SIGINT, SIGALRM, SIGCHLD, SIGUSR1}) EXPECT_EQ(::sigismember(&inside, number), 1);
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) EXPECT_EQ(::sigismember(&inside, number), 0);

  sigset_t here;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &here);
  EXPECT_EQ(::sigismember(&here, SIGTERM), 0) << "the starting thread kept the other's mask";
}

TEST(BaseThread, IsJoinedOnDestructionAndOnAssignment) {
  std::atomic<int> ended = 0;
  {
    Thread first;
    ASSERT_EQ(first.start("uf-first", [&] { ++ended; }), 0);
    Thread second;
    ASSERT_EQ(second.start("uf-second", [&] { ++ended; }), 0);
    first = std::move(second);
    EXPECT_GE(ended, 1);
  }
  EXPECT_EQ(ended, 2);
}

TEST(BaseThread, CanStartAgain) {
  std::atomic<int> runs = 0;
  Thread thread;
  ASSERT_EQ(thread.start("uf-again", [&] { ++runs; }), 0);
  ASSERT_EQ(thread.start("uf-again", [&] { ++runs; }), 0);
  thread.join();
  thread.join();
  EXPECT_EQ(runs, 2);
}

TEST(BaseMutex, KeepsOthersOut) {
  Mutex mutex;
  int plain = 0;  // torn without the lock, and a report of TSan
  const auto add = [&] {
    for (int i = 0; i < 10'000; ++i) {
      const MutexLock lock(mutex);
      ++plain;
    }
  };
  Thread first;
  Thread second;
  ASSERT_EQ(first.start("uf-first", add), 0);
  ASSERT_EQ(second.start("uf-second", add), 0);
  first.join();
  second.join();
  EXPECT_EQ(plain, 20'000);
}

TEST(BaseMutex, TryLockFailsWhileAnotherThreadHoldsIt) {
  Mutex mutex;
  bool taken = true;
  const MutexLock lock(mutex);
  Thread thread;
  ASSERT_EQ(thread.start("uf-try",
                         [&] {
                           if (mutex.try_lock()) mutex.unlock();
                           else taken = false;
                         }),
            0);
  thread.join();
  EXPECT_FALSE(taken);
}

TEST(BaseCondition, WakesWhoWaits) {
  Mutex mutex;
  Condition changed;
  bool ready = false;
  Thread thread;
  ASSERT_EQ(thread.start("uf-notify",
                         [&] {
                           const MutexLock lock(mutex);
                           ready = true;
                           changed.notify_one();
                         }),
            0);
  const MutexLock lock(mutex);
  while (!ready) changed.wait(mutex);
  EXPECT_TRUE(ready);
}

TEST(BaseCondition, WaitUntilSaysThatTheTimeRanOut) {
  Mutex mutex;
  Condition changed;
  const MutexLock lock(mutex);
  const auto deadline = steady_clock::now() + std::chrono::milliseconds(5);
  while (changed.wait_until(mutex, deadline)) {
  }
  EXPECT_GE(steady_clock::now(), deadline);
}

}  // namespace
}  // namespace userfault::base
