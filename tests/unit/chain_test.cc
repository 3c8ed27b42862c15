// SPDX-License-Identifier: Apache-2.0
// The program's handler behind ours sees what the kernel would have shown it.
//
// Most tests run the same thing twice, each in a child of its own: once natively and once with our
// handler in between, and compare what the program's handler saw.
#include "engine/user/signal/chain.h"

#include <execinfo.h>
#include <gtest/gtest.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "child.h"
#include "engine/user/signal/signal_frame.h"

namespace {

using namespace userfault::engine::user;
using userfault::test::ChildEnd;
using userfault::test::Report;
using userfault::test::run_in_child;

constexpr std::size_t kPage = 4096;

void ours(int signal, siginfo_t* info, void* context) { chain(signal, info, context); }

// A page that no access may touch; at the same address in every child.
char* closed_page() {
  static void* page = mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return static_cast<char*>(page);
}

void open_page() { raw_syscall(SYS_mprotect, reinterpret_cast<long>(closed_page()), kPage, PROT_READ | PROT_WRITE); }

// Kept out of line: its address range stands for "the code that faulted".
[[gnu::noinline]] char touch(const volatile char* page) { return *page; }

void use_program_action(bool chained, int signal, Handler handler, std::uint64_t flags, SignalMask mask = 0) {
  const KernelSigaction action{
      .handler = handler, .flags = flags | kSaRestorer, .restorer = userfault_rt_restorer, .mask = mask};
  raw_sigaction(signal, &action, nullptr);
  if (chained && install(signal, ours) != 0) _exit(124);
}

Handler special(std::uintptr_t value) { return reinterpret_cast<Handler>(value); }

alignas(64) char alternate[256 * 1024];
void use_alternate_stack() {
  const stack_t stack{.ss_sp = alternate, .ss_flags = 0, .ss_size = sizeof alternate};
  if (sigaltstack(&stack, nullptr) != 0) _exit(123);
}

SignalMask current_mask() {
  SignalMask mask = 0;
  raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, reinterpret_cast<long>(&mask), sizeof mask);
  return mask;
}

// What a handler can see of how it was entered.
struct Seen {
  int signal;
  int code;
  const void* address;
  std::uintptr_t frame;  // where its ucontext lies
  std::uintptr_t stack_pointer;
  std::uintptr_t instruction;
  bool on_alternate;
  SignalMask mask;
  SignalMask interrupted_mask;
};
Seen seen;
std::atomic<int> calls;

void record(int signal, siginfo_t* info, void* context) {
  const SignalFrame frame{.info = info, .context = static_cast<ucontext_t*>(context)};
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  seen = {.signal = signal,
          .code = info->si_code,
          .address = info->si_addr,
          .frame = base_of(frame),
          .stack_pointer = stack_pointer_of(frame),
          .instruction = instruction_of(frame),
          .on_alternate = here - reinterpret_cast<std::uintptr_t>(alternate) < sizeof alternate,
          .mask = current_mask(),
          .interrupted_mask = mask_of(frame)};
  ++calls;
  open_page();
}

// SIGSEGV's stand-in in a mask is the one thing that may differ.
SignalMask unmarked(SignalMask mask) {
  const SignalMask marker = bit_of(marker_of(SIGSEGV));
  return (mask & marker) != 0 ? (mask & ~marker) | bit_of(SIGSEGV) : mask;
}

struct Way {
  std::uint64_t flags;
  bool alternate_stack;
};

class Seeing : public testing::TestWithParam<Way> {};

Seen seen_in_child(const Way& way, bool chained) {
  const ChildEnd end = run_in_child([&](Report report) {
    if (way.alternate_stack) use_alternate_stack();
    raw_sigprocmask(SIG_SETMASK, bit_of(SIGUSR2));
    use_program_action(chained, SIGSEGV, record, way.flags, bit_of(SIGUSR1));
    touch(closed_page());
    if (current_mask() != bit_of(SIGUSR2)) _exit(3);
    report(seen);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
  return end.as<Seen>();
}

TEST_P(Seeing, IsTheSameAsNatively) {
  const Seen native = seen_in_child(GetParam(), false);
  const Seen chained = seen_in_child(GetParam(), true);
  EXPECT_EQ(chained.signal, SIGSEGV);
  // x86-64 fills in the siginfo only for a handler with SA_SIGINFO; ours always has it.
  if ((GetParam().flags & SA_SIGINFO) != 0) {
    EXPECT_EQ(chained.code, native.code);
    EXPECT_EQ(chained.address, native.address);
  }
  EXPECT_EQ(chained.address, closed_page());
  EXPECT_EQ(chained.instruction, native.instruction);
  EXPECT_EQ(chained.stack_pointer, native.stack_pointer);
  EXPECT_EQ(chained.frame, native.frame);
  EXPECT_EQ(chained.on_alternate, native.on_alternate);
  EXPECT_EQ(chained.on_alternate, GetParam().alternate_stack && (GetParam().flags & SA_ONSTACK) != 0);
  EXPECT_EQ(unmarked(chained.mask), native.mask);
  EXPECT_EQ(chained.interrupted_mask, native.interrupted_mask);
}

INSTANTIATE_TEST_SUITE_P(Chain, Seeing,
                         testing::Values(Way{SA_SIGINFO, false}, Way{SA_SIGINFO, true},
                                         Way{SA_SIGINFO | SA_ONSTACK, false}, Way{SA_SIGINFO | SA_ONSTACK, true},
                                         Way{SA_SIGINFO | SA_NODEFER, true}, Way{SA_SIGINFO | SA_RESETHAND, true},
                                         Way{SA_ONSTACK | SA_NODEFER, true}, Way{0, true}, Way{0, false}));

// Neither the red zone nor a register, floating-point ones included, changes under the handler
// when its frame has been moved.
TEST(Chain, InterruptedStateSurvivesTheMovedFrame) {
  const ChildEnd end = run_in_child([](Report) {
    use_alternate_stack();
    use_program_action(
        true, SIGSEGV,
        [](int, siginfo_t*, void*) {
          volatile double noise = 1;
          for (int i = 0; i < 50; ++i) noise = noise * 1.5 + i;
          open_page();
        },
        SA_SIGINFO);
    double a = 1.25;
    double b = 2.5;
    volatile char* page = closed_page();
    a = a * b + page[0];
    b = b * a + page[1];
    if (a != 3.125 || b != 7.8125) _exit(1);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

TEST(Chain, ResetHandWorksOnce) {
  const ChildEnd end = run_in_child([](Report report) {
    use_program_action(true, SIGSEGV, record, SA_SIGINFO | SA_RESETHAND);
    touch(closed_page());
    report(seen);
    mprotect(closed_page(), kPage, PROT_NONE);
    touch(closed_page());
  });
  EXPECT_TRUE(end.killed_by(SIGSEGV)) << end.status;
  EXPECT_EQ(end.as<Seen>().address, closed_page());
}

TEST(Chain, IgnoredFaultKills) {
  const ChildEnd end = run_in_child([](Report) {
    use_program_action(true, SIGSEGV, special(1), 0);
    touch(closed_page());
  });
  EXPECT_TRUE(end.killed_by(SIGSEGV)) << end.status;
}

TEST(Chain, IgnoredSentSignalIsIgnored) {
  const ChildEnd end = run_in_child([](Report) {
    use_program_action(true, SIGSEGV, special(1), 0);
    kill(getpid(), SIGSEGV);
    raise(SIGSEGV);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

TEST(Chain, FaultInABlockedHandlerKillsInsteadOfRecursing) {
  const ChildEnd end = run_in_child([](Report report) {
    static const Report* out = &report;
    use_program_action(
        true, SIGSEGV,
        [](int, siginfo_t*, void*) {
          (*out)('x');
          touch(closed_page());
        },
        SA_SIGINFO);
    touch(closed_page());
  });
  EXPECT_TRUE(end.killed_by(SIGSEGV)) << end.status;
  EXPECT_EQ(end.bytes, "x");
}

// A fault that ours resolves is no signal to the program: it may come while the program's handler
// runs, and on an alternate stack that holds nothing the handler still needs.
char* resolvable;
void resolving(int signal, siginfo_t* info, void* context) {
  if (info->si_addr == resolvable) {
    raw_syscall(SYS_mprotect, reinterpret_cast<long>(resolvable), kPage, PROT_READ | PROT_WRITE);
    return;
  }
  chain(signal, info, context);
}

TEST(Chain, OursMayFaultInsideTheProgramsHandler) {
  closed_page();  // Mapped before the fork, or parent and child may put it at different addresses.
  for (const std::uint64_t flags : {0, SA_ONSTACK}) {
    const ChildEnd end = run_in_child([&](Report report) {
      use_alternate_stack();
      resolvable = static_cast<char*>(mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      use_program_action(
          false, SIGSEGV,
          [](int signal, siginfo_t* info, void* context) {
            *const_cast<volatile char*>(resolvable) = 7;
            record(signal, info, context);
          },
          SA_SIGINFO | flags);
      if (install(SIGSEGV, resolving) != 0) _exit(1);
      touch(closed_page());
      if (calls != 1 || *resolvable != 7) _exit(2);
      report(seen);
    });
    EXPECT_TRUE(end.exited(0)) << end.status;
    EXPECT_EQ(end.as<Seen>().address, closed_page());
  }
}

sigjmp_buf back;

TEST(Chain, SiglongjmpOutOfTheHandler) {
  for (const bool alternate_stack : {false, true}) {
    for (const std::uint64_t flags : {0, SA_ONSTACK}) {
      const ChildEnd end = run_in_child([&](Report) {
        if (alternate_stack) use_alternate_stack();
        use_program_action(
            true, SIGSEGV,
            [](int, siginfo_t*, void*) {
              ++calls;
              siglongjmp(back, 1);
            },
            SA_SIGINFO | flags);
        while (calls < 1000)
          if (sigsetjmp(back, 1) == 0) touch(closed_page());
        if (calls != 1000) _exit(1);
        if (current_mask() != 0) _exit(2);
      });
      EXPECT_TRUE(end.exited(0)) << end.status;
    }
  }
}

[[gnu::noinline]] int overflow(int depth) {
  volatile char frame[512];
  frame[0] = static_cast<char>(depth);
  return depth > 100'000'000 ? frame[0] : overflow(depth + 1) + frame[0];
}

// Natively the kernel finds no room for the frame and kills; a handler on the alternate stack runs.
TEST(Chain, StackOverflow) {
  for (const std::uint64_t flags : {SA_SIGINFO, SA_SIGINFO | SA_NODEFER}) {
    const ChildEnd end = run_in_child([&](Report) {
      const rlimit small{256 * 1024, 256 * 1024};
      setrlimit(RLIMIT_STACK, &small);
      use_alternate_stack();
      use_program_action(
          true, SIGSEGV, [](int, siginfo_t*, void*) { _exit(0); }, flags);
      overflow(0);
    });
    EXPECT_TRUE(end.killed_by(SIGSEGV)) << end.status;
  }
  const ChildEnd end = run_in_child([](Report) {
    const rlimit small{256 * 1024, 256 * 1024};
    setrlimit(RLIMIT_STACK, &small);
    use_alternate_stack();
    use_program_action(
        true, SIGSEGV, [](int, siginfo_t*, void*) { _exit(0); }, SA_SIGINFO | SA_ONSTACK);
    overflow(0);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

// The handler's changes to the ucontext are what the thread goes on with.
TEST(Chain, ChangedContextIsUsed) {
  const ChildEnd end = run_in_child([](Report) {
    use_alternate_stack();
    use_program_action(
        true, SIGSEGV,
        [](int, siginfo_t*, void* context) {
          open_page();
          mask_of({.info = nullptr, .context = static_cast<ucontext_t*>(context)}) |= bit_of(SIGWINCH);
        },
        SA_SIGINFO);
    touch(closed_page());
    if (current_mask() != bit_of(SIGWINCH)) _exit(1);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

void* trace[64];
int trace_length;

TEST(Chain, BacktraceOfTheHandlerReachesTheFault) {
  const auto depth = [](bool chained) {
    return run_in_child([&](Report report) {
      use_program_action(
          chained, SIGSEGV,
          [](int, siginfo_t*, void*) {
            trace_length = backtrace(trace, 64);
            open_page();
          },
          SA_SIGINFO);
      trace_length = backtrace(trace, 64);  // loads the unwinder before the handler needs it
      touch(closed_page());
      report(trace_length);
    });
  };
  const ChildEnd native = depth(false);
  const ChildEnd chained = depth(true);
  ASSERT_TRUE(native.exited(0) && chained.exited(0));
  EXPECT_GT(native.as<int>(), 3);
  EXPECT_EQ(chained.as<int>(), native.as<int>());
}

}  // namespace
