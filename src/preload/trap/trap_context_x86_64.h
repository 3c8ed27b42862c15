// SPDX-License-Identifier: Apache-2.0
// A trapped system call in the machine's registers.
#pragma once

#include <linux/audit.h>
#include <ucontext.h>

#include <cstdint>

namespace userfault::preload {

inline constexpr std::uint32_t kAuditArchitecture = AUDIT_ARCH_X86_64;

inline long argument_of(const ucontext_t& context, int index) noexcept {
  constexpr int kRegisters[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
  return static_cast<long>(context.uc_mcontext.gregs[kRegisters[index]]);
}
inline void set_result(ucontext_t& context, long result) noexcept { context.uc_mcontext.gregs[REG_RAX] = result; }
inline void set_stack(ucontext_t& context, long stack) noexcept { context.uc_mcontext.gregs[REG_RSP] = stack; }

}  // namespace userfault::preload
