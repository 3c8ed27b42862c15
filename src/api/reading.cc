// SPDX-License-Identifier: Apache-2.0
// Waiting for messages and reading them. As in fill.h, the kernel's engine is called without a
// function in between.
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "api/decode.h"
#include "api/engine_for.h"
#include "api/poll.h"
#include "userfault/descriptor.h"

namespace userfault {
namespace {

Unexpected<Error> failure(Operation operation, int code) {
  return Unexpected(Error{.operation = operation, .code = code});
}

ssize_t read_bytes(EngineKind engine, int fd, std::span<userfault_msg> into) noexcept {
  if (engine == EngineKind::kUser) return engine::user_engine().read(fd, into.data(), into.size_bytes());
  const ssize_t bytes = ::read(fd, into.data(), into.size_bytes());
  return bytes < 0 ? -errno : bytes;
}

ssize_t read_bytes_now(EngineKind engine, int fd, std::span<userfault_msg> into) noexcept {
  if (engine == EngineKind::kUser) return engine::user_engine().read_now(fd, into.data(), into.size_bytes());
  const iovec vector{into.data(), into.size_bytes()};
  // No offset: a userfaultfd has no position.
  const ssize_t bytes = ::preadv2(fd, &vector, 1, -1, RWF_NOWAIT);
  return bytes < 0 ? -errno : bytes;
}

int poll_one(EngineKind engine, pollfd& entry, int timeout_ms) noexcept {
  if (engine == EngineKind::kUser) return api::poll({&entry, 1}, timeout_ms);
  const int count = ::poll(&entry, 1, timeout_ms);
  return count < 0 ? -errno : count;
}

}  // namespace

Result<bool> Descriptor::wait(std::chrono::milliseconds timeout) const {
  // poll(2) skips a negative number; here it would wait for nothing.
  if (fd_ < 0) return failure(Operation::kPoll, EBADF);
  pollfd entry{.fd = fd_, .events = POLLIN, .revents = 0};
  const auto bounded = std::clamp<std::int64_t>(timeout.count(), -1, INT32_MAX);
  const int count = poll_one(engine_, entry, static_cast<int>(bounded));
  if (count < 0) return failure(Operation::kPoll, -count);
  if ((entry.revents & POLLNVAL) != 0) return failure(Operation::kPoll, EBADF);
  // POLLERR is how a userfaultfd says that it blocks or has had no handshake (real-kernel row 20).
  if ((entry.revents & POLLERR) != 0) return failure(Operation::kPoll, EINVAL);
  return count > 0;
}

Result<std::span<userfault_msg>> Descriptor::read_raw(std::span<userfault_msg> into) const {
  const ssize_t bytes = read_bytes(engine_, fd_, into);
  if (bytes == -EAGAIN) return into.first(0);
  if (bytes < 0) return failure(Operation::kRead, static_cast<int>(-bytes));
  return into.first(static_cast<std::size_t>(bytes) / sizeof(userfault_msg));
}

namespace {

// A batch is bounded by what is worth having on the stack: 64 messages are 2 KiB.
template <typename ReadBytes>
[[gnu::always_inline]] inline Result<std::span<Message>> read_decoded(std::span<Message> into, ReadBytes read_into) {
  std::array<userfault_msg, 64> raw;
  const ssize_t bytes = read_into(std::span(raw).first(std::min(into.size(), raw.size())));
  if (bytes == -EAGAIN) return into.first(0);
  if (bytes < 0) return failure(Operation::kRead, static_cast<int>(-bytes));
  const std::size_t count = static_cast<std::size_t>(bytes) / sizeof(userfault_msg);
  for (std::size_t i = 0; i < count; ++i) into[i] = api::decode(raw[i]);
  return into.first(count);
}

}  // namespace

Result<std::span<Message>> Descriptor::read(std::span<Message> into) const {
  return read_decoded(into, [this](std::span<userfault_msg> raw) { return read_bytes(engine_, fd_, raw); });
}

Result<std::span<Message>> Descriptor::read_now(std::span<Message> into) const {
  return read_decoded(into, [this](std::span<userfault_msg> raw) { return read_bytes_now(engine_, fd_, raw); });
}

}  // namespace userfault
