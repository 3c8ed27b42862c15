/* SPDX-License-Identifier: Apache-2.0 */
/* The C headers in a strictly conforming C99 program, and every C function called from C. */
#include "userfault/abi.h"
#include "userfault/userfault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int failures;

static void expect(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "FAILED: %s (errno %d, %s)\n", what, errno, strerror(errno));
  ++failures;
}

/* The descriptor -1 belongs to nobody: each call has to say so, and none may crash. */
static void every_operation_refuses_a_bad_descriptor(void *page, size_t size) {
  struct userfault_api api = {0, 0, 0};
  struct userfault_msg message;
  int64_t done = 7;
  uint64_t word = 7;
  expect(userfault_engine_of(-1) == -1 && errno == EBADF, "engine_of");
  expect(userfault_ioctl(-1, USERFAULT_IOC_API, &api) == -1 && errno == EBADF, "ioctl");
  expect(userfault_read(-1, &message, sizeof message) == -1 && errno == EBADF, "read");
  expect(userfault_close(-1) == -1 && errno == EBADF, "close");
  expect(userfault_ioctl_api(-1, 0, &word, NULL) == -1 && errno == EBADF, "ioctl_api");
  expect(userfault_ioctl_register(-1, page, size, USERFAULT_REGISTER_MODE_MISSING, NULL) == -1 && errno == EBADF,
         "ioctl_register");
  expect(userfault_ioctl_unregister(-1, page, size) == -1 && errno == EBADF, "ioctl_unregister");
  expect(userfault_ioctl_copy(-1, page, page, size, 0, &done) == -1 && errno == EBADF, "ioctl_copy");
  expect(userfault_ioctl_zeropage(-1, page, size, 0, NULL) == -1 && errno == EBADF, "ioctl_zeropage");
  expect(userfault_ioctl_wake(-1, page, size) == -1 && errno == EBADF, "ioctl_wake");
  expect(userfault_ioctl_writeprotect(-1, page, size, 0) == -1 && errno == EBADF, "ioctl_writeprotect");
  expect(userfault_ioctl_continue(-1, page, size, 0, &done) == -1 && errno == EBADF, "ioctl_continue");
  expect(userfault_ioctl_poison(-1, page, size, 0, &done) == -1 && errno == EBADF, "ioctl_poison");
  expect(userfault_ioctl_move(-1, page, page, size, 0, &done) == -1 && errno == EBADF, "ioctl_move");
}

static void layout_calls_are_the_system_calls(size_t size) {
  const int both = PROT_READ | PROT_WRITE;
  char *memory = userfault_mmap(NULL, 2 * size, both, 0x22 /* MAP_PRIVATE | MAP_ANONYMOUS, not in C99 */, -1, 0);
  expect(memory != MAP_FAILED, "mmap");
  memory[0] = 1;
  expect(userfault_mprotect(memory + size, size, PROT_READ) == 0, "mprotect");
  expect(userfault_madvise(memory, size, 4 /* MADV_DONTNEED */) == 0 && memory[0] == 0, "madvise");
  expect(userfault_mremap(memory, 2 * size, size, 0, NULL) == memory, "mremap");
  expect(userfault_munmap(memory, size) == 0, "munmap");
  expect(userfault_munmap(memory + 1, size) == -1 && errno == EINVAL, "munmap of an unaligned address");
}

int main(void) {
  const size_t size = (size_t)sysconf(_SC_PAGESIZE);
  struct pollfd nothing = {-1, POLLIN, 7};
  char buffer[1];
  expect(sizeof(struct userfault_msg) == 32, "struct userfault_msg has 32 bytes");
  expect(userfault_open(USERFAULT_ENGINE_KERNEL, 1 << 30) == -1, "open with an unknown flag");
  expect(userfault_poll(&nothing, 1, 0) == 0 && nothing.revents == 0, "poll of no descriptor");
  every_operation_refuses_a_bad_descriptor(buffer, size);
  layout_calls_are_the_system_calls(size);
  return failures != 0;
}
