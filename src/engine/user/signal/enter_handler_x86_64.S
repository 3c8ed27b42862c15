/* SPDX-License-Identifier: Apache-2.0 */
/* Three pieces that cannot be C++: they own the stack pointer or must be exact bytes. */
        .text

/* void userfault_rt_restorer(void): rt_sigreturn. No CFI and exactly these bytes: libgcc and
 * gdb know a signal frame by them (mov $15,%rax; syscall). They look one byte before the return
 * address, hence the nop. */
        nop
        .globl  userfault_rt_restorer
        .hidden userfault_rt_restorer
        .type   userfault_rt_restorer, @function
userfault_rt_restorer:
        movq    $15, %rax
        syscall
        ud2
        .size   userfault_rt_restorer, .-userfault_rt_restorer

/* void userfault_rt_copy(void* to, const void* from, size_t bytes): a copy whose faults can be
 * told by their address. rep movsb can be interrupted and resumed anywhere. */
        .globl  userfault_rt_copy
        .hidden userfault_rt_copy
        .globl  userfault_rt_copy_end
        .hidden userfault_rt_copy_end
        .type   userfault_rt_copy, @function
userfault_rt_copy:
        .cfi_startproc
        movq    %rdx, %rcx
        cld
        rep movsb
        ret
        .cfi_endproc
userfault_rt_copy_end:
        .size   userfault_rt_copy, .-userfault_rt_copy

/* void userfault_rt_enter(frame, handler, signal, info, context): never returns. `frame` is
 * the kernel's struct rt_sigframe: the restorer's address, then the ucontext, whose registers are
 * at 40: r8-r15, rdi, rsi, rbp, rbx, rdx, rax, rcx. The handler's address waits in the red zone,
 * which no signal touches. A user shadow stack (Linux 6.6) is not unwound: nothing enables one
 * where this was written for. */
        .globl  userfault_rt_enter
        .hidden userfault_rt_enter
        .type   userfault_rt_enter, @function
userfault_rt_enter:
        .cfi_startproc
        .cfi_undefined rip
        movq    %rdi, %rsp
        movq    %rsi, -8(%rsp)
        movl    %edx, %edi
        movq    %rcx, %rsi
        movq    %r8, %rdx
        movq    40(%rdx), %r8
        movq    48(%rdx), %r9
        movq    56(%rdx), %r10
        movq    64(%rdx), %r11
        movq    72(%rdx), %r12
        movq    80(%rdx), %r13
        movq    88(%rdx), %r14
        movq    96(%rdx), %r15
        movq    120(%rdx), %rbp
        movq    128(%rdx), %rbx
        movq    152(%rdx), %rcx
        xorl    %eax, %eax
        cld
        jmp     *-8(%rsp)
        .cfi_endproc
        .size   userfault_rt_enter, .-userfault_rt_enter

        .section .note.GNU-stack, "", @progbits
