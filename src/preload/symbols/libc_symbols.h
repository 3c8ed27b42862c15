// SPDX-License-Identifier: Apache-2.0
// The next definition of each name that we export: libc's, or another preloaded library's.
//
// next<Name::read>(...) finds it on its first use, wherever that is. Constructors of a program's own
// libraries run before ours, and so may an allocator's first mmap(2) or a signal handler, so nothing
// here waits for a constructor. dlsym(3) would not do: it takes the loader's lock and may allocate,
// and the caller may hold that lock or be the allocator. The lookup (libc_symbols.cc) reads the symbol tables
// that the loader left in memory and takes neither.
//
// Where no other library has the name, the system call with the same arguments is made, and where
// there is none it is ENOSYS.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cstddef>

#include "engine/user/rt/syscall.h"
#include "preload/preload.h"
#include "preload/symbols/calls.h"
#include "preload/symbols/old_numbers.h"

extern "C" {
// What _FORTIFY_SOURCE makes of the calls; declared only under that macro.
int pidfd_getfd(int process, int fd, unsigned flags) noexcept;  // glibc 2.36
int __open_2(const char* path, int flags);
int __open64_2(const char* path, int flags);
int __openat_2(int directory, const char* path, int flags);
int __openat64_2(int directory, const char* path, int flags);
ssize_t __read_chk(int fd, void* buffer, size_t bytes, size_t size);
size_t __fread_chk(void* into, size_t room, size_t size, size_t count, FILE* stream);
ssize_t __pread_chk(int fd, void* buffer, size_t bytes, off_t offset, size_t size);
int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t size);
int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t size);
}

#define USERFAULT_NOTHING(...)

namespace userfault::preload {

enum class Name : std::uint8_t {
#define USERFAULT_NAME(name, number) name,
  USERFAULT_CALLS(USERFAULT_NAME, USERFAULT_NOTHING, USERFAULT_NOTHING)
#undef USERFAULT_NAME
};

inline constexpr long kNoNumber = -1;

template <Name name>
struct Forwarded;
#define USERFAULT_DESCRIBE(name, number)      \
  template <>                                 \
  struct Forwarded<Name::name> {              \
    using Function = decltype(&::name);       \
    static constexpr long kNumber = (number); \
  };
USERFAULT_CALLS(USERFAULT_DESCRIBE, USERFAULT_NOTHING, USERFAULT_NOTHING)
#undef USERFAULT_DESCRIBE

// The address of the next definition, looked up at the first question; null where there is none. Any
// thread, also inside a signal handler.
[[nodiscard]] void* next_definition(Name name) noexcept;
// The address of a function or variable in libc itself, whatever stands before it; null where there is none.
[[nodiscard]] void* find_in_libc(const char* name) noexcept;

template <typename T>
long argument_of(T value) noexcept {
  if constexpr (std::is_pointer_v<T>) return reinterpret_cast<long>(value);
  else return static_cast<long>(value);
}

// The result of a system call in a function's type.
template <typename Result>
Result result_as(long result) noexcept {
  if constexpr (std::is_pointer_v<Result>) return reinterpret_cast<Result>(result);
  else return static_cast<Result>(result);
}

// The next definition, or the system call with the same arguments.
template <Name name, typename... Arguments>
auto next(Arguments... arguments) {
  using Function = typename Forwarded<name>::Function;
  constexpr long kNumber = Forwarded<name>::kNumber;
  const auto function = reinterpret_cast<Function>(next_definition(name));
  using Result = decltype(function(arguments...));
  if (function != nullptr) return function(arguments...);
  if constexpr (kNumber == kNoNumber) return result_as<Result>(finish(long{-ENOSYS}));
  else return result_as<Result>(finish(engine::user::raw_syscall(kNumber, argument_of(arguments)...)));
}

}  // namespace userfault::preload
