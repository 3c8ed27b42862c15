// SPDX-License-Identifier: Apache-2.0
// rep movsb leaves the count of what is left in rcx, so giving up needs no bookkeeping. The touch
// sets its result before it touches; giving up jumps to where it is set to 1.
#include "engine/user/rt/guarded_copy.h"

asm(R"(
.pushsection .text
.globl userfault_rt_guarded_copy
.hidden userfault_rt_guarded_copy
.type userfault_rt_guarded_copy, @function
userfault_rt_guarded_copy:
  mov %rdx, %rcx
.globl userfault_rt_guarded_copy_fault
.hidden userfault_rt_guarded_copy_fault
userfault_rt_guarded_copy_fault:
  rep movsb
.globl userfault_rt_guarded_copy_resume
.hidden userfault_rt_guarded_copy_resume
userfault_rt_guarded_copy_resume:
  mov %rcx, %rax
  ret
.size userfault_rt_guarded_copy, .-userfault_rt_guarded_copy

.globl userfault_rt_touch
.hidden userfault_rt_touch
.type userfault_rt_touch, @function
userfault_rt_touch:
.globl userfault_rt_touch_fault
.hidden userfault_rt_touch_fault
userfault_rt_touch_fault:
  movb (%rdi), %al
  xor %eax, %eax
  ret
.globl userfault_rt_touch_resume
.hidden userfault_rt_touch_resume
userfault_rt_touch_resume:
  mov $1, %eax
  ret
.size userfault_rt_touch, .-userfault_rt_touch
.popsection
)");

extern "C" {
extern const char userfault_rt_guarded_copy_fault[], userfault_rt_guarded_copy_resume[];
extern const char userfault_rt_touch_fault[], userfault_rt_touch_resume[];
}

namespace userfault::engine::user {

FaultPlace place_of(std::uintptr_t instruction, std::uintptr_t* resume) noexcept {
  const auto at = [](const char* label) { return reinterpret_cast<std::uintptr_t>(label); };
  if (instruction == at(userfault_rt_guarded_copy_fault)) {
    *resume = at(userfault_rt_guarded_copy_resume);
    return FaultPlace::kGuardedCopy;
  }
  if (instruction == at(userfault_rt_touch_fault)) {
    *resume = at(userfault_rt_touch_resume);
    return FaultPlace::kTouch;
  }
  return FaultPlace::kElsewhere;
}

}  // namespace userfault::engine::user
