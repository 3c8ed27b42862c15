// SPDX-License-Identifier: Apache-2.0
// The five filling operations, inlined into whoever offers them.
//
// This is the hot path. A return that follows a system call is mispredicted (the kernel's own calls
// have overwritten the processor's stack of return addresses), so every function between the caller
// and ioctl(2) costs some nanoseconds: there is one. bench/api_overhead_bench.cc measures it.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>

#include "api/engine_for.h"
#include "userfault/descriptor.h"

namespace userfault::api {

struct Handle {
  EngineKind engine;
  int fd;
};

[[gnu::always_inline]] inline int operate(Handle handle, unsigned long request, void* argument) noexcept {
  if (handle.engine == EngineKind::kUser) return engine::user_engine().operate(handle.fd, request, argument);
  return ::ioctl(handle.fd, request, argument) < 0 ? -errno : 0;
}

// They end alike: `result` is 0 or -errno, `done` the output field, which was set to zero before the
// call because kernels before 6.15 could leave it unset on EAGAIN (real-kernel row 13).
[[gnu::always_inline]] inline Result<Transfer> transfer(Operation operation, int result, std::int64_t done,
                                                        PageRange range) noexcept {
  if (result == 0) return Transfer{range.length, Outcome::kComplete};
  if (result == -EEXIST) return Transfer{0, Outcome::kExists};
  if (result == -EAGAIN && done > 0) return Transfer{static_cast<std::size_t>(done), Outcome::kPartial};
  if (result == -EAGAIN) return Transfer{0, Outcome::kRetry};
  return Unexpected(Error{.operation = operation, .code = -result, .address = range.start, .length = range.length});
}

[[gnu::always_inline]] inline Result<Transfer> copy(Handle handle, PageRange to, const void* from,
                                                    CopyOptions options) noexcept {
  userfault_copy argument{
      .dst = to.start,
      .src = reinterpret_cast<std::uintptr_t>(from),
      .len = to.length,
      .mode = (options.wake ? 0 : USERFAULT_COPY_MODE_DONTWAKE) | (options.write_protect ? USERFAULT_COPY_MODE_WP : 0),
      .copy = 0};
  const int result = operate(handle, USERFAULT_IOC_COPY, &argument);
  return transfer(Operation::kCopy, result, argument.copy, to);
}

[[gnu::always_inline]] inline Result<Transfer> zeropage(Handle handle, PageRange range, bool wake) noexcept {
  userfault_zeropage argument{
      .range = {range.start, range.length}, .mode = wake ? 0 : USERFAULT_ZEROPAGE_MODE_DONTWAKE, .zeropage = 0};
  const int result = operate(handle, USERFAULT_IOC_ZEROPAGE, &argument);
  return transfer(Operation::kZeropage, result, argument.zeropage, range);
}

[[gnu::always_inline]] inline Result<Transfer> resume(Handle handle, PageRange range,
                                                      ContinueOptions options) noexcept {
  userfault_continue argument{.range = {range.start, range.length},
                              .mode = (options.wake ? 0 : USERFAULT_CONTINUE_MODE_DONTWAKE) |
                                      (options.write_protect ? USERFAULT_CONTINUE_MODE_WP : 0),
                              .mapped = 0};
  const int result = operate(handle, USERFAULT_IOC_CONTINUE, &argument);
  return transfer(Operation::kContinue, result, argument.mapped, range);
}

[[gnu::always_inline]] inline Result<Transfer> poison(Handle handle, PageRange range, bool wake) noexcept {
  userfault_poison argument{
      .range = {range.start, range.length}, .mode = wake ? 0 : USERFAULT_POISON_MODE_DONTWAKE, .updated = 0};
  // Through the engine: in-thread resolution has to know that there is poison.
  const int result = engine_for(handle.engine).operate(handle.fd, USERFAULT_IOC_POISON, &argument);
  return transfer(Operation::kPoison, result, argument.updated, range);
}

[[gnu::always_inline]] inline Result<Transfer> move(Handle handle, PageRange to, std::uintptr_t from,
                                                    MoveOptions options) noexcept {
  userfault_move argument{.dst = to.start,
                          .src = from,
                          .len = to.length,
                          .mode = (options.wake ? 0 : USERFAULT_MOVE_MODE_DONTWAKE) |
                                  (options.allow_source_holes ? USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES : 0),
                          .move = 0};
  const int result = operate(handle, USERFAULT_IOC_MOVE, &argument);
  return transfer(Operation::kMove, result, argument.move, to);
}

}  // namespace userfault::api
