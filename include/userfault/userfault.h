/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C interface: userfaultfd at the level of the system calls, over the kernel's own engine or
 * over ours, for C and for every language that can call C. C++ has <userfault/descriptor.h>.
 *
 * All functions return -1 (or MAP_FAILED) and set errno as the system call of the same name would,
 * and may be called from any thread. The structs and numbers are those of <userfault/abi.h>.
 *
 * A descriptor is a real file descriptor: poll, epoll and select understand it. Which engine it
 * belongs to is found from the number; close it with userfault_close().
 */
#pragma once

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "userfault/abi.h"
#include "userfault/export.h"

#ifdef __cplusplus
extern "C" {
#endif

enum userfault_engine {
  USERFAULT_ENGINE_AUTO = 0,   /* the kernel's where it opens, else ours */
  USERFAULT_ENGINE_KERNEL = 1, /* the kernel's, or fail */
  USERFAULT_ENGINE_USER = 2,   /* ours, in user space */
};

/*
 * A new descriptor. `flags`: O_CLOEXEC, O_NONBLOCK, USERFAULT_USER_MODE_ONLY; another bit: EINVAL.
 * The kernel engine tries userfaultfd(2), then /dev/userfaultfd. EPERM, EACCES, ENOSYS: refused
 * (`userfault doctor` says by whom); EMFILE, ENFILE, ENOMEM. The user engine: EPERM in a child of a
 * clone(2) that libc does not know of, whose process used it before; fork(2) such a child instead.
 *
 * USERFAULT_FEATURE_EVENT_FORK needs CAP_SYS_PTRACE on both engines. On the user engine, where it
 * guards nothing, USERFAULT_EVENT_FORK=unprivileged in the environment lifts that.
 */
USERFAULT_EXPORT int userfault_open(enum userfault_engine engine, int flags);
/* Which engine a descriptor belongs to; EBADF when it is none. */
USERFAULT_EXPORT int userfault_engine_of(int fd);
/* ioctl(2) on it: any USERFAULT_IOC_*. 0, or -1 with the errno of ioctl_userfaultfd(2). */
USERFAULT_EXPORT int userfault_ioctl(int fd, unsigned long request, void *argument);
/* read(2) on it: whole messages. Bytes read; EINVAL below 32 bytes, EAGAIN with O_NONBLOCK. */
USERFAULT_EXPORT ssize_t userfault_read(int fd, void *buffer, size_t bytes);
/* poll(2), with the kernel's rules for a userfaultfd on either engine: POLLERR on one that blocks
 * or that has not had USERFAULT_IOC_API. */
USERFAULT_EXPORT int userfault_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
/* fcntl(2) F_GETFL and F_SETFL are enough for O_NONBLOCK; dup(2) and inheritance work as usual. */
USERFAULT_EXPORT int userfault_close(int fd);

/* The ten operations without their structs. `done`, where it is not NULL, gets the output field:
 * bytes done or a negated errno; after EINVAL from the argument checks it is 0. */
USERFAULT_EXPORT int userfault_ioctl_api(int fd, uint64_t features, uint64_t *features_out, uint64_t *ioctls_out);
USERFAULT_EXPORT int userfault_ioctl_register(int fd, void *start, size_t length, uint64_t mode, uint64_t *ioctls_out);
USERFAULT_EXPORT int userfault_ioctl_unregister(int fd, void *start, size_t length);
USERFAULT_EXPORT int userfault_ioctl_copy(int fd, void *to, const void *from, size_t length, uint64_t mode,
                                          int64_t *done);
USERFAULT_EXPORT int userfault_ioctl_zeropage(int fd, void *start, size_t length, uint64_t mode, int64_t *done);
USERFAULT_EXPORT int userfault_ioctl_wake(int fd, void *start, size_t length);
USERFAULT_EXPORT int userfault_ioctl_writeprotect(int fd, void *start, size_t length, uint64_t mode);
USERFAULT_EXPORT int userfault_ioctl_continue(int fd, void *start, size_t length, uint64_t mode, int64_t *done);
USERFAULT_EXPORT int userfault_ioctl_poison(int fd, void *start, size_t length, uint64_t mode, int64_t *done);
USERFAULT_EXPORT int userfault_ioctl_move(int fd, void *to, void *from, size_t length, uint64_t mode, int64_t *done);

/*
 * Changes of the memory layout. The kernel engine needs none of these (each is the plain system
 * call); the user engine has to be told, and these tell it: whoever changes memory that is
 * registered with the user engine calls them instead. They do what the system call of that name
 * does, raise the events that were asked for, and block until the monitor has read them.
 * userfault_mremap takes `to` only with MREMAP_FIXED, else pass NULL.
 */
USERFAULT_EXPORT void *userfault_mmap(void *start, size_t length, int protection, int flags, int fd, off_t offset);
USERFAULT_EXPORT int userfault_munmap(void *start, size_t length);
USERFAULT_EXPORT void *userfault_mremap(void *from, size_t old_length, size_t new_length, int flags, void *to);
USERFAULT_EXPORT int userfault_madvise(void *start, size_t length, int advice);
USERFAULT_EXPORT int userfault_mprotect(void *start, size_t length, int protection);
USERFAULT_EXPORT pid_t userfault_fork(void);

/* PAGEMAP_SCAN of the calling process, seen through whichever engine has the range. The count of
 * regions written to vec, or -1. ENOTTY: a kernel before 6.7 and the range is not the user
 * engine's. */
USERFAULT_EXPORT long userfault_pagemap_scan(struct userfault_scan *scan);

/*
 * In-thread resolution: `handler` runs in the thread that faulted, inside a signal handler, instead
 * of a message to a reader. The kernel's engine needs USERFAULT_FEATURE_SIGBUS to have been enabled
 * on `fd`; on ours the call turns it on. `fault` is the message that a reader would have got.
 *
 * The handler returns nonzero when the access may be tried again, and 0 when the thread shall get
 * SIGBUS: then the program's own handler, or the default action, follows. It may call, on `fd`, the
 * filling operations, WAKE and WRITEPROTECT, any async-signal-safe function (signal-safety(7)), and
 * touch memory that is not itself missing. It may not REGISTER or UNREGISTER, and must not throw
 * or leave by longjmp. Several threads may be in it at once; errno is kept for the code that
 * faulted. It needs room on the stack: an alternate one (sigaltstack(2)) is used where there is one.
 * Once a descriptor has poisoned pages through this library, what is poisoned is not handed to it.
 *
 * NULL ends it; a thread that is in the handler finishes it. One handler a descriptor, for ranges
 * registered through this library under the same number, and in this process only: a child of fork
 * is not served. SIGBUS is taken when the first handler is set: a program that installs a handler of
 * its own for SIGBUS does so before that. EINVAL: before USERFAULT_IOC_API, or without
 * FEATURE_SIGBUS on the kernel's engine. ENOMEM. EBADF (user engine).
 */
typedef int (*userfault_handler)(void *context, int fd, const struct userfault_msg *fault);
USERFAULT_EXPORT int userfault_in_thread(int fd, userfault_handler handler, void *context);

#ifdef __cplusplus
}
#endif
