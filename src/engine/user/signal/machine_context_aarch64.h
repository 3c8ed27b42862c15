// SPDX-License-Identifier: Apache-2.0
// What a signal handler reads from the machine's state on AArch64: the exception syndrome is in a
// tagged record behind the registers (arch/arm64/include/uapi/asm/sigcontext.h).
#pragma once

#include <asm/sigcontext.h>
#include <ucontext.h>

#include <cstdint>

namespace userfault::engine::user {

inline std::uintptr_t instruction_of(const ucontext_t* context) noexcept { return context->uc_mcontext.pc; }
inline void set_instruction(ucontext_t* context, std::uintptr_t instruction) noexcept {
  context->uc_mcontext.pc = instruction;
}
inline std::uint64_t syndrome_of(const ucontext_t* context) noexcept {
  const unsigned char* at = context->uc_mcontext.__reserved;
  const unsigned char* end = at + sizeof context->uc_mcontext.__reserved;
  while (at + sizeof(_aarch64_ctx) <= end) {
    const auto* head = reinterpret_cast<const _aarch64_ctx*>(at);
    if (head->magic == ESR_MAGIC) return reinterpret_cast<const esr_context*>(at)->esr;
    if (head->magic == 0 || head->size == 0) break;
    at += head->size;
  }
  return 0;
}
// Exception class 0x24 is a data abort, whose bit 6 (WnR) is set for a write; 0x20 is a fetch.
inline bool was_write(const ucontext_t* context) noexcept {
  const std::uint64_t esr = syndrome_of(context);
  return (esr >> 26) == 0x24 && (esr & (1U << 6)) != 0;
}
// Fault status 0b0011LL: a permission fault, the page was there.
inline bool was_protection(const ucontext_t* context) noexcept { return (syndrome_of(context) & 0x3c) == 0x0c; }
inline bool was_fetch(const ucontext_t* context) noexcept { return (syndrome_of(context) >> 26) == 0x20; }

}  // namespace userfault::engine::user
