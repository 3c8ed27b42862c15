// SPDX-License-Identifier: Apache-2.0
// What UFFDIO_REGISTER answers for every kind of memory and every set of modes.
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "base/fd.h"
#include "base/page_size.h"
#include "machine/probe.h"

namespace userfault::machine {
namespace {

// 2 MiB pages are asked for by their size, whatever the system's default (mmap(2), MAP_HUGE_SHIFT).
constexpr int kHuge2MiB = MAP_HUGETLB | (21 << 26);
constexpr std::size_t kHugeBytes = std::size_t{2} << 20;

void* map(std::size_t length, int flags, int file = -1) {
  return ::mmap(nullptr, length, PROT_READ | PROT_WRITE, flags, file, 0);
}

// The mapping keeps the file.
void* map_file(base::Fd file, std::size_t length) {
  if (!file.valid() || ::ftruncate(file.get(), static_cast<off_t>(length)) != 0) return MAP_FAILED;
  return map(length, MAP_SHARED, file.get());
}

void* private_anonymous(std::size_t length) { return map(length, MAP_PRIVATE | MAP_ANONYMOUS); }
void* shared_anonymous(std::size_t length) { return map(length, MAP_SHARED | MAP_ANONYMOUS); }
void* memfd(std::size_t length) { return map_file(base::Fd(::memfd_create("userfault probe", MFD_CLOEXEC)), length); }
void* memfd_private(std::size_t length) {
  const base::Fd file(::memfd_create("userfault probe", MFD_CLOEXEC));
  if (!file.valid() || ::ftruncate(file.get(), static_cast<off_t>(length)) != 0) return MAP_FAILED;
  return map(length, MAP_PRIVATE, file.get());
}
void* tmpfs(std::size_t length) {
  return map_file(base::Fd(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)), length);
}
void* dev_zero(std::size_t length) {
  const base::Fd zero(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  return zero.valid() ? map(length, MAP_SHARED, zero.get()) : MAP_FAILED;
}
void* system_v(std::size_t length) {
  const int id = ::shmget(IPC_PRIVATE, length, IPC_CREAT | 0600);
  if (id < 0) return MAP_FAILED;
  void* const memory = ::shmat(id, nullptr, 0);
  const int error = errno;
  ::shmctl(id, IPC_RMID, nullptr);
  errno = error;
  return memory;
}
void* hugetlb_shared(std::size_t) { return map(kHugeBytes, MAP_SHARED | MAP_ANONYMOUS | kHuge2MiB); }
void* hugetlb_private(std::size_t) { return map(kHugeBytes, MAP_PRIVATE | MAP_ANONYMOUS | kHuge2MiB); }
void* file(std::size_t length) {
  return map_file(base::Fd(::open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)), length);
}

enum class Kind : std::uint8_t { kSmall, kHuge, kSystemV };

struct Backing {
  const char* name;
  void* (*make)(std::size_t length);
  Kind kind = Kind::kSmall;
};

constexpr std::array kBackings{
    Backing{"private-anonymous", private_anonymous},
    Backing{"shared-anonymous", shared_anonymous},
    Backing{"memfd", memfd},
    Backing{"memfd-private", memfd_private},
    Backing{"tmpfs", tmpfs},
    Backing{"sysv", system_v, Kind::kSystemV},
    Backing{"dev-zero", dev_zero},
    Backing{"hugetlb-shared", hugetlb_shared, Kind::kHuge},
    Backing{"hugetlb-private", hugetlb_private, Kind::kHuge},
    Backing{"file", file},
};

Registration try_registration(userfault_engine engine, const Backing& backing, std::uint64_t modes) {
  Registration answer{.backing = backing.name, .modes = Modes(modes)};
  const std::size_t length = backing.kind == Kind::kHuge ? kHugeBytes : base::page_size();
  void* const memory = backing.make(length);
  if (memory == MAP_FAILED) {
    answer.error = errno;
    return answer;
  }
  answer.mapped = true;
  // A descriptor of its own each time: another one's range is EBUSY, and modes add up (row 5).
  int fd = userfault_open(engine, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fd = userfault_open(engine, O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY);
  std::uint64_t operations = 0;
  if (fd < 0 || userfault_ioctl_api(fd, 0, nullptr, nullptr) != 0 ||
      userfault_ioctl_register(fd, memory, length, modes, &operations) != 0)
    answer.error = errno;
  else answer.operations = Operations(operations);
  if (fd >= 0) userfault_close(fd);
  backing.kind == Kind::kSystemV ? ::shmdt(memory) : userfault_munmap(memory, length);
  return answer;
}

}  // namespace

std::vector<Registration> try_registrations(userfault_engine engine) {
  std::vector<Registration> answers;
  for (const Backing& backing : kBackings)
    for (std::uint64_t modes = 1; modes <= 7; ++modes) answers.push_back(try_registration(engine, backing, modes));
  return answers;
}

}  // namespace userfault::machine
