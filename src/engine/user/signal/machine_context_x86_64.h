// SPDX-License-Identifier: Apache-2.0
// What a signal handler reads from the machine's state on x86-64.
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace userfault::engine::user {

inline std::uintptr_t instruction_of(const ucontext_t* context) noexcept {
  return static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RIP]);
}
inline void set_instruction(ucontext_t* context, std::uintptr_t instruction) noexcept {
  context->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(instruction);
}
// The page-fault error code: bit 1 is set for a write (Intel SDM volume 3, 4.7).
inline bool was_write(const ucontext_t* context) noexcept { return (context->uc_mcontext.gregs[REG_ERR] & 2) != 0; }
// Bit 0 is set when the page was there and its protection refused.
inline bool was_protection(const ucontext_t* context) noexcept {
  return (context->uc_mcontext.gregs[REG_ERR] & 1) != 0;
}
// Bit 4 is set for an instruction fetch.
inline bool was_fetch(const ucontext_t* context) noexcept { return (context->uc_mcontext.gregs[REG_ERR] & 16) != 0; }

}  // namespace userfault::engine::user
