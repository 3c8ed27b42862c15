// SPDX-License-Identifier: Apache-2.0
#include "engine/user/user_engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <cerrno>

#include "engine/user/layout.h"
#include "engine/user/operate.h"
#include "engine/user/registration.h"
#include "engine/user/scan.h"
#include "engine/user/sigsafe/copy.h"
#include "engine/user/sigsafe/handler.h"
#include "engine/user/sigsafe/instance.h"

namespace userfault::engine::user {
namespace {

using namespace sigsafe;

constinit Mutex opening;
constinit std::atomic<int> instances_used{0};
constinit bool prepared = false;

long fcntl_call(int fd, int command, long argument = 0) noexcept {
  return raw_syscall(SYS_fcntl, fd, command, argument);
}

// The pipe is the descriptor's identity: it survives dup, inheritance and SCM_RIGHTS, and a number
// that was closed behind our back and given to something else is not mistaken for it.
Instance* find(int fd) noexcept {
  if (instances_used.load(std::memory_order_acquire) == 0 || fd < 0) return nullptr;
  struct stat status;
  if (raw_syscall(SYS_newfstatat, fd, as_long(""), as_long(&status), AT_EMPTY_PATH) < 0) return nullptr;
  if (!S_ISFIFO(status.st_mode)) return nullptr;
  for (Instance& instance : instances) {
    if (!instance.used.load(std::memory_order_acquire) || instance.pipe_inode != status.st_ino) continue;
    instance.reader = fd;
    return &instance;
  }
  return nullptr;
}

long prepare() noexcept {
  // Every time: the program may have taken the signals for itself since the last one. Its handler is
  // then what ours chains to.
  if (const long result = install_handlers(); result < 0) return result;
  if (prepared) return 0;
  if (const long result = prepare_waiters(); result < 0) return result;
  note_processors();
  prepared = true;
  return 0;
}

struct Pipe {
  int reader = -1;
  int writer = -1;
};

// The write end moves out of the way of programs that count on low numbers.
long make_pipe(int flags, Pipe* pipe) noexcept {
  int ends[2];
  if (const long result = raw_syscall(SYS_pipe2, as_long(ends), O_CLOEXEC); result < 0) return result;
  *pipe = {.reader = ends[0], .writer = ends[1]};
  constexpr long kOutOfTheWay = 900;
  if (const long moved = fcntl_call(ends[1], F_DUPFD_CLOEXEC, kOutOfTheWay); moved >= 0) {
    sys::close(ends[1]);
    pipe->writer = static_cast<int>(moved);
  }
  fcntl_call(pipe->writer, F_SETFL, O_WRONLY | O_NONBLOCK);
  if ((flags & O_CLOEXEC) == 0) fcntl_call(pipe->reader, F_SETFD, 0);
  if ((flags & O_NONBLOCK) != 0) fcntl_call(pipe->reader, F_SETFL, O_NONBLOCK);
  return 0;
}

Instance* free_instance() noexcept {
  for (Instance& instance : instances)
    if (!instance.used.load()) return &instance;
  return nullptr;
}

int open_instance(int flags) noexcept {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY)) != 0) return -EINVAL;
  SignalsBlocked blocked;
  Locked locked(opening);
  if (const long result = prepare(); result < 0) return static_cast<int>(result);
  Instance* instance = free_instance();
  if (instance == nullptr) return -EMFILE;
  Pipe pipe;
  if (const long result = make_pipe(flags, &pipe); result < 0) return static_cast<int>(result);
  struct stat status;
  raw_syscall(SYS_newfstatat, pipe.reader, as_long(""), as_long(&status), AT_EMPTY_PATH);
  instance->pipe_inode = status.st_ino;
  instance->doorbell = pipe.writer;
  instance->reader = pipe.reader;
  instance->user_mode_only = (flags & USERFAULT_USER_MODE_ONLY) != 0;
  instance->enabled.store(false);
  instance->features = 0;
  instance->bell_rung.store(false);
  instance->in_thread.store(nullptr);
  instance->changing.store(0);
  instance->foreign = false;
  instance->used.store(true, std::memory_order_release);
  instances_used.fetch_add(1, std::memory_order_release);
  return pipe.reader;
}

// Whether any read end of the pipe is open anywhere: its write end reports POLLERR when none is.
bool has_readers(const Instance& instance) noexcept {
  pollfd entry{.fd = instance.doorbell, .events = 0, .revents = 0};
  const timespec now{};
  raw_syscall(SYS_ppoll, as_long(&entry), 1, as_long(&now), 0, 8);
  return (entry.revents & POLLERR) == 0;
}

void end_instance(Instance& instance) noexcept {
  unregister_all(instance);
  SignalsBlocked blocked;
  Locked locked(opening);
  if (!instance.used.load()) return;
  instance.used.store(false);
  release_all(instance);
  sys::close(instance.doorbell);
  instance.doorbell = -1;
  instances_used.fetch_sub(1);
}

ssize_t deliver(const userfault_msg* messages, std::size_t count, char* buffer) noexcept {
  const std::size_t bytes = count * sizeof(userfault_msg);
  return guarded_copy(buffer, messages, bytes) ? static_cast<ssize_t>(bytes) : -EFAULT;
}

constexpr std::size_t kBatch = 32;

ssize_t read_available(Instance& instance, char* buffer, std::size_t count) noexcept {
  userfault_msg messages[kBatch];
  SignalsBlocked blocked;
  const std::size_t taken = take_messages(instance, messages, count < kBatch ? count : kBatch);
  return taken > 0 ? deliver(messages, taken, buffer) : -EAGAIN;
}

ssize_t read_messages(Instance& instance, int fd, char* buffer, std::size_t count) noexcept {
  userfault_msg messages[kBatch];
  const std::size_t most = count < kBatch ? count : kBatch;
  const ssize_t available = read_available(instance, buffer, count);
  if (available != -EAGAIN || !is_blocking(fd)) return available;
  enter_reader(instance);
  ssize_t result;
  for (;;) {
    const std::uint32_t seen = instance.arrivals.load();
    std::size_t taken;
    {
      SignalsBlocked blocked;
      taken = take_messages(instance, messages, most);
    }
    if (taken > 0) {
      result = deliver(messages, taken, buffer);
      break;
    }
    if (!instance.used.load()) {
      result = -EBADF;
      break;
    }
    result = wait_readable(instance, seen);
    if (result < 0) break;
  }
  SignalsBlocked blocked;
  leave_reader(instance);
  return result;
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
  bool owns(int fd) const noexcept override { return find(fd) != nullptr; }

  int operate(int fd, unsigned long request, void* argument) noexcept override {
    Instance* instance = find(fd);
    return instance != nullptr ? user::operate(*instance, request, argument) : -EBADF;
  }

  ssize_t read(int fd, void* buffer, std::size_t bytes) noexcept override {
    Instance* instance = find(fd);
    if (instance == nullptr) return -EBADF;
    if (!instance->enabled.load() || bytes < sizeof(userfault_msg)) return -EINVAL;
    return read_messages(*instance, fd, static_cast<char*>(buffer), bytes / sizeof(userfault_msg));
  }

  // userfaultfd_poll(): before the handshake, and on a descriptor that blocks, POLLERR.
  short poll_events(int fd, short, short reported) noexcept override {
    const Instance* instance = find(fd);
    if (instance == nullptr) return reported;
    return !instance->enabled.load() || is_blocking(fd) ? static_cast<short>(POLLERR) : reported;
  }

  int close(int fd) noexcept override {
    Instance* instance = find(fd);
    if (instance != nullptr) {
      SignalsBlocked blocked;
      forget_reader(*instance, fd);
    }
    const long result = sys::close(fd);
    if (instance != nullptr && !has_readers(*instance)) end_instance(*instance);
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
    Instance* instance = find(fd);
    if (instance == nullptr) return -EBADF;
    if (!instance->enabled.load()) return -EINVAL;
    sigsafe::invoke_in_thread.store(invoke_keeping_errno);
    instance->in_thread.store(nullptr);
    instance->in_thread_context = context;
    instance->in_thread.store(handler, std::memory_order_release);
    return 0;
  }
};

}  // namespace

Engine& instance() noexcept {
  static constinit UserEngine engine;
  return engine;
}

bool is_blocking(int fd) noexcept { return (fcntl_call(fd, F_GETFL) & O_NONBLOCK) == 0; }

ssize_t read_now(int fd, void* buffer, std::size_t bytes) noexcept {
  Instance* instance = find(fd);
  if (instance == nullptr) return -EBADF;
  if (!instance->enabled.load() || bytes < sizeof(userfault_msg)) return -EINVAL;
  return read_available(*instance, static_cast<char*>(buffer), bytes / sizeof(userfault_msg));
}

bool is_active() noexcept { return instances_used.load() != 0 || space.begin() != space.end(); }

}  // namespace userfault::engine::user
