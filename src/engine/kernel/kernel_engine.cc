// SPDX-License-Identifier: Apache-2.0
#include "engine/kernel/kernel_engine.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "engine/kernel/in_thread.h"
#include "engine/open_methods.h"

namespace userfault::engine::kernel {
namespace {

// Debian 12's headers know the number; older ones may not. It is fixed for good in the ABI: one for
// x86-64, one for the architectures with the generic table.
#if defined(SYS_userfaultfd)
constexpr long kSysUserfaultfd = SYS_userfaultfd;
#elif defined(__x86_64__)
constexpr long kSysUserfaultfd = 323;
#else
constexpr long kSysUserfaultfd = 282;
#endif

template <typename T>
T negated(T result) noexcept {
  return result < 0 ? static_cast<T>(-errno) : result;
}

std::intptr_t negated_address(void* result) noexcept {
  return result == MAP_FAILED ? -errno : reinterpret_cast<std::intptr_t>(result);
}

void* pointer(std::uintptr_t address) noexcept { return reinterpret_cast<void*>(address); }

bool worth_another_door(int error) noexcept {
  return error == -ENOENT || error == -EACCES || error == -EPERM || error == -ENOSYS || error == -ENODEV ||
         error == -ENXIO;
}

}  // namespace

int open_by_syscall(int flags) noexcept { return negated(static_cast<int>(::syscall(kSysUserfaultfd, flags))); }

int open_by_device(int flags) noexcept {
  const base::Fd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (!device.valid()) return -errno;
  return negated(::ioctl(device.get(), USERFAULT_DEV_IOC_NEW, flags));
}

// userfaultfd(2) first: it is the method that every kernel since 4.3 has. The device ignores the
// sysctl (Linux 6.1), so it is worth trying after EPERM; what it refuses in turn says less than the
// first answer, which is the one that is returned.
int KernelEngine::open(int flags) noexcept {
  const int by_syscall = open_through(OpenMethod::kSyscall, flags);
  if (!worth_another_door(by_syscall)) return by_syscall;
  const int by_device = open_through(OpenMethod::kDevice, flags);
  return by_device >= 0 ? by_device : by_syscall;
}

bool KernelEngine::owns(int fd) const noexcept {
  char link[32];
  char target[64];
  // Not snprintf: this may be asked inside a signal handler.
  char digits[12];
  int count = 0;
  if (fd < 0) return false;
  for (unsigned rest = static_cast<unsigned>(fd); count == 0 || rest != 0; rest /= 10)
    digits[count++] = static_cast<char>('0' + rest % 10);
  std::memcpy(link, "/proc/self/fd/", 14);
  for (int i = 0; i < count; ++i) link[14 + i] = digits[count - 1 - i];
  link[14 + count] = '\0';
  constexpr char kName[] = "anon_inode:[userfaultfd]";
  const ssize_t length = ::readlink(link, target, sizeof target);
  return length == sizeof kName - 1 && std::memcmp(target, kName, sizeof kName - 1) == 0;
}

int KernelEngine::operate(int fd, unsigned long request, void* argument) noexcept {
  return operate_and_note(fd, request, argument);
}

ssize_t KernelEngine::read(int fd, void* buffer, std::size_t bytes) noexcept {
  return negated(::read(fd, buffer, bytes));
}

ssize_t KernelEngine::read_now(int fd, void* buffer, std::size_t bytes) noexcept {
  const iovec vector{buffer, bytes};
  return negated(::preadv2(fd, &vector, 1, -1, RWF_NOWAIT));
}

short KernelEngine::poll_events(int, short, short reported) noexcept { return reported; }

int KernelEngine::close(int fd) noexcept {
  note_closed(fd);
  return negated(::close(fd));
}

std::intptr_t KernelEngine::mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd,
                                 off_t offset) noexcept {
  const std::intptr_t mapped = negated_address(::mmap(pointer(start), length, protection, flags, fd, offset));
  if (mapped >= 0) note_unmapped(static_cast<std::uintptr_t>(mapped), length);
  return mapped;
}

int KernelEngine::munmap(std::uintptr_t start, std::size_t length) noexcept {
  const int result = negated(::munmap(pointer(start), length));
  if (result == 0) note_unmapped(start, length);
  return result;
}

std::intptr_t KernelEngine::mremap(std::uintptr_t from, std::size_t old_length, std::size_t new_length, int flags,
                                   std::uintptr_t to) noexcept {
  const std::intptr_t moved = negated_address(::mremap(pointer(from), old_length, new_length, flags, pointer(to)));
  if (moved >= 0) note_moved(from, old_length, static_cast<std::uintptr_t>(moved), new_length);
  return moved;
}

int KernelEngine::madvise(std::uintptr_t start, std::size_t length, int advice) noexcept {
  return negated(::madvise(pointer(start), length, advice));
}

int KernelEngine::mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept {
  return negated(::mprotect(pointer(start), length, protection));
}

pid_t KernelEngine::fork() noexcept { return negated(::fork()); }

long KernelEngine::scan(userfault_scan* scan) noexcept {
  const base::Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return -errno;
  return negated(static_cast<long>(::ioctl(pagemap.get(), USERFAULT_PAGEMAP_SCAN, scan)));
}

int KernelEngine::set_in_thread(int fd, InThreadHandler handler, void* context) noexcept {
  return set_in_thread_handler(fd, handler, context);
}

}  // namespace userfault::engine::kernel
