// SPDX-License-Identifier: Apache-2.0
// Signal dispositions and masks as the kernel has them (not libc, whose sigset_t is 128 bytes and
// whose sigaction() a preload library may have replaced).
#pragma once

#include <signal.h>

#include <cstdint>

#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

inline constexpr int kSignalCount = 64;

using Handler = void (*)(int signal, siginfo_t* info, void* context);

// struct sigaction of the kernel; x86-64 and AArch64 agree. A handler without SA_SIGINFO has one
// parameter, but is called with three as the kernel does on x86-64.
struct KernelSigaction {
  Handler handler = nullptr;  // or SIG_DFL (0), SIG_IGN (1)
  std::uint64_t flags = 0;
  void (*restorer)() = nullptr;
  SignalMask mask = 0;
};
static_assert(sizeof(KernelSigaction) == 32);

inline constexpr std::uint64_t kSaRestorer = 0x04000000;
inline constexpr std::uint64_t kSaExposeTagBits = 0x00000800;  // Linux 5.11

[[nodiscard]] inline bool is_default(const KernelSigaction& action) noexcept { return action.handler == nullptr; }
[[nodiscard]] inline bool is_ignore(const KernelSigaction& action) noexcept {
  return reinterpret_cast<std::uintptr_t>(action.handler) == 1;
}

inline long raw_sigaction(int signal, const KernelSigaction* fresh, KernelSigaction* old) noexcept {
  return raw_syscall(SYS_rt_sigaction, signal, reinterpret_cast<long>(fresh), reinterpret_cast<long>(old),
                     sizeof(SignalMask));
}
inline long raw_sigprocmask(int how, SignalMask mask, SignalMask* old = nullptr) noexcept {
  return raw_syscall(SYS_rt_sigprocmask, how, reinterpret_cast<long>(&mask), reinterpret_cast<long>(old),
                     sizeof(SignalMask));
}

}  // namespace userfault::engine::user
