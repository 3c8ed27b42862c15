/* SPDX-License-Identifier: Apache-2.0
 *
 * long userfault_rt_start_thread(flags, stack_top, tls, entry): see start_thread.h. The kernel's
 * order of arguments is flags, stack, parent_tid, child_tid, tls (clone(2), x86-64). */
    .text
    .globl userfault_rt_start_thread
    .hidden userfault_rt_start_thread
    .type userfault_rt_start_thread, @function
userfault_rt_start_thread:
    .cfi_startproc
    endbr64
    mov %rdx, %r8
    mov %rcx, %r9
    xor %edx, %edx
    xor %r10d, %r10d
    mov $56, %eax
    syscall
    test %rax, %rax
    jz 1f
    ret
1:  /* The thread that was made, on its own stack: the end of every backtrace. */
    .cfi_undefined rip
    xor %ebp, %ebp
    call *%r9
    ud2
    .cfi_endproc
    .size userfault_rt_start_thread, . - userfault_rt_start_thread

    .section .note.GNU-stack,"",@progbits
