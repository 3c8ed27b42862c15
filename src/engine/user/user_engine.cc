// SPDX-License-Identifier: Apache-2.0
#include "engine/user/user_engine.h"

#include <poll.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cerrno>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/layout/advise.h"
#include "engine/user/layout/protect.h"
#include "engine/user/layout/remap.h"
#include "engine/user/layout/unmap.h"
#include "engine/user/lifetime.h"
#include "engine/user/memory/address_space.h"
#include "engine/user/ops/dispatch.h"
#include "engine/user/ops/written_scan.h"
#include "engine/user/remote/remote_descriptor.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

ssize_t deliver(const userfault_msg* messages, std::size_t count, char* buffer) noexcept {
  const std::size_t bytes = count * sizeof(userfault_msg);
  return guarded_copy(buffer, messages, bytes) ? static_cast<ssize_t>(bytes) : -EFAULT;
}

constexpr std::size_t kBatch = 32;

ssize_t read_available(Instance& instance, char* buffer, std::size_t count) noexcept {
  userfault_msg messages[kBatch];
  instance.rings_late.store(false, std::memory_order_relaxed);
  if (instance.readable.load(std::memory_order_acquire) == 0) return -EAGAIN;
  SignalsBlocked blocked;
  const std::size_t taken = take_messages(instance, messages, count < kBatch ? count : kBatch);
  return taken > 0 ? deliver(messages, taken, buffer) : -EAGAIN;
}

// Signals are blocked around the lock alone, which nobody has to take to see that there is nothing. One
// that comes after the look and before the sleep is one that came before the call, for all that the
// caller can tell.
ssize_t wait_and_take(Instance& instance, int fd, userfault_msg* into, std::size_t most, Reader& reader) noexcept {
  for (;;) {
    const std::uint32_t seen = instance.arrivals.load();
    // Acquire pairs with the release of set_doorbell().
    const bool closed = instance.generation.load() != reader.generation || !instance.used.load();
    if (closed || instance.readable.load(std::memory_order_acquire) != 0) {
      SignalsBlocked blocked;
      const long taken = closed ? -EBADF : read_as(instance, reader, into, most);
      if (taken != 0) return taken;
    }
    if (!reader.entered) {
      const bool blocks = is_blocking(fd);
      instance.rings_late.store(blocks, std::memory_order_relaxed);
      if (!blocks) return -EAGAIN;
      enter_reader(instance, reader);
      continue;
    }
    if (const SpinLength length = worth_spinning_for(instance); length != SpinLength::kNone) {
      // Blocked before it is there, when there is time, not when somebody waits for it to be taken.
      SignalsBlocked blocked;
      const bool came = spin_until_readable(instance, seen, length);
      if (const long taken = came ? read_as(instance, reader, into, most) : 0; taken != 0) return taken;
      if (came) continue;
    }
    if (const long result = wait_readable(instance, seen); result < 0) return result;
  }
}

ssize_t read_messages(Instance& instance, int fd, char* buffer, std::size_t count) noexcept {
  userfault_msg messages[kBatch];
  const std::size_t most = count < kBatch ? count : kBatch;
  Reader reader{.generation = instance.generation.load()};
  const ssize_t taken = wait_and_take(instance, fd, messages, most, reader);
  if (reader.entered) {
    SignalsBlocked blocked;
    leave_reader(instance, reader);
  }
  return taken > 0 ? deliver(messages, static_cast<std::size_t>(taken), buffer) : taken;
}

// A descriptor of this process may belong to another copy of this engine: the one in the preload
// library of `userfault run`, where a program links libuserfault as well. It answers for its own
// through libc's names, and its memory is served in this process; the agent would be a detour.
bool belongs_to_preload(int fd) noexcept {
  enum : std::uint8_t { kUnknown, kYes, kNo };
  static constinit std::atomic<std::uint8_t> answer = kUnknown;
  if (answer.load() == kUnknown) answer.store(::ioctl(fd, kAskPreload) == 0 ? kYes : kNo);
  return answer.load() == kYes;
}

// errno belongs to the code that faulted.
int invoke_keeping_errno(InThreadHandler handler, void* context, int fd, const userfault_msg* fault) {
  const int interrupted = errno;
  const int result = handler(context, fd, fault);
  errno = interrupted;
  return result;
}

class UserEngine final : public Engine {
 public:
  const char* name() const noexcept override { return "user"; }
  int open(int flags) noexcept override { return open_instance(flags); }
  bool owns(int fd) const noexcept override { return find_instance(fd) != nullptr || is_marked(fd); }

  int operate(int fd, unsigned long request, void* argument) noexcept override {
    const int result = try_operate(fd, request, argument);
    return result == kNotOurs ? -EBADF : result;
  }

  ssize_t read(int fd, void* buffer, std::size_t bytes) noexcept override {
    const ssize_t result = try_read(fd, buffer, bytes);
    return result == kNotOurs ? -EBADF : result;
  }

  ssize_t read_now(int fd, void* buffer, std::size_t bytes) noexcept override {
    return user::read_now(fd, buffer, bytes);
  }

  // userfaultfd_poll(): before the handshake, and on a descriptor that blocks, POLLERR.
  short poll_events(int fd, short events, short reported) noexcept override {
    const Instance* instance = find_instance(fd);
    if (instance == nullptr) {
      if (!is_marked(fd)) return reported;
      if (belongs_to_preload(fd)) return kernel_engine().poll_events(fd, events, reported);
      return remote::poll_events(fd, reported);
    }
    return !instance->enabled.load() || is_blocking(fd) ? static_cast<short>(POLLERR) : reported;
  }

  int close(int fd) noexcept override {
    Instance* instance = find_instance(fd);
    if (instance != nullptr) {
      SignalsBlocked blocked;
      forget_reader(*instance, fd);
    }
    if (instance == nullptr && is_marked(fd) && belongs_to_preload(fd)) return kernel_engine().close(fd);
    const long result = sys::close(fd);
    if (instance != nullptr) end_if_closed(*instance);
    return static_cast<int>(result);
  }

  std::intptr_t mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd,
                     off_t offset) noexcept override {
    return layout::mmap(start, length, protection, flags, fd, offset);
  }
  int munmap(std::uintptr_t start, std::size_t length) noexcept override { return layout::munmap(start, length); }
  std::intptr_t mremap(std::uintptr_t from, std::size_t old_length, std::size_t new_length, int flags,
                       std::uintptr_t to) noexcept override {
    return layout::mremap(from, old_length, new_length, flags, to);
  }
  int madvise(std::uintptr_t start, std::size_t length, int advice) noexcept override {
    return layout::madvise(start, length, advice);
  }
  int mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept override {
    return layout::mprotect(start, length, protection);
  }
  pid_t fork() noexcept override { return kernel_engine().fork(); }
  long scan(userfault_scan* scan) noexcept override { return user::scan(scan); }

  int set_in_thread(int fd, InThreadHandler handler, void* context) noexcept override {
    Instance* instance = find_instance(fd);
    // The threads that would run it are another process's.
    if (instance == nullptr) return is_marked(fd) ? -EINVAL : -EBADF;
    if (!instance->enabled.load()) return -EINVAL;
    user::invoke_in_thread.store(invoke_keeping_errno);
    user::set_in_thread(*instance, {.function = handler, .context = context});
    return 0;
  }
};

}  // namespace

Engine& instance() noexcept {
  static constinit UserEngine engine;
  return engine;
}

int try_operate(int fd, unsigned long request, void* argument) noexcept {
  Instance* instance = find_instance(fd);
  if (instance != nullptr) return user::operate(*instance, request, argument);
  if (!is_marked(fd)) return kNotOurs;
  if (belongs_to_preload(fd)) return kernel_engine().operate(fd, request, argument);
  return remote::operate(fd, request, argument);
}

ssize_t try_read(int fd, void* buffer, std::size_t bytes) noexcept {
  Instance* instance = find_instance(fd);
  if (instance == nullptr) {
    if (!is_marked(fd)) return kNotOurs;
    if (belongs_to_preload(fd)) return kernel_engine().read(fd, buffer, bytes);
    return remote::read(fd, static_cast<char*>(buffer), bytes);
  }
  if (!instance->enabled.load() || bytes < sizeof(userfault_msg)) return -EINVAL;
  return read_messages(*instance, fd, static_cast<char*>(buffer), bytes / sizeof(userfault_msg));
}

ssize_t read_now(int fd, void* buffer, std::size_t bytes) noexcept {
  Instance* instance = find_instance(fd);
  if (instance == nullptr) return is_marked(fd) ? remote::read_now(fd, static_cast<char*>(buffer), bytes) : -EBADF;
  if (!instance->enabled.load() || bytes < sizeof(userfault_msg)) return -EINVAL;
  return read_available(*instance, static_cast<char*>(buffer), bytes / sizeof(userfault_msg));
}

bool count_waiting(int fd, Waiting* waiting) noexcept {
  Instance* instance = find_instance(fd);
  if (instance == nullptr) return false;
  SignalsBlocked blocked;
  Locked locked(instance->lock);
  waiting->unread = instance->pending.count;
  waiting->all = waiting->unread + instance->delivered.count;
  waiting->enabled = instance->enabled.load();
  waiting->features = instance->features;
  return true;
}

bool may_have_descriptors() noexcept { return was_used() || met_remote(); }
bool is_active() noexcept { return has_instances() || space.begin() != space.end(); }

}  // namespace userfault::engine::user
