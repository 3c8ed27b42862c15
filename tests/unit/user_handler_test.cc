// SPDX-License-Identifier: Apache-2.0
// The user engine's signal handler as part of somebody's program: handlers that run on top of a
// wait, leave by siglongjmp, touch missing memory themselves, threads that end while they wait,
// small stacks, and faults that are none of ours.
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "support/sanitizers.h"
#include "userfault/descriptor.h"
#include "userfault/userfault.h"

namespace {

using namespace userfault;
using test::kSignalsAreHeldBack;
using test::kThreadSanitizer;

constexpr std::size_t kPage = 4096;

// A registered region of the user engine, and what a monitor needs to serve it by hand.
class Served {
 public:
  explicit Served(std::size_t pages) : pages_(pages) {
    void* memory = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory_ = static_cast<char*>(memory);
    auto opened = Descriptor::open({.engine = EngineKind::kUser, .wanted = feature::kThreadId});
    EXPECT_TRUE(opened.has_value());
    descriptor_ = std::make_unique<Descriptor>(std::move(*opened));
    EXPECT_TRUE(descriptor_->register_range(PageRange::of(memory_, pages * kPage), mode::kMissing).has_value());
  }
  ~Served() {
    descriptor_.reset();
    userfault_munmap(memory_, pages_ * kPage);
  }
  [[nodiscard]] volatile char* page(std::size_t i) const { return memory_ + i * kPage; }
  [[nodiscard]] std::size_t index_of(std::uintptr_t address) const {
    return (address - reinterpret_cast<std::uintptr_t>(memory_)) / kPage;
  }
  [[nodiscard]] Descriptor& descriptor() const { return *descriptor_; }

  // The next fault; fails the test when none comes in time.
  [[nodiscard]] Fault next_fault() const {
    const auto ready = descriptor_->wait(std::chrono::seconds(20));
    EXPECT_TRUE(ready.has_value() && *ready);
    std::array<Message, 1> messages;
    const auto got = descriptor_->read(messages);
    EXPECT_TRUE(got.has_value() && got->size() == 1);
    return got && got->size() == 1 ? std::get<Fault>(messages[0]) : Fault{};
  }
  void fill(std::size_t i, char value) const {
    const std::vector<char> content(kPage, value);
    const auto done = descriptor_->copy(PageRange::of(memory_ + i * kPage, kPage), content.data());
    EXPECT_TRUE(done.has_value());
  }

 private:
  std::size_t pages_;
  char* memory_ = nullptr;
  std::unique_ptr<Descriptor> descriptor_;
};

void handle(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigemptyset(&action.sa_mask);
  ASSERT_EQ(sigaction(signal, &action, nullptr), 0);
}

const Served* served = nullptr;
std::atomic<int> handled{0};
sigjmp_buf way_out;

TEST(UserHandler, HandlerOfTheProgramTouchesMissingMemoryWhileItsThreadWaits) {
  if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  const Served region(2);
  served = &region;
  handled = 0;
  handle(SIGUSR1, [](int, siginfo_t*, void*) { handled = *served->page(1); });
  std::atomic<int> seen{0};
  std::thread thread([&] { seen = *region.page(0); });
  EXPECT_EQ(region.index_of(region.next_fault().address), 0u);
  pthread_kill(thread.native_handle(), SIGUSR1);
  EXPECT_EQ(region.index_of(region.next_fault().address), 1u);
  region.fill(1, 7);
  // The first fault is sent again once the handler returned (real-kernel row 11).
  EXPECT_EQ(region.index_of(region.next_fault().address), 0u);
  region.fill(0, 5);
  thread.join();
  EXPECT_EQ(handled, 7);
  EXPECT_EQ(seen, 5);
}

TEST(UserHandler, LeavingTheWaitBySiglongjmpManyTimesLosesNothing) {
  if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  constexpr int kRounds = 1000;  // of 10 ms, after which a wait looks for signals
  const Served region(1);
  handle(SIGUSR1, [](int, siginfo_t*, void*) { siglongjmp(way_out, 1); });
  std::atomic<int> rounds{0};
  std::atomic<int> seen{0};
  std::thread thread([&] {
    // Static, because siglongjmp need not keep a local.
    static int i;
    for (i = 0; i < kRounds; ++i) {
      if (sigsetjmp(way_out, 1) != 0) {
        rounds = i + 1;
        continue;
      }
      static_cast<void>(*region.page(0));
      break;
    }
    seen = *region.page(0);
  });
  for (int i = 0; i < kRounds; ++i) {
    EXPECT_EQ(region.index_of(region.next_fault().address), 0u);
    pthread_kill(thread.native_handle(), SIGUSR1);
  }
  EXPECT_EQ(region.index_of(region.next_fault().address), 0u);
  EXPECT_EQ(rounds, kRounds);
  region.fill(0, 9);
  thread.join();
  EXPECT_EQ(seen, 9);
}

void* wait_for_page(void* page) {
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
  static_cast<void>(*static_cast<volatile char*>(page));
  return nullptr;
}

TEST(UserHandler, ThreadsCancelledWhileTheyWaitLeaveTheDescriptorWhole) {
  if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  const Served region(1);
  for (int i = 0; i < 200; ++i) {
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, nullptr, wait_for_page, const_cast<char*>(region.page(0))), 0);
    static_cast<void>(region.next_fault());
    ASSERT_EQ(pthread_cancel(thread), 0);
    void* result = nullptr;
    ASSERT_EQ(pthread_join(thread, &result), 0);
    EXPECT_EQ(result, PTHREAD_CANCELED);
  }
  std::atomic<int> seen{0};
  std::thread thread([&] { seen = *region.page(0); });
  static_cast<void>(region.next_fault());
  region.fill(0, 3);
  thread.join();
  EXPECT_EQ(seen, 3);
}

TEST(UserHandler, ThreadThatExitsFromItsHandlerWhileItWaits) {
  if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  const Served region(1);
  handle(SIGUSR1, [](int, siginfo_t*, void*) { pthread_exit(nullptr); });
  for (int i = 0; i < 100; ++i) {
    std::thread thread([&] { static_cast<void>(*region.page(0)); });
    static_cast<void>(region.next_fault());
    pthread_kill(thread.native_handle(), SIGUSR1);
    thread.join();
  }
  // What they left is not waited for: filling the page wakes nobody and does no harm.
  region.fill(0, 1);
  EXPECT_EQ(*region.page(0), 1);
}

// Bytes of the alternate stack that a fault which has to wait uses, the kernel's frame included.
std::size_t stack_used_by_a_fault() {
  static std::vector<unsigned char> stack(64 * 1024);
  std::fill(stack.begin(), stack.end(), 0xa5);
  const Served region(1);
  std::thread thread([&] {
    const stack_t alternate{.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
    ASSERT_EQ(sigaltstack(&alternate, nullptr), 0);
    static_cast<void>(*region.page(0));
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    ASSERT_EQ(sigaltstack(&none, nullptr), 0);
  });
  static_cast<void>(region.next_fault());
  region.fill(0, 1);
  thread.join();
  std::size_t untouched = 0;
  while (untouched < stack.size() && stack[untouched] == 0xa5) ++untouched;
  return stack.size() - untouched;
}

TEST(UserHandler, StackOfAFaultIsTheKernelsFrameAndLittleMore) {
  const std::size_t used = stack_used_by_a_fault();
  const std::size_t frame = getauxval(AT_MINSIGSTKSZ);
  RecordProperty("bytes", static_cast<int>(used));
  EXPECT_GT(used, 256u) << "the handler did not run on the alternate stack";
  EXPECT_LT(used, (frame != 0 ? frame : 2048) + 2048) << "beyond what the kernel's own frame takes";
}

TEST(UserHandler, ProgramsOwnProtectionTricksKeepWorking) {
  const Served region(1);  // so that the engine's handler is there
  static char* guarded = static_cast<char*>(mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  // Taken after the engine's: the program's sigaction must be told to the engine by the preload
  // library; here the order is the other way round, as for a program that starts with one.
  const pid_t child = fork();
  if (child == 0) {
    handle(SIGSEGV, [](int, siginfo_t* info, void*) {
      if (info->si_addr != guarded || info->si_code != SEGV_ACCERR) _exit(3);
      mprotect(guarded, kPage, PROT_READ | PROT_WRITE);
    });
    auto opened = Descriptor::open({.engine = EngineKind::kUser});
    if (!opened) _exit(4);
    *static_cast<volatile char*>(guarded) = 1;
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(UserHandler, AccessThatTheProgramForbadeReachesItsHandler) {
  const pid_t child = fork();
  if (child == 0) {
    static std::atomic<volatile char*> forbidden{nullptr};
    handle(SIGSEGV, [](int, siginfo_t* info, void*) {
      _exit(info->si_addr == const_cast<char*>(forbidden.load()) && info->si_code == SEGV_ACCERR ? 0 : 3);
    });
    const Served region(2);
    userfault_mprotect(const_cast<char*>(region.page(1)), kPage, PROT_READ);
    forbidden = region.page(1);
    *forbidden.load() = 1;
    _exit(5);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(UserHandler, RealCrashStillCrashes) {
  const pid_t child = fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);  // A sanitizer's own handler would be the one that ours chains to.
    const Served region(1);
    auto* nowhere = static_cast<volatile char*>(mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    *nowhere = 1;
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(UserHandler, ErrnoSurvivesAFault) {
  const Served region(1);
  std::atomic<int> after{-1};
  std::thread thread([&] {
    errno = 4711;
    static_cast<void>(*region.page(0));
    after = errno;
  });
  static_cast<void>(region.next_fault());
  region.fill(0, 1);
  thread.join();
  EXPECT_EQ(after, 4711);
}

}  // namespace
