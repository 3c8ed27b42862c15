// SPDX-License-Identifier: Apache-2.0
// Waiting for a descriptor of ours as userfaultfd_poll lets one wait: POLLERR on one that blocks or
// has not had UFFDIO_API. The doorbell behind the number cannot say that by itself, so what the
// kernel reports is mended, once before waiting and once after. epoll sees only the doorbell
// (docs/divergences.md).
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "preload/open/numbers.h"
#include "preload/signals/masks.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

bool any_ours(const pollfd* fds, nfds_t count) noexcept {
  for (nfds_t i = 0; i < count; ++i)
    if (is_ours(fds[i].fd)) return true;
  return false;
}

// Changes what was reported to what a userfaultfd reports; the number of entries that are ready.
int mend(pollfd* fds, nfds_t count) noexcept {
  int ready = 0;
  for (nfds_t i = 0; i < count; ++i) {
    if (may_be_served(fds[i].fd)) fds[i].revents = user_engine().poll_events(fds[i].fd, fds[i].events, fds[i].revents);
    ready += fds[i].revents != 0;
  }
  return ready;
}

int poll_next(pollfd* fds, nfds_t count, int timeout) noexcept { return next<Name::poll>(fds, count, timeout); }

constexpr std::int64_t kForEver = -1;

std::int64_t now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// `wait(remaining)` is the call with a timeout in nanoseconds. What was readable may be gone by the
// time it is looked at, since a fault that is resolved takes its message along: then it waits on.
template <typename Wait>
int poll_mended(pollfd* fds, nfds_t count, std::int64_t timeout_ns, Wait wait) {
  const int at_once = poll_next(fds, count, 0);
  if (at_once < 0) return at_once;
  if (const int ready = mend(fds, count); ready > 0 || timeout_ns == 0) return ready;
  const std::int64_t deadline = timeout_ns == kForEver ? 0 : now_ns() + timeout_ns;
  for (std::int64_t remaining = timeout_ns; remaining == kForEver || remaining > 0;) {
    if (const int result = wait(remaining); result <= 0) return result;
    if (const int ready = mend(fds, count); ready > 0) return ready;
    // A descriptor whose owner has exited reports a hang-up for ever, which a userfaultfd does not
    // have: a moment in between keeps this from being a busy loop.
    if (poll_next(nullptr, 0, 1) < 0) return -1;
    if (timeout_ns != kForEver) remaining = std::max<std::int64_t>(deadline - now_ns(), 0);
  }
  return 0;
}

int to_milliseconds(std::int64_t ns) noexcept {
  return ns == kForEver ? -1 : static_cast<int>((ns + 999'999) / 1'000'000);
}

}  // namespace

USERFAULT_PRELOADED int poll(pollfd* fds, nfds_t count, int timeout) {
  if (!any_ours(fds, count)) return poll_next(fds, count, timeout);
  const std::int64_t timeout_ns = timeout < 0 ? kForEver : std::int64_t{timeout} * 1'000'000;
  return poll_mended(fds, count, timeout_ns,
                     [=](std::int64_t remaining) { return poll_next(fds, count, to_milliseconds(remaining)); });
}
extern "C" USERFAULT_ALIAS(poll) int __poll(pollfd* fds, nfds_t count, int timeout);

USERFAULT_PRELOADED int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t size) {
  if (size / sizeof *fds < count) return next<Name::__poll_chk>(fds, count, timeout, size);
  return poll(fds, count, timeout);
}

USERFAULT_PRELOADED int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  const RealMask real(mask);
  if (!any_ours(fds, count)) return next<Name::ppoll>(fds, count, timeout, real.get());
  const std::int64_t timeout_ns = timeout == nullptr ? kForEver : timeout->tv_sec * 1'000'000'000 + timeout->tv_nsec;
  return poll_mended(fds, count, timeout_ns, [&](std::int64_t remaining) {
    const timespec left{.tv_sec = remaining / 1'000'000'000, .tv_nsec = remaining % 1'000'000'000};
    return next<Name::ppoll>(fds, count, remaining == kForEver ? nullptr : &left, real.get());
  });
}

USERFAULT_PRELOADED int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
                                    size_t size) {
  if (size / sizeof *fds < count) return next<Name::__ppoll_chk>(fds, count, timeout, mask, size);
  return ppoll(fds, count, timeout, mask);
}

namespace {

// The descriptors of ours in `set` that report POLLERR, which select(2) shows as readable and writable.
int mark_failed(int count, const fd_set* asked, fd_set* shown) noexcept {
  int marked = 0;
  for (int fd = 0; asked != nullptr && fd < count; ++fd) {
    if (!FD_ISSET(fd, asked) || !is_ours(fd) || (user_engine().poll_events(fd, POLLIN, 0) & POLLERR) == 0) continue;
    FD_SET(fd, shown);
    ++marked;
  }
  return marked;
}

// Whether a descriptor of ours is in error; then the sets say so, and that nothing else was looked at.
bool failed_at_once(int count, fd_set* in, fd_set* out, fd_set* error, int* ready) noexcept {
  if (!engine::user::may_have_descriptors() || count > FD_SETSIZE) return false;
  fd_set readable;
  fd_set writable;
  FD_ZERO(&readable);
  FD_ZERO(&writable);
  *ready = mark_failed(count, in, &readable) + mark_failed(count, out, &writable);
  if (*ready == 0) return false;
  if (in != nullptr) *in = readable;
  if (out != nullptr) *out = writable;
  if (error != nullptr) FD_ZERO(error);
  return true;
}

}  // namespace

USERFAULT_PRELOADED int select(int count, fd_set* in, fd_set* out, fd_set* error, timeval* timeout) {
  int ready = 0;
  if (failed_at_once(count, in, out, error, &ready)) return ready;
  return next<Name::select>(count, in, out, error, timeout);
}

USERFAULT_PRELOADED int pselect(int count, fd_set* in, fd_set* out, fd_set* error, const timespec* timeout,
                                const sigset_t* mask) {
  int ready = 0;
  if (failed_at_once(count, in, out, error, &ready)) return ready;
  const RealMask real(mask);
  return next<Name::pselect>(count, in, out, error, timeout, real.get());
}

USERFAULT_PRELOADED int epoll_pwait(int epoll, epoll_event* events, int count, int timeout, const sigset_t* mask) {
  const RealMask real(mask);
  return next<Name::epoll_pwait>(epoll, events, count, timeout, real.get());
}

USERFAULT_PRELOADED int epoll_pwait2(int epoll, epoll_event* events, int count, const timespec* timeout,
                                     const sigset_t* mask) {
  const RealMask real(mask);
  return next<Name::epoll_pwait2>(epoll, events, count, timeout, real.get());
}
