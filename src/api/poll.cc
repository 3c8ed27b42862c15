// SPDX-License-Identifier: Apache-2.0
#include "api/poll.h"

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "api/engine_for.h"

namespace userfault::api {
namespace {

using Clock = std::chrono::steady_clock;

// What the engines make of what the system reported: the count of entries with events.
int mend(std::span<pollfd> entries) noexcept {
  int ready = 0;
  for (pollfd& entry : entries) {
    if (entry.fd >= 0) entry.revents = engine::engine_of(entry.fd).poll_events(entry.fd, entry.events, entry.revents);
    ready += entry.revents != 0;
  }
  return ready;
}

int poll_once(std::span<pollfd> entries, int timeout_ms) noexcept {
  if (::poll(entries.data(), entries.size(), timeout_ms) < 0) return -errno;
  return mend(entries);
}

}  // namespace

// What an engine reports by itself (POLLERR) must not be slept on: it is asked before, which costs
// no system call. An event that an engine takes back (somebody else has read the message) must not
// end the wait.
int poll(std::span<pollfd> entries, int timeout_ms) noexcept {
  const auto deadline = Clock::now() + std::chrono::milliseconds(std::max(timeout_ms, 0));
  for (pollfd& entry : entries) entry.revents = 0;
  int result = poll_once(entries, mend(entries) > 0 ? 0 : timeout_ms);
  while (result == 0 && timeout_ms != 0) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (timeout_ms > 0 && left <= 0) return 0;
    result = poll_once(entries, timeout_ms < 0 ? -1 : static_cast<int>(left));
  }
  return result;
}

}  // namespace userfault::api
