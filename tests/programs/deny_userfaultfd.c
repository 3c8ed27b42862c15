/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deny-userfaultfd [--old-kernel] [--user UID] PROGRAM ARGUMENT...: runs PROGRAM where the kernel's userfaultfd
 * does not exist for it, and proves that nobody asked for it.
 *
 * A seccomp filter kills the whole process, with SIGSYS, on userfaultfd(2) and on
 * USERFAULTFD_IOC_NEW, whatever the descriptor. Killing rather than refusing: a test that passes
 * under this filter cannot have used the kernel's by a way that nobody thought of. The node
 * /dev/userfaultfd stays visible but cannot be opened: in a private mount namespace it is bound over
 * itself with `nodev`, which holds for root too (mount(8)). Without root the node's own mode has to
 * refuse, and this program checks that it does.
 *
 * --old-kernel: besides, what came with Linux 5.14 and later and the user engine has a use for is answered as
 * an older kernel answers it: MADV_POPULATE_*, guard pages, PROCMAP_QUERY and PAGEMAP_SCAN.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEVICE "/dev/userfaultfd"
#define DEVICE_IOC_NEW 0xAA00u
#define X32_BIT 0x40000000u

static void die(const char *what) {
  fprintf(stderr, "deny-userfaultfd: %s: %s\n", what, strerror(errno));
  exit(125);
}

#ifdef __x86_64__
#define NATIVE AUDIT_ARCH_X86_64
#else
#define NATIVE AUDIT_ARCH_AARCH64
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, value)

/* What is compiled for another table (i386) is killed at its first call: no user engine can serve it,
 * so it may not be mistaken for a program that passed. */
static void install_filter(void) {
  struct sock_filter filter[] = {
      LOAD(arch),
      EQUAL(NATIVE, 0, 6),
      LOAD(nr),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~X32_BIT),
      EQUAL(SYS_userfaultfd, 3, 0),
      EQUAL(SYS_ioctl, 0, 3),
      LOAD(args[1]),
      EQUAL(DEVICE_IOC_NEW, 0, 1),
      ANSWER(SECCOMP_RET_KILL_PROCESS),
      ANSWER(SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("PR_SET_NO_NEW_PRIVS");
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) die("seccomp filter");
}

/* The numbers are newer than the headers of some systems. */
#define POPULATE_READ 22
#define POPULATE_WRITE 23
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103
#define PROCMAP_QUERY 0xc0686611u
#define PAGEMAP_SCAN 0xc0606610u

static void hide_what_is_newer(void) {
  struct sock_filter filter[] = {
      LOAD(nr),
      EQUAL(SYS_madvise, 0, 6),
      LOAD(args[2]),
      EQUAL(POPULATE_READ, 3, 0),
      EQUAL(POPULATE_WRITE, 2, 0),
      EQUAL(GUARD_INSTALL, 1, 0),
      EQUAL(GUARD_REMOVE, 0, 6),
      ANSWER(SECCOMP_RET_ERRNO | EINVAL),
      EQUAL(SYS_ioctl, 0, 4),
      LOAD(args[1]),
      EQUAL(PROCMAP_QUERY, 1, 0),
      EQUAL(PAGEMAP_SCAN, 0, 1),
      ANSWER(SECCOMP_RET_ERRNO | ENOTTY),
      ANSWER(SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) die("seccomp filter");
}

static void deny_device(void) {
  struct stat status;
  if (stat(DEVICE, &status) && errno == ENOENT) return;
  if (geteuid() == 0) {
    if (unshare(CLONE_NEWNS)) die("a mount namespace of its own");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) die("making mounts private");
    if (mount(DEVICE, DEVICE, NULL, MS_BIND, NULL)) die("binding " DEVICE);
    if (mount(NULL, DEVICE, NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL)) die("nodev on " DEVICE);
  }
  if (open(DEVICE, O_RDWR | O_CLOEXEC) >= 0) {
    fprintf(stderr, "deny-userfaultfd: " DEVICE " can still be opened; run this as root\n");
    exit(125);
  }
}

static void become(const char *text) {
  const uid_t id = (uid_t)strtoul(text, NULL, 10);
  if (setgroups(0, NULL)) die("setgroups");
  if (setresgid(id, id, id)) die("setresgid");
  if (setresuid(id, id, id)) die("setresuid");
}

int main(int argc, char **argv) {
  int first = 1;
  const char *user = NULL;
  const int old_kernel = argc > 1 && !strcmp(argv[1], "--old-kernel");
  if (old_kernel) ++first;
  if (argc > first + 1 && !strcmp(argv[first], "--user")) {
    user = argv[first + 1];
    first += 2;
  }
  if (first >= argc) {
    fprintf(stderr, "usage: deny-userfaultfd [--old-kernel] [--user UID] PROGRAM ARGUMENT...\n");
    return 125;
  }
  deny_device();
  if (user) become(user);
  install_filter();
  if (old_kernel) hide_what_is_newer();
  execvp(argv[first], argv + first);
  die(argv[first]);
}
