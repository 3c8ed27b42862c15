// SPDX-License-Identifier: Apache-2.0
// Signals for a thread that waits on a page.
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "support/test.h"

namespace userfault::conformance {
namespace {

std::atomic<int> g_signals{0};

void install_handler(int flags) {
  struct sigaction action {};
  action.sa_handler = [](int) { g_signals.fetch_add(1); };
  action.sa_flags = flags;
  ASSERT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
}

void signal_thread(pid_t tid) { ASSERT_EQ(::syscall(SYS_tgkill, ::getpid(), tid, SIGUSR1), 0); }

// The handler runs at once, not when the page comes; then the access is made again, and so is the
// message. SA_RESTART is about system calls and changes nothing.
CONFORMANCE_TEST(MessageSignal, HandlerRunsAndTheFaultIsSentAgain, "REAL-11", Backings::kAll) {
  skip_under_thread_sanitizer("a signal waits until the thread calls libc");
  for (const int flags : {0, SA_RESTART}) {
    Mapping map(ctx, 1);
    Uffd uffd(ctx);
    uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
    install_handler(flags);
    g_signals = 0;
    Faulter faulter = expect_write_faults(uffd, map.page(0), USERFAULT_PAGEFAULT_FLAG_WRITE, 5);
    for (int round = 1; round <= 2; ++round) {
      faulter.expect_waiting();
      signal_thread(faulter.tid());
      uffd.expect_fault(map.page(0), USERFAULT_PAGEFAULT_FLAG_WRITE);
      EXPECT_EQ(g_signals.load(), round);
    }
    uffd.expect_no_message();
    uffd.fill_with_zeros(map.all());
    EXPECT_EQ(faulter.join().value, 5u);
    uffd.close();
  }
}

// A message that nobody has read is not doubled: the thread has left the queue and enters it again.
CONFORMANCE_TEST(MessageSignal, UnreadMessageIsNotDoubled, "REAL-11", Backings::kPrivate) {
  skip_under_thread_sanitizer("a signal waits until the thread calls libc");
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  install_handler(0);
  Faulter faulter = Faulter::read(map.page(0));
  faulter.expect_waiting();
  signal_thread(faulter.tid());
  while (g_signals.load() == 0) ::sched_yield();
  faulter.expect_waiting();
  uffd.expect_fault(map.page(0), 0);
  uffd.expect_no_message();
  uffd.fill_with_zeros(map.all());
  faulter.join();
}

// Who waits for the reader of an event is not to be interrupted: the handler runs afterwards.
CONFORMANCE_TEST(MessageSignal, HandlerWaitsForTheReaderOfAnEvent, "REAL-50", Backings::kPrivate) {
  skip_under_thread_sanitizer("a signal waits until the thread calls libc");
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_EVENT_UNMAP});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  install_handler(0);
  Task unmapping([&] {
    EXPECT_EQ(userfault_munmap(map.page(0), map.size()), 0);
    EXPECT_EQ(g_signals.load(), 1);
  });
  unmapping.expect_waiting_for_reader();
  signal_thread(unmapping.tid());
  unmapping.expect_waiting_for_reader();
  EXPECT_EQ(g_signals.load(), 0);
  EXPECT_EQ(uffd.next_message().event, USERFAULT_EVENT_UNMAP);
  unmapping.join();
}

}  // namespace
}  // namespace userfault::conformance
