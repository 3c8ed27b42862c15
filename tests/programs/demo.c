/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program as userfaultfd(2) and ioctl_userfaultfd(2) describe them, with the system's headers and
 * nothing of ours: it must run on the kernel's userfaultfd and, unmodified, under `userfault run`.
 *
 * What it goes through: the handshake, missing faults of reads and writes from several threads that
 * a handler thread answers with UFFDIO_COPY and UFFDIO_ZEROPAGE, write-protect faults, a page that
 * was given back (UFFD_EVENT_REMOVE), a wake without a page, unregistering, and a descriptor that is
 * closed while memory is registered. It checks every byte, prints one line a part, and exits 1 with a
 * line on standard error at the first wrong one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kPages = 256, kThreads = 4 };

struct demo {
  int uffd;
  int stop[2]; /* a pipe: closing the write end ends the handler */
  size_t page;
  unsigned char *memory;
  _Atomic unsigned missing, writes, protects, removes; /* written by the handler */
};

static void fail(const char *what) {
  fprintf(stderr, "demo: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void require(int truth, const char *what) {
  if (truth) return;
  fprintf(stderr, "demo: wrong: %s\n", what);
  exit(1);
}

/* What a page must hold. Every eighth is left to UFFDIO_ZEROPAGE. */
static unsigned char pattern(size_t page) { return page % 8 == 7 ? 0 : (unsigned char)(page * 37 + 1); }

static void fill(struct demo *demo, uint64_t address) {
  const size_t index = (address - (uintptr_t)demo->memory) / demo->page;
  static _Thread_local unsigned char source[65536];
  if (pattern(index) == 0) {
    struct uffdio_zeropage zero = {.range = {address, demo->page}};
    if (ioctl(demo->uffd, UFFDIO_ZEROPAGE, &zero) && errno != EEXIST) fail("UFFDIO_ZEROPAGE");
    return;
  }
  memset(source, pattern(index), demo->page);
  struct uffdio_copy copy = {.dst = address, .src = (uintptr_t)source, .len = demo->page};
  if (!ioctl(demo->uffd, UFFDIO_COPY, &copy)) {
    require(copy.copy == (int64_t)demo->page, "the bytes that UFFDIO_COPY reports");
    return;
  }
  if (errno != EEXIST) fail("UFFDIO_COPY");
  /* Another thread's fault on the same page was answered first. This one still has to be woken. */
  struct uffdio_range range = {address, demo->page};
  if (ioctl(demo->uffd, UFFDIO_WAKE, &range)) fail("UFFDIO_WAKE");
}

static void protect(struct demo *demo, void *start, size_t length, int on) {
  struct uffdio_writeprotect change = {.range = {(uintptr_t)start, length},
                                       .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
  if (ioctl(demo->uffd, UFFDIO_WRITEPROTECT, &change)) fail("UFFDIO_WRITEPROTECT");
}

static void answer(struct demo *demo, const struct uffd_msg *message) {
  if (message->event == UFFD_EVENT_REMOVE) {
    ++demo->removes;
    return;
  }
  require(message->event == UFFD_EVENT_PAGEFAULT, "the kind of a message");
  const uint64_t flags = message->arg.pagefault.flags;
  const uint64_t address = message->arg.pagefault.address & ~(uint64_t)(demo->page - 1);
  if (flags & UFFD_PAGEFAULT_FLAG_WP) {
    ++demo->protects;
    protect(demo, (void *)(uintptr_t)address, demo->page, 0);
    return;
  }
  ++demo->missing;
  if (flags & UFFD_PAGEFAULT_FLAG_WRITE) ++demo->writes;
  fill(demo, address);
}

static void *handle(void *argument) {
  struct demo *demo = argument;
  struct pollfd fds[2] = {{.fd = demo->uffd, .events = POLLIN}, {.fd = demo->stop[0], .events = POLLIN}};
  for (;;) {
    if (poll(fds, 2, -1) < 0) fail("poll");
    if (fds[1].revents) return NULL;
    require(fds[0].revents == POLLIN, "what poll reports");
    struct uffd_msg messages[4];
    const ssize_t bytes = read(demo->uffd, messages, sizeof messages);
    if (bytes < 0 && errno == EAGAIN) continue; /* The fault was resolved before it was read. */
    if (bytes < 0) fail("read");
    require(bytes > 0 && bytes % (ssize_t)sizeof messages[0] == 0, "the size of what was read");
    for (size_t i = 0; i < (size_t)bytes / sizeof messages[0]; ++i) answer(demo, &messages[i]);
  }
}

static void *touch(void *argument) {
  struct demo *demo = argument;
  for (size_t i = 0; i < kPages; ++i)
    for (size_t at = 0; at < demo->page; at += 512)
      require(demo->memory[i * demo->page + at] == pattern(i), "a byte of a page that was asked for");
  return NULL;
}

static void open_and_register(struct demo *demo) {
  demo->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
  if (demo->uffd < 0) fail("userfaultfd");
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_REMOVE};
  if (ioctl(demo->uffd, UFFDIO_API, &api)) fail("UFFDIO_API");
  demo->memory = mmap(NULL, kPages * demo->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (demo->memory == MAP_FAILED) fail("mmap");
  struct uffdio_register range = {.range = {(uintptr_t)demo->memory, kPages * demo->page},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};
  if (ioctl(demo->uffd, UFFDIO_REGISTER, &range)) fail("UFFDIO_REGISTER");
  require(range.ioctls & (UINT64_C(1) << _UFFDIO_COPY), "UFFDIO_COPY is offered");
  require(range.ioctls & (UINT64_C(1) << _UFFDIO_WRITEPROTECT), "UFFDIO_WRITEPROTECT is offered");
}

static void missing_part(struct demo *demo) {
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i)
    if (pthread_create(&threads[i], NULL, touch, demo)) fail("pthread_create");
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
  require(demo->missing >= kPages, "every page was asked for");
  printf("missing: %d pages right in %d threads\n", kPages, kThreads);
}

static void protect_part(struct demo *demo) {
  protect(demo, demo->memory, kPages * demo->page, 1);
  for (size_t i = 0; i < kPages; ++i) demo->memory[i * demo->page + 5] = 0xEE;
  for (size_t i = 0; i < kPages; ++i) require(demo->memory[i * demo->page + 5] == 0xEE, "a write to a protected page");
  require(demo->protects == kPages, "one write-protect message a page");
  printf("write-protect: %d messages\n", kPages);
}

static void remove_part(struct demo *demo) {
  const unsigned before = demo->missing;
  if (madvise(demo->memory, 16 * demo->page, MADV_DONTNEED)) fail("madvise");
  demo->memory[3 * demo->page] = 9;
  /* The handler counted the event before it answered the fault that came after it. */
  require(demo->removes == 1, "the event of madvise");
  require(demo->missing == before + 1 && demo->writes >= 1, "a removed page is asked for again, by a write");
  require(demo->memory[3 * demo->page + 1] == pattern(3), "a removed page has its contents again");
  printf("remove: the page came back\n");
}

static void system_call_part(struct demo *demo) {
  /* With UFFD_USER_MODE_ONLY a system call that meets a missing page fails with EFAULT. */
  const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (zero < 0) fail("/dev/zero");
  require(read(zero, demo->memory + 10 * demo->page, 8) == -1 && errno == EFAULT, "EFAULT with USER_MODE_ONLY");
  require(read(zero, demo->memory + 40 * demo->page, 8) == 8, "a system call on a page that is there");
  close(zero);
  printf("system calls: as with UFFD_USER_MODE_ONLY\n");
}

static void unregister_part(struct demo *demo) {
  struct uffdio_range range = {(uintptr_t)demo->memory, 16 * demo->page};
  if (ioctl(demo->uffd, UFFDIO_UNREGISTER, &range)) fail("UFFDIO_UNREGISTER");
  require(demo->memory[12 * demo->page] == 0, "a missing page that is no longer registered is zero");
  require(demo->memory[3 * demo->page] == 9, "unregistering keeps what is there");
  printf("unregister: plain memory again\n");
}

int main(void) {
  struct demo demo = {.page = (size_t)sysconf(_SC_PAGESIZE)};
  if (pipe2(demo.stop, O_CLOEXEC)) fail("pipe2");
  open_and_register(&demo);
  pthread_t handler;
  if (pthread_create(&handler, NULL, handle, &demo)) fail("pthread_create");
  missing_part(&demo);
  protect_part(&demo);
  remove_part(&demo);
  system_call_part(&demo);
  unregister_part(&demo);
  close(demo.stop[1]);
  pthread_join(handler, NULL);
  if (close(demo.uffd)) fail("close");
  require(demo.memory[14 * demo.page] == 0, "memory after the descriptor is closed");
  printf("closed: done\n");
  return 0;
}
