// SPDX-License-Identifier: Apache-2.0
// System calls that newer architectures have not got, each made of its successor.
#pragma once

#include <array>

#include "preload/calls/fork_calls.h"
#include "preload/symbols/libc_symbols.h"
#include "preload/symbols/own_definitions.h"

namespace userfault::preload {

inline constexpr std::array kOldCalls = {SYS_open, SYS_poll, SYS_dup2, SYS_fork};

// Whose arguments are brought, for syscall(3) alone.
inline constexpr std::array kOldThroughSyscall = {SYS_stat,   SYS_lstat, SYS_access,    SYS_readlink,
                                                  SYS_select, SYS_pipe,  SYS_epoll_wait};

// Whether `number` was one of them; then `result` is libc's result.
inline bool old_call(long number, long a, long b, long c, long* result) noexcept {
  switch (number) {
    case SYS_open:
      *result = __real_open(reinterpret_cast<const char*>(a), static_cast<int>(b), static_cast<mode_t>(c));
      return true;
    case SYS_poll:
      *result = poll(reinterpret_cast<pollfd*>(a), static_cast<nfds_t>(b), static_cast<int>(c));
      return true;
    case SYS_dup2: *result = dup2(static_cast<int>(a), static_cast<int>(b)); return true;
    case SYS_fork: *result = finish(clone_process(SIGCHLD, 0, 0, 0)); return true;
    default: return false;
  }
}

}  // namespace userfault::preload
