// SPDX-License-Identifier: Apache-2.0
#include "engine/user/signal/chain.h"

#include <errno.h>

#include <atomic>

#include "engine/user/rt/lock.h"
#include "engine/user/rt/process_identity.h"
#include "engine/user/signal/program_actions.h"
#include "engine/user/signal/signal_frame.h"

namespace userfault::engine::user {
namespace {

struct Slot {
  ProgramAction program;
  std::atomic<Handler> ours = nullptr;  // not null while installed
};
constinit Slot slots[kSignalCount + 1];

constexpr std::uint64_t kMirrored = SA_RESTART | kSaExposeTagBits;

bool valid(int signal) noexcept { return signal > 0 && signal <= kSignalCount; }

// SA_RESTART is the program's choice; an ignored signal never interrupts a system call.
// The mask spares the fault handler two system calls a fault; a return of a handler restores the one
// that was interrupted.
KernelSigaction ours_beside(int signal, const KernelSigaction& program, Handler ours) noexcept {
  const std::uint64_t restart = is_ignore(program) ? SA_RESTART : 0;
  return {.handler = ours,
          .flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | kSaRestorer | (program.flags & kMirrored) | restart,
          .restorer = userfault_rt_restorer,
          .mask = signal == SIGSEGV ? ~kSynchronous : 0};
}

// What the kernel raised because of an instruction; the rest was sent by somebody.
bool is_synchronous(int signal, const siginfo_t& info) noexcept {
  return info.si_code > 0 && !(signal == SIGBUS && info.si_code == BUS_MCEERR_AO);
}

// Whether going on at the interrupted instruction raises the same fault. An asynchronous tag check
// of AArch64 (SEGV_MTEAERR, 8) names no instruction.
bool faults_again(int signal, const siginfo_t& info) noexcept {
  constexpr int kMteAsynchronous = 8;
  if (signal == SIGSEGV) return info.si_code != kMteAsynchronous;
  return signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
}

// The bits that block `signal`, its own and the one that stands for it.
SignalMask bits_of(int signal) noexcept {
  return bit_of(signal) | (marker_of(signal) != 0 ? bit_of(marker_of(signal)) : 0);
}

bool is_blocked(int signal, SignalMask mask) noexcept { return (mask & bits_of(signal)) != 0; }

// Whether the program has set an action past the engine since, as one without the preload library does, and the signal
// goes there. A signal that the kernel sent did not come here by such an action: the program's new handler has passed
// it on, and would be called by the engine again, for ever. What ends the process can be followed always.
bool is_replaced(int signal, Origin origin, KernelSigaction& action) noexcept {
  return raw_sigaction(signal, nullptr, &action) == 0 &&
         action.handler != slots[signal].ours.load(std::memory_order_relaxed) &&
         (origin == Origin::kEngine || is_default(action));
}

// The kernel picks the handler and, for SA_RESETHAND, forgets it, in one step.
KernelSigaction take_program_action(int signal, Origin origin) noexcept {
  KernelSigaction seen;
  const bool direct = !is_installed(signal) || is_replaced(signal, origin, seen);
  if (!direct || !is_installed(signal)) seen = get_program_action(signal);
  if ((seen.flags & SA_RESETHAND) == 0 || is_default(seen) || is_ignore(seen)) return seen;
  KernelSigaction reset = seen;
  reset.handler = nullptr;
  if (direct) {
    raw_sigaction(signal, &reset, nullptr);
    return seen;
  }
  ProgramAction::Writer writer(slots[signal].program);
  const KernelSigaction current = slots[signal].program.load();
  if (current.handler == seen.handler) writer.store(reset);
  return current;
}

// The signal is unblocked by the return to the interrupted code, and a signal that is pending then
// is delivered before the first instruction. The kernel, too, unblocks a signal that it forces.
void follow_default(int signal, const SignalFrame& frame, bool again) noexcept {
  mask_of(frame) &= ~bits_of(signal);
  if (!again) {
    raw_sigprocmask(SIG_BLOCK, bit_of(signal));
    raw_syscall(SYS_rt_tgsigqueueinfo, sys::getpid(), sys::gettid(), signal, as_long(frame.info));
  }
  const KernelSigaction standard;
  raw_sigaction(signal, &standard, nullptr);
}

bool contains(const stack_t& stack, std::uintptr_t address) noexcept {
  return address - reinterpret_cast<std::uintptr_t>(stack.ss_sp) < stack.ss_size;
}

// Whether the kernel would have left this handler on the interrupted stack while ours is on the
// alternate one. With SS_AUTODISARM (Linux 4.7) the kernel takes no interrupted code to be on it.
bool belongs_on_interrupted_stack(const SignalFrame& frame, const KernelSigaction& action) noexcept {
  constexpr unsigned kAutodisarm = 1u << 31;
  if ((action.flags & SA_ONSTACK) != 0) return false;
  const stack_t& stack = frame.context->uc_stack;
  if (stack.ss_size == 0 || !contains(stack, base_of(frame))) return false;
  return (static_cast<unsigned>(stack.ss_flags) & kAutodisarm) != 0 || !contains(stack, stack_pointer_of(frame) - 1);
}

[[noreturn]] void hand_over(int signal, SignalFrame frame, const KernelSigaction& action) noexcept {
  if (belongs_on_interrupted_stack(frame, action)) frame = move_to_interrupted_stack(frame);
  const SignalMask own = (action.flags & SA_NODEFER) != 0 ? 0 : bit_of(signal);
  raw_sigprocmask(SIG_SETMASK, real_mask(mask_of(frame) | action.mask | own));
  enter_handler(frame, action.handler, signal);
}

// A signal that somebody sent while the program has it blocked is pending, as the program's masks say: it is
// sent on as the marker, which is blocked indeed, and comes back when that is unblocked. What siginfo has room
// for behind everything that describes such a signal tells it from a marker that somebody else sent.
struct Held {
  static constexpr std::size_t kAt = 40;
  static constexpr std::uint64_t kTag = 0x55736572'48656c64;
  static bool is_tagged(const siginfo_t& info) noexcept {
    std::uint64_t value;
    __builtin_memcpy(&value, at(info), sizeof value);
    return value == kTag;
  }
  static void tag(siginfo_t& info, std::uint64_t value) noexcept {
    __builtin_memcpy(const_cast<char*>(at(info)), &value, sizeof value);
  }

 private:
  static const char* at(const siginfo_t& info) noexcept { return reinterpret_cast<const char*>(&info) + kAt; }
};

void on_marker(int marker, siginfo_t* info, void* context) { chain(take_held(info) ? SIGSEGV : marker, info, context); }

bool hold(int signal, const siginfo_t& info) noexcept {
  const int marker = marker_of(signal);
  if (marker == 0 || install(marker, on_marker) < 0) return false;
  siginfo_t copy;
  __builtin_memcpy(&copy, &info, sizeof copy);
  Held::tag(copy, Held::kTag);
  return raw_syscall(SYS_rt_tgsigqueueinfo, sys::getpid(), sys::gettid(), marker, as_long(&copy)) == 0;
}

}  // namespace

bool take_held(siginfo_t* info) noexcept {
  if (info->si_signo != marker_of(SIGSEGV) || !Held::is_tagged(*info)) return false;
  Held::tag(*info, 0);
  info->si_signo = SIGSEGV;
  return true;
}

SignalMask real_mask(SignalMask wanted) noexcept {
  if (is_installed(SIGSYS)) wanted &= ~bit_of(SIGSYS);
  if ((wanted & bit_of(SIGSEGV)) == 0 || !is_installed(SIGSEGV)) return wanted;
  return (wanted & ~bit_of(SIGSEGV)) | bit_of(marker_of(SIGSEGV));
}

// Acquire: whoever sees the handler also sees the program's action stored before it.
bool is_installed(int signal) noexcept {
  return valid(signal) && slots[signal].ours.load(std::memory_order_acquire) != nullptr;
}

int install(int signal, Handler ours) noexcept {
  if (!valid(signal)) return -EINVAL;
  Slot& slot = slots[signal];
  ProgramAction::Writer writer(slot.program);
  KernelSigaction before;
  if (const long result = raw_sigaction(signal, nullptr, &before); result < 0) return static_cast<int>(result);
  if (before.handler == ours) return 0;
  // Before ours can run, what it chains to must be there; what changed in between is stored again.
  writer.store(before);
  slot.ours.store(ours, std::memory_order_release);
  const KernelSigaction fresh = ours_beside(signal, before, ours);
  if (const long result = raw_sigaction(signal, &fresh, &before); result < 0) {
    slot.ours.store(nullptr, std::memory_order_release);
    return static_cast<int>(result);
  }
  writer.store(before);
  return 0;
}

int uninstall(int signal) noexcept {
  if (!is_installed(signal)) return 0;
  Slot& slot = slots[signal];
  ProgramAction::Writer writer(slot.program);
  const KernelSigaction program = slot.program.load();
  const long result = raw_sigaction(signal, &program, nullptr);
  if (result == 0) slot.ours.store(nullptr, std::memory_order_release);
  return static_cast<int>(result);
}

KernelSigaction get_program_action(int signal) noexcept {
  if (is_installed(signal)) return slots[signal].program.load();
  KernelSigaction action;
  raw_sigaction(signal, nullptr, &action);
  return action;
}

KernelSigaction set_program_action(int signal, const KernelSigaction& action) noexcept {
  KernelSigaction old;
  if (!is_installed(signal)) {
    raw_sigaction(signal, &action, &old);
    return old;
  }
  // The slot is its parent's, and what a child of vfork catches is forgotten when it executes something.
  // Until then ours serves its faults. Only what it ignores stays ignored.
  if (is_borrowing_process()) {
    if (is_ignore(action)) raw_sigaction(signal, &action, nullptr);
    return get_program_action(signal);
  }
  Slot& slot = slots[signal];
  ProgramAction::Writer writer(slot.program);
  old = slot.program.load();
  writer.store(action);
  const KernelSigaction fresh = ours_beside(signal, action, slot.ours.load(std::memory_order_relaxed));
  raw_sigaction(signal, &fresh, nullptr);
  return old;
}

void chain(int signal, siginfo_t* info, void* context, Origin origin) noexcept {
  const SignalFrame frame{.info = info, .context = static_cast<ucontext_t*>(context)};
  const bool synchronous = is_synchronous(signal, *info);
  const bool again = synchronous && origin == Origin::kKernel && faults_again(signal, *info);
  // The stack on which the program's handler belongs is not there: the kernel kills, too.
  if (synchronous && is_copying(frame)) return follow_default(signal, frame, again);
  if (synchronous && is_blocked(signal, mask_of(frame))) return follow_default(signal, frame, again);
  const bool ignored = !synchronous && is_ignore(get_program_action(signal));
  if (!synchronous && !ignored && is_blocked(signal, mask_of(frame)) && hold(signal, *info)) return;
  const KernelSigaction action = take_program_action(signal, origin);
  if (is_ignore(action) && !synchronous) return;
  if (is_default(action) || is_ignore(action)) return follow_default(signal, frame, again);
  hand_over(signal, frame, action);
}

}  // namespace userfault::engine::user
