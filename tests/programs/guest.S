/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that writes its memory all the time and notices when a page is wrong.
 *
 * A 32-bit multiboot image (Multiboot Specification 0.6.96) that `qemu-system-x86_64 -kernel` loads;
 * it needs no firmware service, no interrupt and no device but the first serial port. In round r it
 * walks over 96 MiB from 16 MiB on: each word must hold what round r-1 put there, and then gets
 *     address ^ (r * 0x9E3779B1)
 * so that a page that is zero, stale by one round, or from another place is found at once. After each
 * round it writes `R rrrrrrrr\n` to the port; a wrong word gives `BAD address found wanted\n` and the
 * guest stops. The state is in registers, so that a restored guest goes on in the middle of a round.
 *
 *   edi  the address    ebx  the round    esi  r * K    ebp  (r - 1) * K
 */
  .set FIRST, 0x01000000
  .set SIZE, 96 * 1024 * 1024
  .set K, 0x9E3779B1
  .set PORT, 0x3F8
  .set MAGIC, 0x1BADB002
  .set FLAGS, 0

  .section .text
  .code32
  .balign 4
  .long MAGIC, FLAGS, -(MAGIC + FLAGS)

  .globl start
start:
  cli
  cld
  mov $stack_end, %esp
  xor %ebx, %ebx
  xor %esi, %esi
  /* Round 0 only fills: what the firmware left there is not ours to check. */
  mov $FIRST, %edi
fill:
  mov %edi, (%edi)
  add $4, %edi
  cmp $(FIRST + SIZE), %edi
  jb fill
  mov $'R', %al
  call put_round

next_round:
  mov %esi, %ebp
  add $K, %esi
  inc %ebx
  mov $FIRST, %edi
word:
  mov %edi, %eax
  xor %ebp, %eax
  cmp %eax, (%edi)
  jne bad
  mov %edi, %eax
  xor %esi, %eax
  mov %eax, (%edi)
  add $4, %edi
  cmp $(FIRST + SIZE), %edi
  jb word
  mov $'R', %al
  call put_round
  jmp next_round

bad:
  mov %eax, %ebp
  mov (%edi), %esi
  mov $'B', %al
  call put_byte
  mov $'A', %al
  call put_byte
  mov $'D', %al
  call put_byte
  mov %edi, %edx
  call put_word
  mov %esi, %edx
  call put_word
  mov %ebp, %edx
  call put_word
  mov $'\n', %al
  call put_byte
stop:
  hlt
  jmp stop

/* al, the round and a line feed. */
put_round:
  call put_byte
  mov %ebx, %edx
  call put_word
  mov $'\n', %al
  jmp put_byte

/* A space and edx in hexadecimal. */
put_word:
  mov $' ', %al
  call put_byte
  mov $8, %ecx
1:
  rol $4, %edx
  mov %dl, %al
  and $15, %al
  cmp $10, %al
  sbb $0x69, %al
  das
  call put_byte
  loop 1b
  ret

/* al to the serial port, once the transmitter holds nothing (bit 5 of the line status). */
put_byte:
  push %edx
  push %eax
  mov $(PORT + 5), %dx
1:
  in (%dx), %al
  test $0x20, %al
  jz 1b
  pop %eax
  mov $PORT, %dx
  out %al, (%dx)
  pop %edx
  ret

  .section .bss
  .balign 16
  .skip 1024
stack_end:
