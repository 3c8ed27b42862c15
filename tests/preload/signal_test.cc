// SPDX-License-Identifier: Apache-2.0
// SIGSEGV and SIGBUS stay the program's.
#include <gtest/gtest.h>
#include <pthread.h>
#include <setjmp.h>

#include <csignal>
#include <cstring>

#include "served.h"

namespace preload_test {
namespace {

sigjmp_buf landing;
volatile std::sig_atomic_t seen_code;
void* volatile seen_address;
char* opened_page;

void jump(int, siginfo_t* info, void*) {
  seen_code = info->si_code;
  seen_address = info->si_addr;
  siglongjmp(landing, 1);
}

void open_page(int, siginfo_t* info, void*) {
  seen_address = info->si_addr;
  ::mprotect(opened_page, kPage, PROT_READ | PROT_WRITE);
}

// The action as it was, put back at the end.
class Action {
 public:
  Action(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0) : signal_(signal) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigaddset(&action.sa_mask, SIGUSR1);
    EXPECT_EQ(::sigaction(signal, &action, &old_), 0);
  }
  ~Action() { ::sigaction(signal_, &old_, nullptr); }
  [[nodiscard]] const struct sigaction& old() const { return old_; }

 private:
  int signal_;
  struct sigaction old_ {};
};

TEST(Signals, WhatWasSetIsReadBack) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  const Action action(SIGSEGV, jump, SA_ONSTACK | SA_NODEFER);
  EXPECT_EQ(action.old().sa_handler, SIG_DFL) << "nobody sees a handler that is not the program's";
  struct sigaction now {};
  ASSERT_EQ(::sigaction(SIGSEGV, nullptr, &now), 0);
  EXPECT_EQ(now.sa_sigaction, jump);
  EXPECT_EQ(now.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART), SA_SIGINFO | SA_ONSTACK | SA_NODEFER);
  EXPECT_EQ(sigismember(&now.sa_mask, SIGUSR1), 1);
  EXPECT_NE(::signal(SIGSEGV, SIG_IGN), SIG_DFL);
  EXPECT_EQ(::signal(SIGSEGV, SIG_DFL), SIG_IGN);
}

TEST(Signals, TheProgramsHandlerGetsItsOwnFaults) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  const Action action(SIGSEGV, jump);
  auto* hole = static_cast<char*>(::mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (sigsetjmp(landing, 1) == 0) {
    *static_cast<volatile char*>(hole + 7) = 1;
    FAIL() << "the access went through";
  }
  EXPECT_EQ(seen_address, hole + 7);
  EXPECT_EQ(seen_code, SEGV_ACCERR);
  EXPECT_EQ(*served.at(0), content(0)) << "and ours are served all the same";
  ::munmap(hole, kPage);
}

TEST(Signals, ProtectionTricksOfTheProgramWork) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  const Action action(SIGSEGV, open_page);
  opened_page = served.at(1);
  *served.at(1) = 'z';
  ASSERT_EQ(::mprotect(opened_page, kPage, PROT_READ), 0);
  *static_cast<volatile char*>(served.at(1, 5)) = 'y';
  EXPECT_EQ(seen_address, served.at(1, 5));
  EXPECT_EQ(*served.at(1), 'z');
  EXPECT_EQ(*served.at(1, 5), 'y');
}

TEST(Signals, AFaultIsServedWhereAllSignalsAreBlocked) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &all, &before), 0);
  const Served served(2);
  const bool ready = served.ready();
  const char first = ready ? *served.at(0) : '\0';
  sigset_t now;
  EXPECT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &now), 0);
  EXPECT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  ASSERT_TRUE(ready);
  EXPECT_EQ(first, content(0));
  EXPECT_EQ(sigismember(&now, SIGSEGV), 1) << "the program sees the mask that it set";
  EXPECT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &now), 0);
  EXPECT_EQ(sigismember(&now, SIGSEGV), 0);
}

using SignalsDeathTest = testing::Test;

TEST(SignalsDeathTest, ACrashIsACrash) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  EXPECT_EXIT(
      {
        const Served own(1);
        *static_cast<volatile char*>(nullptr) = 1;
      },
      testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace preload_test
