/* SPDX-License-Identifier: Apache-2.0 */
/* The same as minimal.cc in C: memory that is filled when it is first read. Errors end it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "userfault/userfault.h"

static int fd;
static size_t page_size;

static void check(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static void *monitor(void *unused) {
  char *page = malloc(page_size);
  check(page != NULL, "malloc");
  memset(page, '!', page_size);
  for (;;) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    check(userfault_poll(&entry, 1, -1) > 0, "poll");
    struct userfault_msg message;
    if (userfault_read(fd, &message, sizeof message) != (ssize_t)sizeof message) continue;
    if (message.event != USERFAULT_EVENT_PAGEFAULT) continue;
    void *to = (void *)(uintptr_t)(message.arg.pagefault.address & ~(uint64_t)(page_size - 1));
    check(userfault_ioctl_copy(fd, to, page, page_size, 0, NULL) == 0, "copy");
  }
  return unused;
}

int main(void) {
  const size_t length = 1 << 20;
  page_size = (size_t)sysconf(_SC_PAGESIZE);
  fd = userfault_open(USERFAULT_ENGINE_AUTO, O_CLOEXEC | O_NONBLOCK);
  /* An unprivileged process may serve its own accesses, if not those of the kernel for it. */
  if (fd < 0) fd = userfault_open(USERFAULT_ENGINE_AUTO, O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY);
  check(fd >= 0, "open");
  check(userfault_ioctl_api(fd, 0, NULL, NULL) == 0, "api");
  char *memory = userfault_mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  check(userfault_ioctl_register(fd, memory, length, USERFAULT_REGISTER_MODE_MISSING, NULL) == 0, "register");
  pthread_t thread;
  check(pthread_create(&thread, NULL, monitor, NULL) == 0, "pthread_create");
  printf("%c\n", *(volatile char *)(memory + 4711));
  return 0;
}
