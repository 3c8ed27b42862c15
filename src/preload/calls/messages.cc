// SPDX-License-Identifier: Apache-2.0
#include "preload/calls/messages.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "preload/open/numbers.h"
#include "preload/signals/sigaction_calls.h"
#include "preload/symbols/libc_symbols.h"

namespace userfault::preload {
namespace {

constexpr ssize_t kNotOurs = engine::user::kNotOurs;

// A fork event brings the descriptor of the child's memory (open/numbers.h).
void mark_forked(const userfault_msg* messages, ssize_t bytes) noexcept {
  for (ssize_t at = 0; at < bytes; at += static_cast<ssize_t>(sizeof *messages), ++messages)
    if (messages->event == USERFAULT_EVENT_FORK) mark_number(static_cast<int>(messages->arg.fork.ufd));
}

// A blocking read waits in poll(2), which is a cancellation point of libc's (pthreads(7)): a thread
// that is cancelled there ends at once, wherever the cancellation finds it. Waiting inside the engine
// would not be one. poll never goes on after a handler, read(2) does after one with SA_RESTART: where
// no handler lacks it, neither do we return.
ssize_t wait_and_read(int fd, void* buffer, size_t bytes) {
  for (bool first = true;; first = false) {
    const ssize_t got = engine::user::read_now(fd, buffer, bytes);
    if (first && got == -EBADF) return kNotOurs;
    if (got != -EAGAIN || !engine::user::is_blocking(fd)) return got;
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    if (next<Name::poll>(&entry, nfds_t{1}, -1) < 0 && (errno != EINTR || some_handler_interrupts())) return -errno;
  }
}

}  // namespace

bool read_messages(int fd, void* buffer, size_t bytes, ssize_t* result) {
  const ssize_t got = wait_and_read(fd, buffer, bytes);
  if (got == kNotOurs) return false;
  if (got > 0) mark_forked(static_cast<const userfault_msg*>(buffer), got);
  *result = finish(got);
  return true;
}

// userfaultfd_read_iter fills the pieces in order, a message may lie across two (Linux 6.11; before,
// each piece was a read of its own, which gives the same bytes for pieces of whole messages).
bool read_messages(int fd, const iovec* pieces, int count, ssize_t* result) {
  constexpr std::size_t kMessages = 32;
  userfault_msg messages[kMessages];
  std::size_t room = 0;
  for (int i = 0; i < count; ++i) room += pieces[i].iov_len;
  const ssize_t got = wait_and_read(fd, messages, room < sizeof messages ? room : sizeof messages);
  if (got == kNotOurs) return false;
  if (got > 0) mark_forked(messages, got);
  const char* from = reinterpret_cast<const char*>(messages);
  for (ssize_t left = got; left > 0; ++pieces) {
    const auto part = std::min(static_cast<std::size_t>(left), pieces->iov_len);
    std::memcpy(pieces->iov_base, from, part);
    from += part;
    left -= static_cast<ssize_t>(part);
  }
  *result = finish(got);
  return true;
}

}  // namespace userfault::preload
