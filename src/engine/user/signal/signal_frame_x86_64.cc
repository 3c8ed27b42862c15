// SPDX-License-Identifier: Apache-2.0
// struct rt_sigframe of x86-64 (arch/x86/include/asm/sigframe.h): the address of the restorer, the
// kernel's ucontext of 304 bytes (libc's is longer; only what the kernel wrote is there), the
// siginfo, and above it, 64-byte aligned, the XSAVE area that the ucontext points to.
#include "engine/user/signal/signal_frame.h"

#include <cstddef>
#include <cstring>

extern "C" {
void userfault_rt_copy(void* to, const void* from, std::size_t bytes) noexcept;
extern const char userfault_rt_copy_end[];
[[noreturn]] void userfault_rt_enter(std::uintptr_t frame, userfault::engine::user::Handler handler, int signal,
                                     siginfo_t* info, void* context) noexcept;
}

namespace userfault::engine::user {
namespace {

constexpr std::size_t kRedZone = 128;
constexpr std::size_t kReturnAddress = 8;
constexpr std::size_t kContextBytes = 304;
constexpr std::size_t kInfoBytes = 128;
constexpr std::size_t kFrameBytes = kReturnAddress + kContextBytes + kInfoBytes;
static_assert(sizeof(siginfo_t) == kInfoBytes);
static_assert(offsetof(ucontext_t, uc_mcontext) == 40);
static_assert(offsetof(ucontext_t, uc_sigmask) == kContextBytes - sizeof(SignalMask));

// struct _fpx_sw_bytes at byte 464 of the FXSAVE image says how long the XSAVE area is.
constexpr std::size_t kFxsaveBytes = 512;
constexpr std::size_t kSoftwareBytesAt = 464;
constexpr std::uint32_t kXstateMagic = 0x46505853;

std::size_t state_bytes(const void* state) noexcept {
  std::uint32_t software[2];
  __builtin_memcpy(software, static_cast<const char*>(state) + kSoftwareBytesAt, sizeof software);
  return software[0] == kXstateMagic ? software[1] : kFxsaveBytes;
}

}  // namespace

std::uintptr_t stack_pointer_of(const SignalFrame& frame) noexcept {
  return static_cast<std::uintptr_t>(frame.context->uc_mcontext.gregs[REG_RSP]);
}

std::uintptr_t instruction_of(const SignalFrame& frame) noexcept {
  return static_cast<std::uintptr_t>(frame.context->uc_mcontext.gregs[REG_RIP]);
}

SignalMask& mask_of(const SignalFrame& frame) noexcept {
  return *reinterpret_cast<SignalMask*>(&frame.context->uc_sigmask);
}

std::uintptr_t base_of(const SignalFrame& frame) noexcept {
  return reinterpret_cast<std::uintptr_t>(frame.context) - kReturnAddress;
}

SignalFrame move_to_interrupted_stack(const SignalFrame& frame) noexcept {
  std::uintptr_t top = stack_pointer_of(frame) - kRedZone;
  const void* state = frame.context->uc_mcontext.fpregs;
  void* state_copy = nullptr;
  if (state != nullptr) {
    const std::size_t bytes = state_bytes(state);
    top = (top - bytes) & ~std::uintptr_t{63};
    state_copy = reinterpret_cast<void*>(top);
    userfault_rt_copy(state_copy, state, bytes);
  }
  // A handler is entered as if it had been called: the stack pointer is 8 short of a multiple of 16.
  const std::uintptr_t base = ((top - kFrameBytes) & ~std::uintptr_t{15}) - kReturnAddress;
  const SignalFrame moved{.info = reinterpret_cast<siginfo_t*>(base + kReturnAddress + kContextBytes),
                          .context = reinterpret_cast<ucontext_t*>(base + kReturnAddress)};
  userfault_rt_copy(reinterpret_cast<void*>(base), reinterpret_cast<void*>(base_of(frame)),
                    kReturnAddress + kContextBytes);
  userfault_rt_copy(moved.info, frame.info, kInfoBytes);
  moved.context->uc_mcontext.fpregs = static_cast<fpregset_t>(state_copy);
  return moved;
}

bool is_copying(const SignalFrame& interrupted) noexcept {
  const std::uintptr_t at = instruction_of(interrupted);
  return at >= reinterpret_cast<std::uintptr_t>(&userfault_rt_copy) &&
         at < reinterpret_cast<std::uintptr_t>(userfault_rt_copy_end);
}

void enter_handler(const SignalFrame& frame, Handler handler, int signal) noexcept {
  userfault_rt_enter(base_of(frame), handler, signal, frame.info, frame.context);
}

}  // namespace userfault::engine::user
