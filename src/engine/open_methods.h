// SPDX-License-Identifier: Apache-2.0
// The two ways into the kernel's engine, userfaultfd(2) and /dev/userfaultfd: what each answers,
// and who refused.
//
// Asking is safe whatever the answer: where a seccomp filter would kill whoever asks, a child asks
// first (engine/kernel/seccomp_probe.h) and this process lives on. Any thread; not in a signal handler.
#pragma once

#include <cstdint>

#include "abi/names.h"
#include "userfault/refuser.h"

namespace userfault::engine {

enum class OpenMethod : std::uint8_t { kSyscall, kDevice };

struct Answer {
  int error = 0;   // a positive errno; 0: it opens, or `signal` is set
  int signal = 0;  // what killed the one who asked: SIGSYS from a seccomp filter
  [[nodiscard]] bool opens() const noexcept { return error == 0 && signal == 0; }
};

// Opens through one method alone: a descriptor or -errno; -EPERM where asking would kill.
[[nodiscard]] int open_through(OpenMethod method, int flags) noexcept;
// The same, and closes again.
[[nodiscard]] Answer ask(OpenMethod method, int flags) noexcept;
// Who is behind an answer that is no descriptor. It may ask once more, with USER_MODE_ONLY.
[[nodiscard]] Refuser who_refused(OpenMethod method, int flags, Answer answer) noexcept;
// Who is behind `-error` from kernel_engine().open(flags).
[[nodiscard]] Refuser who_refused(int flags, int error) noexcept;

// What decides about both ways, as far as this thread can see it.
struct Surroundings {
  int seccomp_mode = -1;   // 0 none, 1 strict, 2 filter; -1 not known
  int sysctl = -1;         // vm.unprivileged_userfaultfd; -1: no such file
  bool may_trace = false;  // CAP_SYS_PTRACE in the initial user namespace
};
[[nodiscard]] Surroundings look_around() noexcept;

// The running kernel's, from uname(2).
[[nodiscard]] abi::Version kernel_version() noexcept;

}  // namespace userfault::engine
