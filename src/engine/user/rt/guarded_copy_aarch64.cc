// SPDX-License-Identifier: Apache-2.0
// A byte loop: x2 counts what is left, so giving up needs no bookkeeping.
#include "engine/user/rt/guarded_copy.h"

asm(R"(
.pushsection .text
.globl userfault_rt_guarded_copy
.hidden userfault_rt_guarded_copy
.type userfault_rt_guarded_copy, %function
userfault_rt_guarded_copy:
  cbz x2, userfault_rt_guarded_copy_resume
.globl userfault_rt_guarded_copy_fault
.hidden userfault_rt_guarded_copy_fault
userfault_rt_guarded_copy_fault:
  ldrb w3, [x1]
  strb w3, [x0]
  add x0, x0, #1
  add x1, x1, #1
  subs x2, x2, #1
  b.ne userfault_rt_guarded_copy_fault
.globl userfault_rt_guarded_copy_resume
.hidden userfault_rt_guarded_copy_resume
userfault_rt_guarded_copy_resume:
  mov x0, x2
  ret
.size userfault_rt_guarded_copy, .-userfault_rt_guarded_copy

.globl userfault_rt_touch
.hidden userfault_rt_touch
.type userfault_rt_touch, %function
userfault_rt_touch:
.globl userfault_rt_touch_fault
.hidden userfault_rt_touch_fault
userfault_rt_touch_fault:
  ldrb w1, [x0]
  mov w0, #0
  ret
.globl userfault_rt_touch_resume
.hidden userfault_rt_touch_resume
userfault_rt_touch_resume:
  mov w0, #1
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
  if (instruction >= at(userfault_rt_guarded_copy_fault) && instruction < at(userfault_rt_guarded_copy_resume)) {
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
