// SPDX-License-Identifier: Apache-2.0
// Masks that hold SIGSEGV, by all the ways to set one: a page is served there all the same, and what is sent
// there waits.
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <cerrno>
#include <csignal>

#include "served.h"

namespace preload_test {
namespace {

sigset_t only(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

class Blocked {
 public:
  explicit Blocked(int signal) {
    const sigset_t set = only(signal);
    EXPECT_EQ(::pthread_sigmask(SIG_BLOCK, &set, &before_), 0);
  }
  ~Blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  sigset_t before_;
};

volatile std::sig_atomic_t handled;
volatile std::sig_atomic_t handled_code;
void count(int, siginfo_t* info, void*) {
  handled = handled + 1;
  handled_code = info->si_code;
}

TEST(SignalMask, WhatIsSentWhileBlockedIsPending) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  struct sigaction action {};
  struct sigaction before {};
  action.sa_sigaction = count;
  action.sa_flags = SA_SIGINFO;
  ASSERT_EQ(::sigaction(SIGSEGV, &action, &before), 0);
  handled = 0;
  sigset_t pending;
  {
    const Blocked blocked(SIGSEGV);
    ::raise(SIGSEGV);
    EXPECT_EQ(handled, 0);
    ASSERT_EQ(::sigpending(&pending), 0);
    EXPECT_EQ(sigismember(&pending, SIGSEGV), 1);
    EXPECT_EQ(*served.at(0), content(0));
  }
  EXPECT_EQ(handled, 1);
  EXPECT_EQ(handled_code, SI_TKILL);
  ASSERT_EQ(::sigpending(&pending), 0);
  EXPECT_EQ(sigismember(&pending, SIGSEGV), 0);
  EXPECT_EQ(::sigaction(SIGSEGV, &before, nullptr), 0);
}

TEST(SignalMask, WhatIsSentWhileBlockedCanBeTaken) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  const Blocked blocked(SIGSEGV);
  const sigset_t set = only(SIGSEGV);
  ::raise(SIGSEGV);
  siginfo_t info{};
  EXPECT_EQ(::sigwaitinfo(&set, &info), SIGSEGV);
  EXPECT_EQ(info.si_signo, SIGSEGV);
  EXPECT_EQ(info.si_pid, ::getpid());
  ::raise(SIGSEGV);
  int signal = 0;
  EXPECT_EQ(::sigwait(&set, &signal), 0);
  EXPECT_EQ(signal, SIGSEGV);
  const timespec now{};
  EXPECT_EQ(::sigtimedwait(&set, nullptr, &now), -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST(SignalMaskDeathTest, ItKillsWhenItIsUnblocked) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  const pid_t child = ::fork();
  if (child == 0) {
    {
      const Blocked blocked(SIGSEGV);
      ::raise(SIGSEGV);
      ::signal(SIGTERM, SIG_IGN);  // anything may run here
    }
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
}

char* volatile wanted;
volatile char seen;
void touch(int) { seen = *static_cast<const volatile char*>(wanted); }

// Each waits under a mask that blocks all but SIGUSR1, whose handler touches a page.
TEST(SignalMask, HandlersUnderTheMaskOfAWaitAreServed) {
  const Served served(8);
  ASSERT_TRUE(served.ready());
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = touch;
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  sigset_t mask;
  sigfillset(&mask);
  sigdelset(&mask, SIGUSR1);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  const struct {
    const sigset_t* mask;
    std::size_t bytes;
  } last{&mask, 8};
  const Blocked blocked(SIGUSR1);
  for (std::size_t page = 0; page < 8; ++page) {
    wanted = served.at(page);
    ::raise(SIGUSR1);
    switch (page) {
      case 0: ::sigsuspend(&mask); break;
      case 1: ::syscall(SYS_rt_sigsuspend, &mask, std::size_t{8}); break;
      case 2: ::ppoll(nullptr, 0, nullptr, &mask); break;
      case 3: ::syscall(SYS_ppoll, nullptr, 0, nullptr, &mask, std::size_t{8}); break;
      case 4: ::pselect(0, nullptr, nullptr, nullptr, nullptr, &mask); break;
      case 5: ::syscall(SYS_pselect6, 0, nullptr, nullptr, nullptr, nullptr, &last); break;
      case 6: ::epoll_pwait(epoll, &event, 1, -1, &mask); break;
      default: ::syscall(SYS_epoll_pwait, epoll, &event, 1, -1, &mask, std::size_t{8}); break;
    }
    EXPECT_EQ(seen, content(page)) << page;
  }
  ::close(epoll);
  EXPECT_EQ(::sigaction(SIGUSR1, &before, nullptr), 0);
}

void* touch_page(void* page) { return reinterpret_cast<void*>(std::intptr_t{*static_cast<volatile char*>(page)}); }

TEST(SignalMask, AThreadThatStartsWithAllBlockedIsServed) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  sigset_t all;
  sigset_t kept;
  sigfillset(&all);
  pthread_attr_t attributes;
  ASSERT_EQ(::pthread_attr_init(&attributes), 0);
  ASSERT_EQ(::pthread_attr_setsigmask_np(&attributes, &all), 0);
  ASSERT_EQ(::pthread_attr_getsigmask_np(&attributes, &kept), 0);
  EXPECT_EQ(sigismember(&kept, SIGSEGV), 1);
  pthread_t thread;
  ASSERT_EQ(::pthread_create(&thread, &attributes, touch_page, served.at(0)), 0);
  void* result = nullptr;
  ASSERT_EQ(::pthread_join(thread, &result), 0);
  EXPECT_EQ(reinterpret_cast<std::intptr_t>(result), content(0));
  ::pthread_attr_destroy(&attributes);
}

ucontext_t back;
void touch_and_return() { seen = *static_cast<const volatile char*>(wanted); }

TEST(SignalMask, AContextWithAllBlockedIsServed) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  static char stack[64 << 10];
  ucontext_t there;
  ASSERT_EQ(::getcontext(&there), 0);
  there.uc_stack.ss_sp = stack;
  there.uc_stack.ss_size = sizeof stack;
  there.uc_link = &back;
  sigfillset(&there.uc_sigmask);
  ::makecontext(&there, touch_and_return, 0);
  wanted = served.at(0);
  seen = 0;
  ASSERT_EQ(::swapcontext(&back, &there), 0);
  EXPECT_EQ(seen, content(0));
}

TEST(SignalMask, TheOldWaysToBlockAndHandle) {
  const Served served(3);
  ASSERT_TRUE(served.ready());
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  ASSERT_EQ(::sighold(SIGSEGV), 0);
  EXPECT_EQ(*served.at(0), content(0));
  ASSERT_EQ(::sigrelse(SIGSEGV), 0);
  const int before = ::sigblock(-1);
  EXPECT_EQ(*served.at(1), content(1));
  EXPECT_NE(::sigsetmask(before) & 1 << (SIGSEGV - 1), 0) << "the program sees the mask that it set";
  EXPECT_EQ(::sysv_signal(SIGSEGV, touch), SIG_DFL);
  EXPECT_EQ(*served.at(2), content(2));
  EXPECT_EQ(::signal(SIGSEGV, SIG_DFL), touch) << "no fault of the program's came";
#pragma GCC diagnostic pop
}

}  // namespace
}  // namespace preload_test
