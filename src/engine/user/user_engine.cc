// SPDX-License-Identifier: Apache-2.0
#include "engine/user/user_engine.h"

#include <poll.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cerrno>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/descriptor/reading.h"
#include "engine/user/layout/advise.h"
#include "engine/user/layout/protect.h"
#include "engine/user/layout/remap.h"
#include "engine/user/layout/unmap.h"
#include "engine/user/lifetime.h"
#include "engine/user/memory/address_space.h"
#include "engine/user/ops/dispatch.h"
#include "engine/user/ops/written_scan.h"
#include "engine/user/remote/remote_descriptor.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

// A descriptor of this process may belong to another copy of this engine: the one in the preload library of `userfault
// run`, where a program links libuserfault as well. That copy answers for its own descriptors through libc's names, and
// their memory is served in this process; the agent would be a detour.
bool belongs_to_preload(int fd) noexcept {
  enum : std::uint8_t { kUnknown, kYes, kNo };
  static constinit std::atomic<std::uint8_t> answer = kUnknown;
  if (answer.load() == kUnknown) answer.store(::ioctl(fd, kAskPreload) == 0 ? kYes : kNo);
  return answer.load() == kYes;
}

// Which code answers for a descriptor.
enum class Owner : std::uint8_t {
  kLocal,    // this engine: the instance is this process's
  kPreload,  // the engine in the preload library of this process, through libc's names
  kRemote,   // the agent of another process, or none any more
  kNotOurs,  // no descriptor of the user engine
};

struct Route {
  Owner owner = Owner::kNotOurs;
  Instance* instance = nullptr;  // not null exactly for kLocal
};

Route route_of(int fd) noexcept {
  if (Instance* instance = find_instance(fd); instance != nullptr) return {Owner::kLocal, instance};
  if (!is_marked(fd)) return {};
  return {belongs_to_preload(fd) ? Owner::kPreload : Owner::kRemote};
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
  bool owns(int fd) const noexcept override { return route_of(fd).owner != Owner::kNotOurs; }

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
    const Route route = route_of(fd);
    switch (route.owner) {
      case Owner::kLocal: break;
      case Owner::kPreload: return kernel_engine().poll_events(fd, events, reported);
      case Owner::kRemote: return remote::poll_events(fd, reported);
      case Owner::kNotOurs: return reported;
    }
    return !route.instance->enabled.load() || is_blocking(fd) ? static_cast<short>(POLLERR) : reported;
  }

  int close(int fd) noexcept override {
    const Route route = route_of(fd);
    if (route.owner == Owner::kPreload) return kernel_engine().close(fd);
    if (route.owner != Owner::kLocal) return static_cast<int>(sys::close(fd));
    {
      SignalsBlocked blocked;
      forget_read_fd(*route.instance, fd);
    }
    const long result = sys::close(fd);
    end_if_closed(*route.instance);
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
    const Route route = route_of(fd);
    if (route.owner == Owner::kNotOurs) return -EBADF;
    // The threads that would run it are another process's, or another engine's.
    if (route.owner != Owner::kLocal || !route.instance->enabled.load()) return -EINVAL;
    user::invoke_in_thread.store(invoke_keeping_errno);
    user::set_in_thread(*route.instance, {.function = handler, .context = context});
    return 0;
  }
};

}  // namespace

Engine& instance() noexcept {
  static constinit UserEngine engine;
  return engine;
}

int try_operate(int fd, unsigned long request, void* argument) noexcept {
  const Route route = route_of(fd);
  switch (route.owner) {
    case Owner::kLocal: return user::operate(*route.instance, request, argument);
    case Owner::kPreload: return kernel_engine().operate(fd, request, argument);
    case Owner::kRemote: return remote::operate(fd, request, argument);
    case Owner::kNotOurs: break;
  }
  return kNotOurs;
}

namespace {

// What userfaultfd_read() refuses first.
bool may_read(const Instance& instance, std::size_t bytes) noexcept {
  return instance.enabled.load() && bytes >= sizeof(userfault_msg);
}

}  // namespace

ssize_t try_read(int fd, void* buffer, std::size_t bytes) noexcept {
  const Route route = route_of(fd);
  switch (route.owner) {
    case Owner::kLocal: break;
    case Owner::kPreload: return kernel_engine().read(fd, buffer, bytes);
    case Owner::kRemote: return remote::read(fd, static_cast<char*>(buffer), bytes);
    case Owner::kNotOurs: return kNotOurs;
  }
  if (!may_read(*route.instance, bytes)) return -EINVAL;
  return read_messages(*route.instance, fd, static_cast<char*>(buffer), bytes / sizeof(userfault_msg));
}

ssize_t read_now(int fd, void* buffer, std::size_t bytes) noexcept {
  const Route route = route_of(fd);
  switch (route.owner) {
    case Owner::kLocal: break;
    case Owner::kPreload:
      // Through libc's names there is no read that never waits; the agent does not.
      if (!is_blocking(fd)) return kernel_engine().read(fd, buffer, bytes);
      return remote::read_now(fd, static_cast<char*>(buffer), bytes);
    case Owner::kRemote: return remote::read_now(fd, static_cast<char*>(buffer), bytes);
    case Owner::kNotOurs: return -EBADF;
  }
  if (!may_read(*route.instance, bytes)) return -EINVAL;
  return read_available(*route.instance, static_cast<char*>(buffer), bytes / sizeof(userfault_msg));
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
