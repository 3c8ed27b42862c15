// SPDX-License-Identifier: Apache-2.0
// The C interface: one translation from the contract's -errno to errno for every function.
#include "userfault/userfault.h"

#include <sys/mman.h>

#include <cerrno>

#include "api/poll.h"
#include "engine/engine.h"

namespace {

using userfault::engine::engine_of;
using userfault::engine::kernel_engine;
using userfault::engine::layout_engine;
using userfault::engine::user_engine;

template <typename T>
T with_errno(T result) {
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}

void* address_with_errno(std::intptr_t result) {
  if (result >= 0) return reinterpret_cast<void*>(result);
  errno = static_cast<int>(-result);
  return MAP_FAILED;
}

std::uintptr_t number(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

int operate(int fd, unsigned long request, void* argument) {
  return with_errno(userfault::engine::operate(fd, request, argument));
}

}  // namespace

int userfault_open(userfault_engine engine, int flags) {
  if (engine == USERFAULT_ENGINE_USER) return with_errno(user_engine().open(flags));
  const int kernel = kernel_engine().open(flags);
  if (kernel >= 0 || engine == USERFAULT_ENGINE_KERNEL) return with_errno(kernel);
  const int user = user_engine().open(flags);
  return with_errno(user >= 0 ? user : kernel);
}

int userfault_engine_of(int fd) {
  if (user_engine().owns(fd)) return USERFAULT_ENGINE_USER;
  if (kernel_engine().owns(fd)) return USERFAULT_ENGINE_KERNEL;
  errno = EBADF;
  return -1;
}

int userfault_ioctl(int fd, unsigned long request, void* argument) { return operate(fd, request, argument); }

ssize_t userfault_read(int fd, void* buffer, size_t bytes) {
  return with_errno(userfault::engine::read(fd, buffer, bytes));
}

int userfault_close(int fd) { return with_errno(engine_of(fd).close(fd)); }

int userfault_poll(pollfd* fds, nfds_t count, int timeout_ms) {
  return with_errno(userfault::api::poll({fds, count}, timeout_ms));
}

int userfault_ioctl_api(int fd, uint64_t features, uint64_t* features_out, uint64_t* ioctls_out) {
  userfault_api argument{USERFAULT_API, features, 0};
  const int result = operate(fd, USERFAULT_IOC_API, &argument);
  if (features_out != nullptr) *features_out = argument.features;
  if (ioctls_out != nullptr) *ioctls_out = argument.ioctls;
  return result;
}

int userfault_ioctl_register(int fd, void* start, size_t length, uint64_t mode, uint64_t* ioctls_out) {
  userfault_register argument{{number(start), length}, mode, 0};
  const int result = operate(fd, USERFAULT_IOC_REGISTER, &argument);
  if (ioctls_out != nullptr) *ioctls_out = argument.ioctls;
  return result;
}

int userfault_ioctl_unregister(int fd, void* start, size_t length) {
  userfault_range argument{number(start), length};
  return operate(fd, USERFAULT_IOC_UNREGISTER, &argument);
}

int userfault_ioctl_copy(int fd, void* to, const void* from, size_t length, uint64_t mode, int64_t* done) {
  userfault_copy argument{number(to), number(from), length, mode, 0};
  const int result = operate(fd, USERFAULT_IOC_COPY, &argument);
  if (done != nullptr) *done = argument.copy;
  return result;
}

int userfault_ioctl_zeropage(int fd, void* start, size_t length, uint64_t mode, int64_t* done) {
  userfault_zeropage argument{{number(start), length}, mode, 0};
  const int result = operate(fd, USERFAULT_IOC_ZEROPAGE, &argument);
  if (done != nullptr) *done = argument.zeropage;
  return result;
}

int userfault_ioctl_wake(int fd, void* start, size_t length) {
  userfault_range argument{number(start), length};
  return operate(fd, USERFAULT_IOC_WAKE, &argument);
}

int userfault_ioctl_writeprotect(int fd, void* start, size_t length, uint64_t mode) {
  userfault_writeprotect argument{{number(start), length}, mode};
  return operate(fd, USERFAULT_IOC_WRITEPROTECT, &argument);
}

int userfault_ioctl_continue(int fd, void* start, size_t length, uint64_t mode, int64_t* done) {
  userfault_continue argument{{number(start), length}, mode, 0};
  const int result = operate(fd, USERFAULT_IOC_CONTINUE, &argument);
  if (done != nullptr) *done = argument.mapped;
  return result;
}

int userfault_ioctl_poison(int fd, void* start, size_t length, uint64_t mode, int64_t* done) {
  userfault_poison argument{{number(start), length}, mode, 0};
  const int result = operate(fd, USERFAULT_IOC_POISON, &argument);
  if (done != nullptr) *done = argument.updated;
  return result;
}

int userfault_ioctl_move(int fd, void* to, void* from, size_t length, uint64_t mode, int64_t* done) {
  userfault_move argument{number(to), number(from), length, mode, 0};
  const int result = operate(fd, USERFAULT_IOC_MOVE, &argument);
  if (done != nullptr) *done = argument.move;
  return result;
}

void* userfault_mmap(void* start, size_t length, int protection, int flags, int fd, off_t offset) {
  return address_with_errno(layout_engine().mmap(number(start), length, protection, flags, fd, offset));
}

int userfault_munmap(void* start, size_t length) { return with_errno(layout_engine().munmap(number(start), length)); }

void* userfault_mremap(void* from, size_t old_length, size_t new_length, int flags, void* to) {
  return address_with_errno(layout_engine().mremap(number(from), old_length, new_length, flags, number(to)));
}

int userfault_madvise(void* start, size_t length, int advice) {
  return with_errno(layout_engine().madvise(number(start), length, advice));
}

int userfault_mprotect(void* start, size_t length, int protection) {
  return with_errno(layout_engine().mprotect(number(start), length, protection));
}

pid_t userfault_fork(void) { return with_errno(layout_engine().fork()); }

long userfault_pagemap_scan(userfault_scan* scan) { return with_errno(layout_engine().scan(scan)); }

int userfault_in_thread(int fd, userfault_handler handler, void* context) {
  return with_errno(engine_of(fd).set_in_thread(fd, handler, context));
}
