// SPDX-License-Identifier: Apache-2.0
// The signal frame that the kernel pushed for our handler, and how to enter another handler on it.
// One implementation per architecture: signal_frame_x86_64.cc, signal_frame_aarch64.cc; the
// assembly is in enter_handler_*.S beside them.
#pragma once

#include <ucontext.h>

#include <cstdint>

#include "engine/user/signal/kernel_signal.h"

namespace userfault::engine::user {

struct SignalFrame {
  siginfo_t* info = nullptr;
  ucontext_t* context = nullptr;
};

// The registers of the interrupted code.
[[nodiscard]] std::uintptr_t stack_pointer_of(const SignalFrame& frame) noexcept;
[[nodiscard]] std::uintptr_t instruction_of(const SignalFrame& frame) noexcept;
// The mask of the interrupted code: the kernel's 8 bytes at the start of uc_sigmask.
[[nodiscard]] SignalMask& mask_of(const SignalFrame& frame) noexcept;
// The lowest address of the frame: what the stack pointer is when a handler is entered.
[[nodiscard]] std::uintptr_t base_of(const SignalFrame& frame) noexcept;

// Copies the whole frame with its floating-point state below the interrupted stack pointer and its
// red zone, where the kernel puts the frame of a handler without SA_ONSTACK. May fault, as the
// kernel may: is_copying() tells a handler that the fault came from here.
[[nodiscard]] SignalFrame move_to_interrupted_stack(const SignalFrame& frame) noexcept;
[[nodiscard]] bool is_copying(const SignalFrame& interrupted) noexcept;

// Enters `handler` as the kernel would have: on the frame, with the interrupted values in every
// register that the kernel leaves alone, returning into rt_sigreturn(2).
[[noreturn]] void enter_handler(const SignalFrame& frame, Handler handler, int signal) noexcept;

// sa_restorer for our handlers.
extern "C" void userfault_rt_restorer() noexcept;

}  // namespace userfault::engine::user
