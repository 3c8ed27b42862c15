// SPDX-License-Identifier: Apache-2.0
#include "preload/open/userfaultfd.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "engine/open_methods.h"
#include "preload/open/numbers.h"
#include "preload/settings.h"
#include "preload/symbols/libc_symbols.h"

namespace userfault::preload {
namespace {

constexpr char kDevice[] = "/dev/userfaultfd";
constexpr char kStandIn[] = "userfault-device";

// Not the door's fault, and no better with another engine.
bool is_final(int error) noexcept { return error == -EMFILE || error == -ENFILE || error == -ENOMEM; }

int log_opened(int fd, const char* engine, const char* why) noexcept {
  if (fd >= 0) log_line("userfaultfd %d: the %s engine%s", fd, engine, why);
  return fd;
}

// The process whose memory this is: who finds a number here that is not its own borrows it. fork(3)'s
// children write their own; those of other copies find it wiped, and unknown.
struct alignas(4096) Owner {
  std::atomic<pid_t> process;
};
constinit Owner owner;

// A child that borrows this process's memory (vfork, clone with CLONE_VM) cannot have an instance in
// it: the agent's thread would be the child's. libuserfault asks the kernel from such a child, whose
// answer decides nothing but whether the question kills.
bool is_borrowing() noexcept {
  const pid_t self = engine::user::sys::getpid();
  const pid_t found = owner.process.load();
  return found != 0 && found != self;
}

void note_child() noexcept { owner.process.store(engine::user::sys::getpid()); }

int open_ours(int flags, const char* why) noexcept {
  if (is_borrowing()) return -EPERM;
  const int fd = user_engine().open(flags);
  if (fd < 0) log_line("no userfaultfd: the user engine says %s", strerrorname_np(-fd));
  if (fd >= 0) {
    mark_number(fd);
    on_descriptor_opened();
  }
  return log_opened(fd, "user", why);
}

// Which of the kernel's descriptors, by number, were opened with UFFD_USER_MODE_ONLY: nothing else tells.
constinit std::array<std::atomic<bool>, 1024> user_mode_only{};

int open_either(engine::OpenMethod door, int flags) noexcept {
  const int kernel = engine::open_through(door, flags);
  if (kernel >= 0) {
    const auto number = static_cast<std::size_t>(kernel);
    if (number < user_mode_only.size()) user_mode_only[number].store((flags & USERFAULT_USER_MODE_ONLY) != 0);
    return log_opened(kernel, "kernel's", "");
  }
  if (is_final(kernel)) return kernel;
  char why[80];
  std::snprintf(why, sizeof why, ", because the kernel's says %s", strerrorname_np(-kernel));
  const int ours = open_ours(flags, why);
  // Where neither works, the kernel's answer is the one that the program knows.
  return ours >= 0 || ours == -EINVAL ? ours : kernel;
}

// The target of /proc/self/fd/`fd`, or an empty string.
using Link = std::array<char, 64>;
Link link_of(int fd) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  Link link{};
  const long length = engine::user::raw_syscall(SYS_readlinkat, AT_FDCWD, engine::user::as_long(path),
                                                engine::user::as_long(link.data()), link.size() - 1);
  link[length > 0 ? static_cast<std::size_t>(length) : 0] = '\0';
  return link;
}

// Whether what stands before the last slash of `path` is /dev by another name.
bool lies_in_dev(int directory, const char* path, const char* name) noexcept {
  char folder[256] = ".";
  const auto length = static_cast<std::size_t>(name - path);
  if (length >= sizeof folder) return false;
  if (length > 0) {
    std::memcpy(folder, path, length);
    folder[length] = '\0';
  }
  const long fd = engine::user::raw_syscall(SYS_openat, directory, engine::user::as_long(folder),
                                            O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return false;
  const Link link = link_of(static_cast<int>(fd));
  engine::user::sys::close(static_cast<int>(fd));
  return std::strcmp(link.data(), "/dev") == 0;
}

// Paths that end otherwise cost one look at their last part.
bool names_device(int directory, const char* path) noexcept {
  constexpr const char* kName = kDevice + 5;
  if (path == nullptr) return false;
  const char* const slash = std::strrchr(path, '/');
  const char* const name = slash != nullptr ? slash + 1 : path;
  if (std::strcmp(name, kName) != 0) return false;
  return std::strcmp(path, kDevice) == 0 || lies_in_dev(directory, path, name);
}

}  // namespace

void note_process() noexcept {
  constexpr int kWipeOnFork = 18;  // MADV_WIPEONFORK, Linux 4.14
  if (engine::user::sys::madvise(reinterpret_cast<std::uintptr_t>(&owner), sizeof owner, kWipeOnFork) < 0) return;
  note_child();
  pthread_atfork(nullptr, nullptr, note_child);
}

int open_userfaultfd(int flags) noexcept {
  switch (settings().choice) {
    case Choice::kUser: return open_ours(flags, "");
    case Choice::kKernel:
      return log_opened(static_cast<int>(engine::user::raw_syscall(SYS_userfaultfd, flags)), "kernel's", "");
    case Choice::kAutomatic: break;
  }
  return open_either(engine::OpenMethod::kSyscall, flags);
}

// The number stays, what is behind it changes: nothing has been done with it yet, since the handshake
// comes first.
bool replace_refused(int fd) noexcept {
  if (settings().choice != Choice::kAutomatic || !engine::kernel_engine().owns(fd)) return false;
  const long status = engine::user::raw_syscall(SYS_fcntl, fd, F_GETFL);
  const bool closes = (engine::user::raw_syscall(SYS_fcntl, fd, F_GETFD) & FD_CLOEXEC) != 0;
  const auto number = static_cast<std::size_t>(fd);
  const bool only = number < user_mode_only.size() && user_mode_only[number].load();
  const int flags = static_cast<int>(status & O_NONBLOCK) | (only ? USERFAULT_USER_MODE_ONLY : 0);
  const int ours = open_ours(flags | O_CLOEXEC, ", because the kernel's refuses the features");
  if (ours < 0) return false;
  mark_number(fd);
  const long result = engine::user::raw_syscall(SYS_dup3, ours, fd, closes ? O_CLOEXEC : 0);
  user_engine().close(ours);
  return result >= 0;
}

// Only where the device cannot be opened or would not give a descriptor: the program may want other
// things of it that we do not know.
bool wants_stand_in(int directory, const char* path) noexcept {
  const Choice choice = settings().choice;
  if (choice == Choice::kKernel || !names_device(directory, path)) return false;
  return choice == Choice::kUser || !engine::ask(engine::OpenMethod::kDevice, 0).opens();
}

int open_stand_in(int flags) noexcept {
  const int own = (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0;
  const long fd = engine::user::raw_syscall(SYS_memfd_create, engine::user::as_long(kStandIn), own);
  log_line("%s: a stand-in, descriptor %ld", kDevice, fd);
  return static_cast<int>(fd);
}

bool is_stand_in(int fd) noexcept {
  const Link link = link_of(fd);
  return std::strncmp(link.data(), "/memfd:", 7) == 0 &&
         std::strncmp(link.data() + 7, kStandIn, sizeof kStandIn - 1) == 0;
}

}  // namespace userfault::preload
