/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall(3) on AArch64: see syscall_entry_x86_64.S. All seven arguments are in registers.
 */
  .text
  .globl syscall
  .type syscall, %function
  .balign 16
syscall:
  .cfi_startproc
  cmp x0, #1024
  b.hs 1f
  adrp x9, userfault_preload_taken
  add x9, x9, :lo12:userfault_preload_taken
  lsr x10, x0, #3
  ldrb w9, [x9, x10]
  and w10, w0, #7
  lsr w9, w9, w10
  tbz w9, #0, 1f
  cmp x0, #435
  b.eq 4f
  cmp x0, #220
  b.ne 3f
  tbnz w1, #8, 1f
  cbnz x2, 1f
3:
  b userfault_preload_syscall
4:
  /* clone3: flags are first in its struct, the stack is at 40. */
  cmp x2, #64
  b.lo 1f
  cbz x1, 1f
  ldr w9, [x1]
  tbnz w9, #8, 1f
  ldr x9, [x1, #40]
  cbz x9, 3b
1:
  mov x8, x0
  mov x0, x1
  mov x1, x2
  mov x2, x3
  mov x3, x4
  mov x4, x5
  mov x5, x6
  svc #0
  cmn x0, #4095
  b.hs 2f
  ret
2:
  stp x29, x30, [sp, #-32]!
  .cfi_adjust_cfa_offset 32
  .cfi_rel_offset x29, 0
  .cfi_rel_offset x30, 8
  neg w0, w0
  str w0, [sp, #16]
  bl __errno_location
  ldr w1, [sp, #16]
  str w1, [x0]
  mov x0, #-1
  ldp x29, x30, [sp], #32
  .cfi_adjust_cfa_offset -32
  .cfi_restore x29
  .cfi_restore x30
  ret
  .cfi_endproc
  .size syscall, . - syscall
  .section .note.GNU-stack, "", %progbits
