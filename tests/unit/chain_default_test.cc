// SPDX-License-Identifier: Apache-2.0
// The default action behind our handler, as a tracer (and so a core file) sees it; and the
// emulation of sigaction(2).
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <atomic>
#include <thread>
#include <vector>

#include "child.h"
#include "engine/user/signal/chain.h"
#include "engine/user/signal/signal_frame.h"

namespace {

using namespace userfault::engine::user;
using userfault::test::Report;
using userfault::test::run_in_child;

void ours(int signal, siginfo_t* info, void* context) { chain(signal, info, context); }

struct Stop {
  siginfo_t info;
  user_regs_struct registers;
};

#if defined(__x86_64__)
std::uintptr_t instruction_of(const Stop& stop) { return stop.registers.rip; }
#else
std::uintptr_t instruction_of(const Stop& stop) { return stop.registers.pc; }
#endif

Stop stop_of(pid_t child) {
  Stop stop{};
  ptrace(PTRACE_GETSIGINFO, child, nullptr, &stop.info);
  iovec registers{&stop.registers, sizeof stop.registers};
  ptrace(PTRACE_GETREGSET, child, reinterpret_cast<void*>(NT_PRSTATUS), &registers);
  return stop;
}

// The stops of a traced child for `signal`, until it dies; every one is passed on to it.
struct Traced {
  std::vector<Stop> stops;
  int status = 0;
};

template <typename Body>
Traced trace_child(int signal, Body&& body) {
  Traced traced;
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    body();
    _exit(0);
  }
  while (waitpid(child, &traced.status, 0) == child && WIFSTOPPED(traced.status)) {
    const int stopped_by = WSTOPSIG(traced.status);
    if (stopped_by == signal) traced.stops.push_back(stop_of(child));
    ptrace(PTRACE_CONT, child, nullptr, stopped_by == SIGSTOP ? 0 : stopped_by);
  }
  return traced;
}

void use_default(int signal) {
  const KernelSigaction standard;
  raw_sigaction(signal, &standard, nullptr);
}

TEST(ChainDefault, FaultLooksNativeToATracer) {
  const Traced traced = trace_child(SIGSEGV, [] {
    use_default(SIGSEGV);
    if (install(SIGSEGV, ours) != 0) _exit(1);
    void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *static_cast<volatile char*>(page) = 1;
  });
  EXPECT_TRUE(WIFSIGNALED(traced.status) && WTERMSIG(traced.status) == SIGSEGV) << traced.status;
  ASSERT_EQ(traced.stops.size(), 2u);  // ours, then the one that kills
  const Stop& fault = traced.stops[0];
  const Stop& death = traced.stops[1];
  EXPECT_EQ(death.info.si_code, SEGV_ACCERR);
  EXPECT_EQ(death.info.si_addr, fault.info.si_addr);
  EXPECT_EQ(std::memcmp(&death.registers, &fault.registers, sizeof death.registers), 0);
}

TEST(ChainDefault, SentSignalKeepsItsSender) {
  const Traced traced = trace_child(SIGSEGV, [] {
    use_default(SIGSEGV);
    if (install(SIGSEGV, ours) != 0) _exit(1);
    kill(getpid(), SIGSEGV);
  });
  EXPECT_TRUE(WIFSIGNALED(traced.status) && WTERMSIG(traced.status) == SIGSEGV) << traced.status;
  ASSERT_EQ(traced.stops.size(), 2u);
  EXPECT_EQ(traced.stops[1].info.si_code, SI_USER);
  EXPECT_EQ(traced.stops[1].info.si_pid, traced.stops[0].info.si_pid);
  EXPECT_NE(traced.stops[1].info.si_pid, 0);
  EXPECT_EQ(instruction_of(traced.stops[1]), instruction_of(traced.stops[0]));
}

// FEATURE_SIGBUS on the user engine: what came is SIGSEGV, what the program gets is SIGBUS.
void raising_sigbus(int, siginfo_t* info, void* context) {
  info->si_signo = SIGBUS;
  info->si_code = BUS_ADRERR;
  chain(SIGBUS, info, context, Origin::kEngine);
}

char* page_of_the_test() {
  static void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return static_cast<char*>(page);
}

TEST(ChainDefault, EmulatedSigbusKillsAtTheFault) {
  const Traced traced = trace_child(SIGBUS, [] {
    use_default(SIGBUS);
    if (install(SIGSEGV, raising_sigbus) != 0) _exit(1);
    *const_cast<volatile char*>(page_of_the_test()) = 1;
  });
  EXPECT_TRUE(WIFSIGNALED(traced.status) && WTERMSIG(traced.status) == SIGBUS) << traced.status;
  ASSERT_EQ(traced.stops.size(), 1u);
  EXPECT_EQ(traced.stops[0].info.si_code, BUS_ADRERR);
  EXPECT_EQ(traced.stops[0].info.si_addr, page_of_the_test());
}

TEST(ChainDefault, EmulatedSigbusReachesAHandlerOnceWithResetHand) {
  const auto end = run_in_child([](Report) {
    static std::atomic<int> calls;
    const KernelSigaction action{.handler =
                                     [](int signal, siginfo_t* info, void*) {
                                       if (signal != SIGBUS || info->si_addr != page_of_the_test()) _exit(2);
                                       ++calls;
                                       raw_syscall(SYS_mprotect, reinterpret_cast<long>(page_of_the_test()), 4096,
                                                   PROT_READ | PROT_WRITE);
                                     },
                                 .flags = SA_SIGINFO | SA_RESETHAND | kSaRestorer,
                                 .restorer = userfault_rt_restorer};
    raw_sigaction(SIGBUS, &action, nullptr);
    if (install(SIGSEGV, raising_sigbus) != 0) _exit(1);
    *const_cast<volatile char*>(page_of_the_test()) = 1;
    if (calls != 1) _exit(3);
    mprotect(page_of_the_test(), 4096, PROT_NONE);
    *const_cast<volatile char*>(page_of_the_test()) = 1;
  });
  EXPECT_TRUE(end.killed_by(SIGBUS)) << end.status;
}

TEST(ChainAction, InstallKeepsTheProgramsAndUninstallPutsItBack) {
  const auto end = run_in_child([](Report) {
    const KernelSigaction program{.handler = reinterpret_cast<Handler>(1), .flags = SA_RESTART, .mask = 0x10};
    raw_sigaction(SIGSEGV, &program, nullptr);
    if (install(SIGSEGV, ours) != 0 || install(SIGSEGV, ours) != 0) _exit(1);
    const KernelSigaction kept = get_program_action(SIGSEGV);
    if (!is_ignore(kept) || (kept.flags & SA_RESTART) == 0 || kept.mask != 0x10) _exit(2);
    KernelSigaction real;
    raw_sigaction(SIGSEGV, nullptr, &real);
    if (real.handler != ours || (real.flags & SA_RESTART) == 0) _exit(3);
    if (uninstall(SIGSEGV) != 0 || is_installed(SIGSEGV)) _exit(4);
    raw_sigaction(SIGSEGV, nullptr, &real);
    if (!is_ignore(real) || real.mask != 0x10) _exit(5);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

TEST(ChainAction, SettingTheProgramsLeavesOursInPlace) {
  const auto end = run_in_child([](Report) {
    use_default(SIGSEGV);
    if (install(SIGSEGV, ours) != 0) _exit(1);
    const KernelSigaction fresh{.handler = ours, .flags = SA_SIGINFO | SA_RESTART, .mask = 0x400};
    if (!is_default(set_program_action(SIGSEGV, fresh))) _exit(2);
    if (get_program_action(SIGSEGV).mask != 0x400) _exit(3);
    KernelSigaction real;
    raw_sigaction(SIGSEGV, nullptr, &real);
    if (real.handler != ours || (real.flags & SA_RESTART) == 0) _exit(4);
    // Ours blocks whatever is sent, whoever's mask the program's handler has, and nothing that is raised.
    if ((real.mask & bit_of(SIGUSR1)) == 0 || (real.mask & (bit_of(SIGSEGV) | bit_of(SIGBUS))) != 0) _exit(7);
    if (set_program_action(SIGSEGV, {}).handler != fresh.handler) _exit(5);
    raw_sigaction(SIGSEGV, nullptr, &real);
    if ((real.flags & SA_RESTART) != 0) _exit(6);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

// A reader never sees half of one action and half of another.
TEST(ChainAction, ReadersSeeWholeActions) {
  const auto end = run_in_child([](Report) {
    if (install(SIGSEGV, ours) != 0) _exit(1);
    const auto action = [](std::uintptr_t value) {
      return KernelSigaction{.handler = reinterpret_cast<Handler>(value), .flags = value, .mask = value};
    };
    set_program_action(SIGSEGV, action(16));
    std::atomic<bool> stop = false;
    std::thread writers[2];
    for (auto& writer : writers)
      writer = std::thread([&] {
        for (std::uintptr_t i = 0; !stop; ++i) set_program_action(SIGSEGV, action(16 + (i % 512) * 16));
      });
    for (int i = 0; i < 200'000; ++i) {
      const KernelSigaction read = get_program_action(SIGSEGV);
      if (reinterpret_cast<std::uintptr_t>(read.handler) != read.mask || read.flags != read.mask) _exit(2);
    }
    stop = true;
    for (auto& writer : writers) writer.join();
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

// A program that is linked with the library, and not under the preload library, sets its actions past the engine.
std::atomic<int> times_called = 0;
void restore_default(int signal) {
  if (++times_called == 1000) _exit(3);
  ::signal(signal, SIG_DFL);
}

struct sigaction engines {};
void pass_on_to_the_engine(int signal, siginfo_t* info, void* context) {
  if (++times_called == 1000) _exit(3);
  engines.sa_sigaction(signal, info, context);
}

// A handler that the program puts over the engine's, and that calls the one it found.
TEST(ChainAction, AHandlerThatPassesASignalOnIsNotCalledAgainByTheEngine) {
  const auto end = run_in_child([](Report) {
    if (install(SIGSEGV, ours) != 0) _exit(1);
    struct sigaction above {};
    above.sa_flags = SA_SIGINFO | SA_NODEFER;
    above.sa_sigaction = pass_on_to_the_engine;
    ::sigaction(SIGSEGV, &above, &engines);
    void* const page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) _exit(2);
    static_cast<void>(*static_cast<const volatile char*>(page));
  });
  EXPECT_TRUE(end.killed_by(SIGSEGV)) << end.status;
}

// The engine's own SIGBUS, for a page of its own: nothing but the slot said what the program wants.
TEST(ChainAction, ASignalThatTheEngineRaisesFollowsTheNewestAction) {
  const auto end = run_in_child([](Report) {
    ::signal(SIGBUS, restore_default);
    if (install(SIGBUS, ours) != 0) _exit(1);
    struct sigaction segv {};
    segv.sa_flags = SA_SIGINFO | SA_NODEFER;
    segv.sa_sigaction = [](int, siginfo_t* info, void* context) {
      info->si_signo = SIGBUS;
      info->si_code = BUS_MCEERR_AR;
      chain(SIGBUS, info, context, Origin::kEngine);
    };
    ::sigaction(SIGSEGV, &segv, nullptr);
    void* const page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) _exit(2);
    static_cast<void>(*static_cast<const volatile char*>(page));
  });
  EXPECT_TRUE(end.killed_by(SIGBUS)) << end.status;
}

TEST(ChainAction, BadSignalIsRefused) {
  EXPECT_EQ(install(0, ours), -EINVAL);
  EXPECT_EQ(install(65, ours), -EINVAL);
  EXPECT_EQ(install(SIGKILL, ours), -EINVAL);
  EXPECT_FALSE(is_installed(SIGKILL));
}

}  // namespace
