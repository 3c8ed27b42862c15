// SPDX-License-Identifier: Apache-2.0
// System calls whose buffers lie on pages of ours that are closed (engine/user/fault/prefault.h).
//
// A call is made first and repaired after it failed with EFAULT or stopped short of a closed page:
// touch the page, which waits for the monitor as the kernel would have, and go on. Touching a whole
// buffer before the call is what is done only where a failed call loses data (loses_data), because it
// asks for pages that the call may never need. docs/preload.md lists which call is repaired how.
//
// While the user engine is not active all of this is one load and the call.
#pragma once

#include <cerrno>
#include <cstddef>
#include <span>

#include "engine/user/fault/prefault.h"
#include "preload/symbols/libc_symbols.h"

namespace userfault::preload {

using engine::user::Access;
using engine::user::Buffer;

// Touches the first closed page of the buffers that lies at or behind `done` bytes; whether there was
// one and it could be had.
[[nodiscard]] bool touch_next(std::span<const iovec> buffers, std::size_t done, Access access) noexcept;
// Touches all of them, as far as they can be had.
void touch_all(std::span<const iovec> buffers, Access access) noexcept;
// Whether the byte at `done` is on a closed page: why a transfer may have stopped there.
[[nodiscard]] bool stopped_at_closed(std::span<const iovec> buffers, std::size_t done, Access access) noexcept;

// A call with one argument of `bytes` at `pointer`: again, as long as touching it helps. For calls
// that do nothing when they fail.
template <typename Call>
auto repaired(Access access, const void* pointer, std::size_t bytes, Call call_once) {
  for (;;) {
    const auto result = call_once();
    if (result != -1 || errno != EFAULT || !active() || pointer == nullptr) return result;
    const iovec piece{const_cast<void*>(pointer), bytes};
    if (touch_next({&piece, 1}, 0, access)) continue;
    errno = EFAULT;
    return result;
  }
}

// Touches the first closed page at one of the addresses, in the part of the result that a system call's
// argument may cover: for reading where that helps, else for writing. For arguments whose size nobody here
// knows; at worst it asks the monitor for a page that was not what failed.
[[nodiscard]] bool touch_arguments(std::span<const long> addresses) noexcept;

// Touches what a call is about to read or write, for one that has done something by the time it fails.
inline void bring(Access access, const void* pointer, std::size_t bytes) noexcept {
  const iovec piece{const_cast<void*>(pointer), bytes};
  if (active() && pointer != nullptr) touch_all({&piece, 1}, access);
}

// A call that does nothing when it fails with EFAULT: again, as long as touching its arguments helps.
template <typename Function, typename... Arguments>
auto retried(Function function, Arguments... arguments) {
  for (;;) {
    const auto result = function(arguments...);
    if (result != -1 || errno != EFAULT || !active()) return result;
    const long addresses[] = {argument_of(arguments)...};
    if (touch_arguments(addresses)) continue;
    errno = EFAULT;
    return result;
  }
}

template <Name name, typename... Arguments>
auto retried(Arguments... arguments) {
  return retried([](Arguments... again) { return next<name>(again...); }, arguments...);
}

[[nodiscard]] bool any_closed(std::span<const iovec> buffers, Access access) noexcept;
// Whether a failed read loses what it read: a datagram, a counter (eventfd, timerfd), an event. Files,
// pipes and streams still have what was not copied.
[[nodiscard]] bool loses_data(int fd) noexcept;
// Whether a short transfer means that there is no more: only a regular file or block device fills
// the buffer while there is something.
[[nodiscard]] bool fills_buffers(int fd) noexcept;

// A transfer between `fd` and buffers. `transfer(buffers, done)` makes the call for what is left
// behind `done` bytes and returns as read(2).
template <typename Call>
ssize_t transferred(int fd, std::span<const iovec> buffers, Access access, Call transfer) {
  if (access == Access::kWrite && active() && any_closed(buffers, access) && loses_data(fd)) touch_all(buffers, access);
  std::size_t done = 0;
  for (;;) {
    const ssize_t got = transfer(done);
    if (!active()) return got;
    if (got > 0) done += static_cast<std::size_t>(got);
    const bool stopped =
        got > 0 ? stopped_at_closed(buffers, done, access) && (access == Access::kRead || fills_buffers(fd))
                : got < 0 && errno == EFAULT;
    if (stopped && touch_next(buffers, done, access)) continue;
    if (done > 0) return static_cast<ssize_t>(done);
    if (stopped) errno = EFAULT;
    return got;
  }
}

}  // namespace userfault::preload
