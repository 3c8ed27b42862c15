/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall(3). A number that userfault_preload_taken has a bit for goes to userfault_preload_syscall,
 * with registers and stack as they came (the seventh argument lies on the stack in both). Any other
 * system call is made here, on the caller's stack and with no frame of ours, because a call such as
 * SYS_clone returns twice, perhaps on a stack that holds nothing but the return address. Of SYS_clone
 * (56) itself those that copy the memory (without CLONE_VM, 0x100) and the stack are ours, and so of
 * SYS_clone3 (435).
 */
  .text
  .globl syscall
  .type syscall, @function
  .balign 16
syscall:
  .cfi_startproc
  endbr64
  cmpq $1024, %rdi
  jae 1f
  leaq userfault_preload_taken(%rip), %rax
  btq %rdi, (%rax)
  jnc 1f
  cmpq $435, %rdi
  je 4f
  cmpq $56, %rdi
  jne 3f
  testl $0x100, %esi
  jnz 1f
  testq %rdx, %rdx
  jnz 1f
3:
  jmp userfault_preload_syscall
4:
  /* clone3: flags are first in its struct, the stack is at 40. */
  cmpq $64, %rdx
  jb 1f
  testq %rsi, %rsi
  jz 1f
  testl $0x100, (%rsi)
  jnz 1f
  cmpq $0, 40(%rsi)
  je 3b
1:
  movq %rdi, %rax
  movq %rsi, %rdi
  movq %rdx, %rsi
  movq %rcx, %rdx
  movq %r8, %r10
  movq %r9, %r8
  movq 8(%rsp), %r9
  syscall
  cmpq $-4095, %rax
  jae 2f
  ret
2:
  negl %eax
  pushq %rax
  .cfi_adjust_cfa_offset 8
  call __errno_location@PLT
  popq %rdx
  .cfi_adjust_cfa_offset -8
  movl %edx, (%rax)
  movq $-1, %rax
  ret
  .cfi_endproc
  .size syscall, . - syscall
  .section .note.GNU-stack, "", @progbits
