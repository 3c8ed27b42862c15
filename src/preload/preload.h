// SPDX-License-Identifier: Apache-2.0
// libuserfault-preload.so: a program's calls in, engine calls out.
//
// The problem: a program calls userfaultfd through libc, and has to get the user engine's without
// being changed. The way: this library stands before libc in the order of symbols (LD_PRELOAD) and
// exports the functions below under libc's names. Each translates, calls, and sets errno; what is
// not about a userfaultfd of the user engine goes to the next library that has the name, with one
// test of a flag before it. What does not go through libc at all is not seen: docs/preload.md.
//
// The contract with the program
//   - Until the first descriptor of ours is opened nothing is changed but the mark for a blocked
//     SIGSEGV (masks.h): no handler is installed, no memory mapped, no thread started. The exception is
//     a program that starts under a seccomp filter, which gets our handler for SIGSYS (trap.h).
//   - A second preload or a sanitizer's runtime in front of us or behind us keeps working: we go to
//     the next symbol, never around it. All of it works before our constructor ran, because those of a
//     program's own libraries run earlier, and in a signal handler (symbols/libc_symbols.h).
//   - Nothing here allocates. errno changes only where libc's function would change it.
//   - It links to nothing but libc and the loader, exports only what symbols/calls.h lists, and uses
//     initial-exec thread-local storage.
//
// Environment, as `userfault run` sets it; inherited by whatever the program starts
//   USERFAULT_ENGINE  auto (the default): the kernel's where it opens with the flags asked for, else
//                     ours; user: ours; kernel: the kernel's, and this library only watches
//   USERFAULT_LOG     a file that gets a line for each descriptor opened, or - for standard error
//   USERFAULT_TRAP    0: system calls that go past libc are not looked for (trap.h)
//   USERFAULT_EVENT_FORK  unprivileged: fork events without CAP_SYS_PTRACE (the engine's own)
//
// Threads: everything from any thread. No lock is held while the next symbol or the engine runs.
#pragma once

#include <cerrno>
#include <type_traits>

#include "engine/engine.h"
#include "engine/user/user_engine.h"

#define USERFAULT_PRELOADED extern "C" [[gnu::visibility("default")]]

// Another of libc's names for a function that this file defines.
#if defined(__clang__)
#define USERFAULT_ALIAS(name) [[gnu::visibility("default"), gnu::alias(#name)]]
#else
#define USERFAULT_ALIAS(name) [[gnu::visibility("default"), gnu::alias(#name), gnu::copy(name)]]
#endif

namespace userfault::preload {

using engine::user_engine;

// An engine's answer as libc's: -1 and errno, or the value.
template <typename T>
T finish(T result) noexcept {
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}

[[nodiscard]] inline bool active() noexcept { return engine::user::is_active(); }

}  // namespace userfault::preload
