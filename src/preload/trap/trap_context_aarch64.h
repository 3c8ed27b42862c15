// SPDX-License-Identifier: Apache-2.0
// A trapped system call in the machine's registers.
#pragma once

#include <linux/audit.h>
#include <ucontext.h>

#include <cstdint>

namespace userfault::preload {

inline constexpr std::uint32_t kAuditArchitecture = AUDIT_ARCH_AARCH64;

inline long argument_of(const ucontext_t& context, int index) noexcept {
  return static_cast<long>(context.uc_mcontext.regs[index]);
}
inline void set_result(ucontext_t& context, long result) noexcept {
  context.uc_mcontext.regs[0] = static_cast<unsigned long long>(result);
}
inline void set_stack(ucontext_t& context, long stack) noexcept {
  context.uc_mcontext.sp = static_cast<unsigned long long>(stack);
}

}  // namespace userfault::preload
