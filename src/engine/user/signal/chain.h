// SPDX-License-Identifier: Apache-2.0
// The program's own signal dispositions behind ours.
//
// The problem: the engine needs SIGSEGV (and, for in-thread resolution on the kernel's engine,
// SIGBUS). Every signal that is not for us has to look to the program, to its debugger and to its
// core file as if we were not there.
//
// The way: our handler does not call the program's handler, it becomes it. The kernel's signal
// frame is all that a handler can see, so chain() sets the mask, puts the stack pointer back to
// that frame (or, for a handler that did not ask for the alternate stack on which we run, moves
// the frame to the interrupted stack, where the kernel would have put it) and jumps. No frame of
// ours is below the program's handler: backtraces, stack depth, siglongjmp and changes to the
// ucontext are native, and its return goes straight to rt_sigreturn(2). Rejected: a nested call,
// which leaves our frame on an alternate stack that the kernel may reuse from the top as soon as
// the program's handler runs elsewhere.
//
// Masks: a page fault that userfaultfd resolves is no signal, so it may happen where SIGSEGV is
// blocked, but ours may not (a blocked fault kills). SIGSEGV therefore never really enters a mask
// that we set: SIGSTKFLT, which Linux never sends, stands in for it (marker_of). The kernel then
// carries "the program has SIGSEGV blocked" through returns, siglongjmp and setcontext, and a
// genuine fault under that mark ends in the default action as natively.
//
// Threads: all functions may be called from any thread and from signal handlers.
// Lock order: the lock of one signal's slot; no other lock is taken under it.
#pragma once

#include "engine/user/signal/kernel_signal.h"

namespace userfault::engine::user {

// Takes `signal` for `ours`: what the program had becomes what chain() chains to. Installed with
// SA_SIGINFO | SA_ONSTACK | SA_NODEFER, an empty mask (the interrupted one stays) and our own
// restorer. A second call with the same handler changes nothing. 0 or -errno.
[[nodiscard]] int install(int signal, Handler ours) noexcept;
// Puts the program's disposition back. 0 or -errno; 0 when nothing was installed.
[[nodiscard]] int uninstall(int signal) noexcept;
[[nodiscard]] bool is_installed(int signal) noexcept;

// What the program asked for. set_ changes only what we chain to (and SA_RESTART of ours, which
// decides whether an interrupted system call goes on) and returns what was there before; for a
// signal that is not installed both speak to the kernel.
[[nodiscard]] KernelSigaction get_program_action(int signal) noexcept;
KernelSigaction set_program_action(int signal, const KernelSigaction& action) noexcept;

enum class Origin : std::uint8_t {
  kKernel,  // the kernel raised just this signal, and a fault would be raised again by a retry
  kEngine,  // the engine raises it in place of the one that came: `info` was rewritten in place
};

// Hands the signal to the program's disposition. `info` and `context` are what our handler got.
// With a handler it does not return: call it last, with nothing held and nothing to clean up. It
// returns, and our handler must then return at once, when the signal is ignored or when the default
// action follows: then SIG_DFL is in place and the instruction faults again natively, so that the
// core shows the fault itself; what cannot fault again is queued with its siginfo and delivered at
// the interrupted instruction.
void chain(int signal, siginfo_t* info, void* context, Origin origin = Origin::kKernel) noexcept;

// The signal whose bit in a mask means that the program has `signal` blocked; 0 for none.
[[nodiscard]] constexpr int marker_of(int signal) noexcept { return signal == SIGSEGV ? SIGSTKFLT : 0; }
// `wanted` as it may really be set: owned signals replaced by their markers, SIGSYS left out (a call
// that a filter of ours traps while it is blocked kills).
[[nodiscard]] SignalMask real_mask(SignalMask wanted) noexcept;

// A signal that was sent while the program had it blocked waits as its marker. Whether `info` is such a one;
// then it is the signal's again.
[[nodiscard]] bool take_held(siginfo_t* info) noexcept;

}  // namespace userfault::engine::user
