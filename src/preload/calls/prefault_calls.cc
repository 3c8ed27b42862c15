// SPDX-License-Identifier: Apache-2.0
// Calls that take or give a path or a struct and do nothing when they fail: made again once the page was
// touched. Those that have done something by then (a connection taken, a child reaped, data received) have
// their memory brought first.
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "preload/open/userfaultfd.h"
#include "preload/repair/repair.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault::preload;

namespace {

// What a socket writes: as much as `length`, which it reads, says.
void bring_address(const void* address, const socklen_t* length) noexcept {
  if (length == nullptr || !active()) return;
  bring(Access::kWrite, length, sizeof *length);
  bring(Access::kWrite, address, *length);
}

}  // namespace

USERFAULT_PRELOADED int access(const char* path, int mode) noexcept {
  if ((mode & X_OK) == 0 && wants_stand_in(AT_FDCWD, path)) return 0;
  return retried<Name::access>(path, mode);
}
USERFAULT_PRELOADED int faccessat(int directory, const char* path, int mode, int flags) noexcept {
  if ((mode & X_OK) == 0 && wants_stand_in(directory, path)) return 0;
  return retried<Name::faccessat>(directory, path, mode, flags);
}
USERFAULT_PRELOADED int chdir(const char* path) noexcept { return retried<Name::chdir>(path); }
USERFAULT_PRELOADED int mkdir(const char* path, mode_t mode) noexcept { return retried<Name::mkdir>(path, mode); }
USERFAULT_PRELOADED int rmdir(const char* path) noexcept { return retried<Name::rmdir>(path); }
USERFAULT_PRELOADED int unlink(const char* path) noexcept { return retried<Name::unlink>(path); }
USERFAULT_PRELOADED int rename(const char* from, const char* to) noexcept { return retried<Name::rename>(from, to); }
USERFAULT_PRELOADED ssize_t readlinkat(int directory, const char* path, char* target, size_t bytes) noexcept {
  return retried<Name::readlinkat>(directory, path, target, bytes);
}
USERFAULT_PRELOADED int statx(int directory, const char* path, int flags, unsigned mask,
                              struct statx* status) noexcept {
  return retried<Name::statx>(directory, path, flags, mask, status);
}
USERFAULT_PRELOADED int statfs(const char* path, struct statfs* status) noexcept {
  return retried<Name::statfs>(path, status);
}
USERFAULT_PRELOADED int fstatfs(int fd, struct statfs* status) noexcept { return retried<Name::fstatfs>(fd, status); }
extern "C" {
USERFAULT_ALIAS(statfs) int statfs64(const char* path, struct statfs64* status) noexcept;
USERFAULT_ALIAS(fstatfs) int fstatfs64(int fd, struct statfs64* status) noexcept;
}

USERFAULT_PRELOADED int uname(utsname* name) noexcept { return retried<Name::uname>(name); }
USERFAULT_PRELOADED ssize_t getrandom(void* buffer, size_t bytes, unsigned flags) {
  // Random bytes are as good the second time; a short result stays one.
  return retried<Name::getrandom>(buffer, bytes, flags);
}
USERFAULT_PRELOADED int pipe(int* ends) noexcept { return retried<Name::pipe>(ends); }
USERFAULT_PRELOADED int pipe2(int* ends, int flags) noexcept { return retried<Name::pipe2>(ends, flags); }
USERFAULT_PRELOADED int socketpair(int domain, int type, int protocol, int* ends) noexcept {
  return retried<Name::socketpair>(domain, type, protocol, ends);
}
// Its time is read before it sleeps. What is left is written after a handler, when it is too late to sleep again.
USERFAULT_PRELOADED int nanosleep(const timespec* time, timespec* left) {
  bring(Access::kRead, time, sizeof *time);
  bring(Access::kWrite, left, sizeof *left);
  return next<Name::nanosleep>(time, left);
}
USERFAULT_PRELOADED int clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* left) {
  bring(Access::kRead, time, sizeof *time);
  bring(Access::kWrite, left, sizeof *left);
  return next<Name::clock_nanosleep>(clock, flags, time, left);
}
USERFAULT_PRELOADED int getrusage(__rusage_who_t who, rusage* usage) noexcept {
  return retried<Name::getrusage>(who, usage);
}
USERFAULT_PRELOADED int getrlimit(__rlimit_resource_t resource, rlimit* limit) noexcept {
  return retried<Name::getrlimit>(resource, limit);
}
USERFAULT_PRELOADED int setrlimit(__rlimit_resource_t resource, const rlimit* limit) noexcept {
  return retried<Name::setrlimit>(resource, limit);
}
extern "C" {
USERFAULT_ALIAS(getrlimit) int getrlimit64(__rlimit_resource_t resource, rlimit64* limit) noexcept;
USERFAULT_ALIAS(setrlimit) int setrlimit64(__rlimit_resource_t resource, const rlimit64* limit) noexcept;
}
USERFAULT_PRELOADED int sigaltstack(const stack_t* stack, stack_t* old) noexcept {
  bring(Access::kWrite, old, sizeof *old);
  return retried<Name::sigaltstack>(stack, old);
}
USERFAULT_PRELOADED int mincore(void* start, size_t length, unsigned char* vector) noexcept {
  bring(Access::kWrite, vector, length / 4096 + 1);
  return next<Name::mincore>(start, length, vector);
}

// Streams hand large pieces to read(2) and write(2) inside libc.
USERFAULT_PRELOADED size_t fwrite(const void* from, size_t size, size_t count, FILE* stream) {
  bring(Access::kRead, from, size * count);
  return next<Name::fwrite>(from, size, count, stream);
}
USERFAULT_PRELOADED size_t fwrite_unlocked(const void* from, size_t size, size_t count, FILE* stream) {
  bring(Access::kRead, from, size * count);
  return next<Name::fwrite_unlocked>(from, size, count, stream);
}
USERFAULT_PRELOADED size_t fread(void* into, size_t size, size_t count, FILE* stream) {
  bring(Access::kWrite, into, size * count);
  return next<Name::fread>(into, size, count, stream);
}
USERFAULT_PRELOADED size_t fread_unlocked(void* into, size_t size, size_t count, FILE* stream) {
  bring(Access::kWrite, into, size * count);
  return next<Name::fread_unlocked>(into, size, count, stream);
}
USERFAULT_PRELOADED size_t __fread_chk(void* into, size_t room, size_t size, size_t count, FILE* stream) {
  bring(Access::kWrite, into, room < size * count ? room : size * count);
  return next<Name::__fread_chk>(into, room, size, count, stream);
}

USERFAULT_PRELOADED int connect(int fd, const sockaddr* address, socklen_t length) {
  return retried<Name::connect>(fd, address, length);
}
USERFAULT_PRELOADED int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  return retried<Name::bind>(fd, address, length);
}
USERFAULT_PRELOADED int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  return retried<Name::setsockopt>(fd, level, name, value, length);
}
USERFAULT_PRELOADED int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  return retried<Name::getsockopt>(fd, level, name, value, length);
}
USERFAULT_PRELOADED int getsockname(int fd, sockaddr* address, socklen_t* length) noexcept {
  return retried<Name::getsockname>(fd, address, length);
}
USERFAULT_PRELOADED int getpeername(int fd, sockaddr* address, socklen_t* length) noexcept {
  return retried<Name::getpeername>(fd, address, length);
}
USERFAULT_PRELOADED int accept(int fd, sockaddr* address, socklen_t* length) {
  bring_address(address, length);
  return next<Name::accept>(fd, address, length);
}
USERFAULT_PRELOADED int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  bring_address(address, length);
  return next<Name::accept4>(fd, address, length, flags);
}

USERFAULT_PRELOADED int epoll_wait(int epoll, epoll_event* events, int count, int timeout) {
  return retried<Name::epoll_wait>(epoll, events, count, timeout);
}
USERFAULT_PRELOADED int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  return retried<Name::epoll_ctl>(epoll, operation, fd, event);
}

USERFAULT_PRELOADED pid_t wait(int* status) {
  bring(Access::kWrite, status, sizeof *status);
  return next<Name::wait>(status);
}
USERFAULT_PRELOADED pid_t waitpid(pid_t child, int* status, int options) {
  bring(Access::kWrite, status, sizeof *status);
  return next<Name::waitpid>(child, status, options);
}
USERFAULT_PRELOADED pid_t wait4(pid_t child, int* status, int options, rusage* usage) {
  bring(Access::kWrite, status, sizeof *status);
  bring(Access::kWrite, usage, sizeof *usage);
  return next<Name::wait4>(child, status, options, usage);
}
USERFAULT_PRELOADED int waitid(idtype_t type, id_t child, siginfo_t* info, int options) {
  bring(Access::kWrite, info, sizeof *info);
  return next<Name::waitid>(type, child, info, options);
}
