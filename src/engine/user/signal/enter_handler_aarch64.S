/* SPDX-License-Identifier: Apache-2.0 */
/* Three pieces that cannot be C++: they own the stack pointer or must be exact instructions. */
        .text

/* void userfault_rt_restorer(void): rt_sigreturn. No CFI and exactly these two instructions:
 * libgcc and gdb know a signal frame by them. */
        .globl  userfault_rt_restorer
        .hidden userfault_rt_restorer
        .type   userfault_rt_restorer, %function
userfault_rt_restorer:
        mov     x8, #139
        svc     #0
        udf     #0
        .size   userfault_rt_restorer, .-userfault_rt_restorer

/* void userfault_rt_copy(void* to, const void* from, size_t words): 8 bytes at a time; a copy
 * whose faults can be told by their address. */
        .globl  userfault_rt_copy
        .hidden userfault_rt_copy
        .globl  userfault_rt_copy_end
        .hidden userfault_rt_copy_end
        .type   userfault_rt_copy, %function
userfault_rt_copy:
        .cfi_startproc
        bti     c
1:      cbz     x2, 2f
        ldr     x3, [x1], #8
        str     x3, [x0], #8
        sub     x2, x2, #1
        b       1b
2:      ret
        .cfi_endproc
userfault_rt_copy_end:
        .size   userfault_rt_copy, .-userfault_rt_copy

/* void userfault_rt_enter(base, handler, signal, context, record): never returns. `base` is the
 * siginfo, the lowest part of the frame; `record` the frame record {x29, x30} above it. The
 * interrupted registers are at context + 184. x18 belongs to the platform; x16 and x17 are scratch
 * at every call. */
        .globl  userfault_rt_enter
        .hidden userfault_rt_enter
        .type   userfault_rt_enter, %function
userfault_rt_enter:
        .cfi_startproc
        .cfi_undefined x30
        mov     sp, x0
        mov     x16, x1
        mov     x29, x4
        mov     x1, x0
        mov     w0, w2
        mov     x2, x3
        adrp    x30, userfault_rt_restorer
        add     x30, x30, :lo12:userfault_rt_restorer
        add     x17, x2, #184
        ldp     x3, x4, [x17, #24]
        ldp     x5, x6, [x17, #40]
        ldp     x7, x8, [x17, #56]
        ldp     x9, x10, [x17, #72]
        ldp     x11, x12, [x17, #88]
        ldp     x13, x14, [x17, #104]
        ldr     x15, [x17, #120]
        ldp     x19, x20, [x17, #152]
        ldp     x21, x22, [x17, #168]
        ldp     x23, x24, [x17, #184]
        ldp     x25, x26, [x17, #200]
        ldp     x27, x28, [x17, #216]
        br      x16
        .cfi_endproc
        .size   userfault_rt_enter, .-userfault_rt_enter

        .section .note.GNU-stack, "", %progbits
