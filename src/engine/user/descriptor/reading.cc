// SPDX-License-Identifier: Apache-2.0
#include "engine/user/descriptor/reading.h"

#include <cerrno>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/wait/readers.h"

namespace userfault::engine::user {
namespace {

ssize_t deliver(const userfault_msg* messages, std::size_t count, char* buffer) noexcept {
  const std::size_t bytes = count * sizeof(userfault_msg);
  return guarded_copy(buffer, messages, bytes) ? static_cast<ssize_t>(bytes) : -EFAULT;
}

constexpr std::size_t kBatch = 32;

// Looks for a message for a moment, where that is worth it; what take_as() returns. Signals are blocked before the
// message is there, while there is time, not when a faulting thread waits for it to be taken.
long spin_and_take(Instance& instance, std::uint32_t seen, BlockingRead& read, userfault_msg* into,
                   std::size_t most) noexcept {
  const SpinLength length = worth_spinning_for(instance);
  if (length == SpinLength::kNone) return 0;
  SignalsBlocked blocked;
  return spin_until_readable(instance, seen, length) ? take_as(instance, read, into, most) : 0;
}

// Signals are blocked around the lock alone, which a reader need not take to see that there is nothing. One that comes
// after the look and before the sleep is one that came before the call, for all that the caller can tell.
ssize_t wait_and_take(Instance& instance, int fd, userfault_msg* into, std::size_t most, BlockingRead& read) noexcept {
  // Where the last read blocked this one most likely does, too, and need not ask before it has looked for a moment.
  bool asks_late = instance.defer_bell.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint32_t seen = instance.arrivals.load();
    // Acquire pairs with the release of update_bell().
    const bool closed = instance.generation.load() != read.generation || !instance.used.load();
    if (closed || instance.readable.load(std::memory_order_acquire) != 0) {
      SignalsBlocked blocked;
      const long taken = closed ? -EBADF : take_as(instance, read, into, most);
      if (taken != 0) return taken;
    }
    const bool spins = read.entered || asks_late;
    if (const long taken = spins ? spin_and_take(instance, seen, read, into, most) : 0; taken != 0) return taken;
    if (!read.entered) {
      asks_late = false;
      const bool blocks = is_blocking(fd);
      instance.defer_bell.store(blocks, std::memory_order_relaxed);
      if (!blocks) return -EAGAIN;
      enter_reader(instance, read);
      if (!spins) continue;
    }
    if (const long result = wait_readable(instance, seen); result < 0) return result;
  }
}

}  // namespace

ssize_t read_available(Instance& instance, char* buffer, std::size_t count) noexcept {
  USERFAULT_INVARIANT(count != 0, "a read was made without room for a message");
  userfault_msg messages[kBatch];
  instance.defer_bell.store(false, std::memory_order_relaxed);
  if (instance.readable.load(std::memory_order_acquire) == 0) return -EAGAIN;
  SignalsBlocked blocked;
  const std::size_t taken = take_messages(instance, messages, count < kBatch ? count : kBatch);
  return taken > 0 ? deliver(messages, taken, buffer) : -EAGAIN;
}

ssize_t read_messages(Instance& instance, int fd, char* buffer, std::size_t count) noexcept {
  USERFAULT_INVARIANT(count != 0, "a read was made without room for a message");
  userfault_msg messages[kBatch];
  const std::size_t most = count < kBatch ? count : kBatch;
  BlockingRead read{.generation = instance.generation.load()};
  const ssize_t taken = wait_and_take(instance, fd, messages, most, read);
  if (read.entered) {
    SignalsBlocked blocked;
    leave_reader(instance, read);
  }
  USERFAULT_INVARIANT(taken <= static_cast<ssize_t>(most), "more messages were read than there is room for");
  return taken > 0 ? deliver(messages, static_cast<std::size_t>(taken), buffer) : taken;
}

}  // namespace userfault::engine::user
