// SPDX-License-Identifier: Apache-2.0
#include "engine/user/wait/doorbell.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cerrno>

#include "engine/user/rt/check.h"
#include "engine/user/rt/text.h"

namespace userfault::engine::user {
namespace {

// The last read end can be closed while a thread faults. The SIGPIPE that a write then raises is directed at this
// thread, which has it blocked here, and is taken back.
bool ring(int doorbell) noexcept {
  const char byte = 1;
  const long wrote = sys::write(doorbell, &byte, 1);
  if (wrote == -EPIPE) {
    const SignalMask broken_pipe = bit_of(SIGPIPE);
    const timespec now{};
    raw_syscall(SYS_rt_sigtimedwait, as_long(&broken_pipe), 0, as_long(&now), sizeof broken_pipe);
  }
  return wrote == 1;
}

bool leads_to(int fd, std::uint64_t inode) noexcept {
  struct stat status;
  return fd >= 0 && raw_syscall(SYS_newfstatat, fd, as_long(""), as_long(&status), AT_EMPTY_PATH) == 0 &&
         status.st_ino == inode;
}

// The read end anew, from the write end (proc(5), /proc/pid/fd). Negative where there is no /proc.
int open_read_end(int doorbell) noexcept {
  ShortText<32> path;
  path.add("/proc/self/fd/").add_number(static_cast<std::uint64_t>(doorbell));
  return static_cast<int>(sys::openat(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

// Takes the byte out of the pipe. The number that is known of the read end may be closed and another file's by now,
// and when only other processes have one this process has none at all; then the pipe is opened anew for a moment.
void clear_bell(const Instance& instance) noexcept {
  const int read_fd = instance.read_fd;
  const bool known = leads_to(read_fd, instance.pipe_inode);
  const int fd = known ? read_fd : open_read_end(instance.doorbell);
  if (fd < 0) return;
  // Nothing keeps the program from reading the byte with a read(2) of its own, so this must not block whatever the
  // descriptor's flags are.
  char byte;
  const iovec target{&byte, 1};
  constexpr int kNoWait = 8;  // RWF_NOWAIT
  const long got = raw_syscall(SYS_preadv2, fd, as_long(&target), 1, -1, -1, kNoWait);
  if (got == -EOPNOTSUPP || got == -ENOSYS) sys::read(fd, &byte, 1);
  if (!known) sys::close(fd);
}

std::uint32_t note_readable(Instance& instance) noexcept {
  USERFAULT_INVARIANT((instance.events == nullptr) == (instance.last_event == nullptr),
                      "a queue of events has only one end");
  const auto readable = static_cast<std::uint32_t>(instance.pending.count + (instance.events != nullptr ? 1 : 0));
  // Release pairs with the acquire of a reader that looks without the lock.
  instance.readable.store(readable, std::memory_order_release);
  return readable;
}

}  // namespace

void update_bell(Instance& instance) noexcept {
  const std::uint32_t readable = note_readable(instance);
  const auto promised = static_cast<std::uint32_t>(instance.blocked_readers.load(std::memory_order_relaxed));
  const bool wanted = readable > promised;
  if (!instance.used.load() || instance.doorbell < 0) return;
  if (wanted == instance.bell_rung.load(std::memory_order_relaxed)) return;
  if (wanted) {
    if (ring(instance.doorbell)) instance.bell_rung.store(true, std::memory_order_relaxed);
    return;
  }
  clear_bell(instance);
  instance.bell_rung.store(false, std::memory_order_relaxed);
}

bool announce(Instance& instance, bool defer_bell) noexcept {
  USERFAULT_INVARIANT(has_messages(instance), "a message was announced that there is not");
  if (defer_bell) note_readable(instance);
  else update_bell(instance);
  instance.arrivals.fetch_add(1);
  return instance.futex_sleepers.load() != 0;
}

}  // namespace userfault::engine::user
