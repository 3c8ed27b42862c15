// SPDX-License-Identifier: Apache-2.0
// syscall(3): the numbers that are about userfaultfd, its descriptors, memory or signals go the way
// that libc's functions go. syscall_entry_*.S asks `userfault_preload_takes` and makes every
// other call itself, on the caller's stack: what it returns twice (fork, clone) returns as it would
// from libc's syscall().
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "engine/user/fork/fork.h"
#include "engine/user/layout/brk.h"
#include "engine/user/signal/chain.h"
#include "preload/calls/fork_calls.h"
#include "preload/open/numbers.h"
#include "preload/open/userfaultfd.h"
#include "preload/repair/repair.h"
#include "preload/signals/masks.h"
#include "preload/symbols/libc_symbols.h"
#include "preload/symbols/own_definitions.h"
#include "preload/trap/dispatch.h"
#include "preload/trap/numbers.h"
#include "preload/trap/old_calls.h"

namespace userfault::preload {
namespace {

template <typename T>
T* pointer(long argument) noexcept {
  return reinterpret_cast<T*>(argument);
}

// rt_sigaction(2) with the kernel's own struct.
long change_action(int signal, const engine::user::KernelSigaction* action, engine::user::KernelSigaction* old,
                   long mask_bytes) noexcept {
  if (mask_bytes != 8)
    return engine::user::raw_syscall(SYS_rt_sigaction, signal, argument_of(action), argument_of(old), mask_bytes);
  if (!engine::user::is_installed(signal)) {
    engine::user::KernelSigaction real{};
    if (action != nullptr) {
      real = *action;
      real.mask = real_mask_of(action->mask);
    }
    const long result = engine::user::raw_sigaction(signal, action != nullptr ? &real : nullptr, old);
    if (result == 0 && old != nullptr) old->mask = shown_mask_of(old->mask);
    return result;
  }
  const auto before =
      action != nullptr ? engine::user::set_program_action(signal, *action) : engine::user::get_program_action(signal);
  if (old != nullptr) *old = before;
  return 0;
}

// The kernel reads and writes 8 bytes where libc's sigset_t has 128.
long change_mask(int how, const engine::user::SignalMask* mask, engine::user::SignalMask* old,
                 long mask_bytes) noexcept {
  if (mask_bytes != 8) return -EINVAL;
  const engine::user::SignalMask real = mask != nullptr ? real_mask_of(*mask) : 0;
  engine::user::SignalMask read = 0;
  const long result = engine::user::raw_syscall(SYS_rt_sigprocmask, how, mask != nullptr ? argument_of(&real) : 0,
                                                argument_of(&read), 8);
  if (result == 0 && old != nullptr) *old = shown_mask_of(read);
  return result;
}

using Bits = std::array<std::uint64_t, 16>;

// Masks that are in force while a call waits.
long wait_under_mask(long number, long a, long b, long c, long d, long e, long f) noexcept {
  const auto with_mask = [&](const engine::user::SignalMask* mask, auto make) {
    engine::user::SignalMask real = mask != nullptr ? real_mask_of(*mask) : 0;
    return finish(make(mask != nullptr ? argument_of(&real) : 0));
  };
  if (number == SYS_rt_sigsuspend)
    return with_mask(pointer<engine::user::SignalMask>(a),
                     [&](long mask) { return engine::user::raw_syscall(number, mask, b); });
  if (number != SYS_pselect6)
    return with_mask(pointer<engine::user::SignalMask>(e),
                     [&](long mask) { return engine::user::raw_syscall(number, a, b, c, d, mask, f); });
  struct {
    engine::user::SignalMask* mask;
    long bytes;
  } last{};
  if (f != 0) std::memcpy(&last, pointer<void>(f), sizeof last);
  return with_mask(last.mask, [&](long mask) {
    const long pair[] = {mask, last.bytes};
    return engine::user::raw_syscall(number, a, b, c, d, e, f != 0 ? argument_of(&pair[0]) : 0);
  });
}

// openat2(2). What stands in is opened whatever `resolve` says: a path that may not be walked is refused
// by the kernel, which is asked for every other one.
long open_how(long directory, long path, long how, long size) noexcept {
  std::uint64_t flags = 0;
  if (how != 0 && size >= 8) std::memcpy(&flags, pointer<void>(how), sizeof flags);
  if (wants_stand_in(static_cast<int>(directory), pointer<char>(path)))
    return finish(open_stand_in(static_cast<int>(flags)));
  return retried([](auto... arguments) { return finish(engine::user::raw_syscall(SYS_openat2, arguments...)); },
                 directory, path, how, size);
}

// The kernel's mask as libc's, for a call of libc's.
int poll_under_mask(pollfd* fds, nfds_t count, const timespec* timeout, const engine::user::SignalMask* mask) {
  sigset_t set;
  sigemptyset(&set);
  if (mask != nullptr) std::memcpy(&set, mask, sizeof *mask);
  return ppoll(fds, count, timeout, mask != nullptr ? &set : nullptr);
}

// What comes through a ring is seen by nobody (open/numbers.h).
long set_up_ring(long entries, long parameters) noexcept {
  mark_all_numbers();
  return retried([](auto... arguments) { return finish(engine::user::raw_syscall(SYS_io_uring_setup, arguments...)); },
                 entries, parameters);
}

long brought(long number, long a, long b, long c, long d, long e, long f) noexcept {
  return retried([=](auto... arguments) { return finish(engine::user::raw_syscall(number, arguments...)); }, a, b, c, d,
                 e, f);
}

// futex(2).
long wait_on_word(long number, long a, long b, long c, long d, long e, long f) noexcept {
  return repaired(Access::kWrite, pointer<void>(a), 4, [=] {
    return repaired(Access::kWrite, pointer<void>(e), 4,
                    [=] { return finish(engine::user::raw_syscall(number, a, b, c, d, e, f)); });
  });
}

#define USERFAULT_NUMBER(number, result) static_cast<int>(number),
constexpr int kTrapped[] = {USERFAULT_NUMBERS(USERFAULT_NUMBER, USERFAULT_NOTHING)
                                USERFAULT_OLD_NUMBERS(USERFAULT_NUMBER, USERFAULT_NOTHING)};
constexpr int kAll[] = {USERFAULT_NUMBERS(USERFAULT_NUMBER, USERFAULT_NUMBER)
                            USERFAULT_OLD_NUMBERS(USERFAULT_NUMBER, USERFAULT_NUMBER)};

consteval Bits bits_of_calls() {
  Bits bits{};
  for (const int number : kAll) bits[number / 64] |= std::uint64_t{1} << (number % 64);
  return bits;
}

}  // namespace

std::span<const int> taken_numbers() noexcept { return kTrapped; }

}  // namespace userfault::preload

// A bit for each number of the list.
extern "C" {
[[gnu::visibility("hidden")]] extern const userfault::preload::Bits userfault_preload_taken;
constinit const userfault::preload::Bits userfault_preload_taken = userfault::preload::bits_of_calls();
}

using namespace userfault;
using namespace userfault::preload;

extern "C" [[gnu::visibility("hidden")]] long userfault_preload_syscall(long number, long a, long b, long c, long d,
                                                                        long e, long f) {
  const auto fd = static_cast<int>(a);
#define USERFAULT_CASE(number, result) \
  case number: return result;
  switch (number) {
    USERFAULT_NUMBERS(USERFAULT_CASE, USERFAULT_CASE)
    USERFAULT_OLD_NUMBERS(USERFAULT_CASE, USERFAULT_CASE)
    default: return brought(number, a, b, c, d, e, f);
  }
}
