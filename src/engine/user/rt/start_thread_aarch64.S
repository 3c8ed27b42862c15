/* SPDX-License-Identifier: Apache-2.0
 *
 * long userfault_rt_start_thread(flags, stack_top, tls, entry): see start_thread.h. The kernel's
 * order of arguments is flags, stack, parent_tid, tls, child_tid (clone(2), AArch64). */
    .text
    .globl userfault_rt_start_thread
    .hidden userfault_rt_start_thread
    .type userfault_rt_start_thread, %function
userfault_rt_start_thread:
    .cfi_startproc
    mov x9, x3
    mov x3, x2
    mov x2, xzr
    mov x4, xzr
    mov x8, #220
    svc #0
    cbz x0, 1f
    ret
1:  /* The thread that was made, on its own stack: the end of every backtrace. */
    .cfi_undefined x30
    mov x29, xzr
    blr x9
    brk #1
    .cfi_endproc
    .size userfault_rt_start_thread, . - userfault_rt_start_thread

    .section .note.GNU-stack,"",%progbits
