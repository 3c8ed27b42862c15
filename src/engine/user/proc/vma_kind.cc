// SPDX-License-Identifier: Apache-2.0
#include "engine/user/proc/vma_kind.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

long descriptor_status(int fd, struct stat* status) noexcept {
  return raw_syscall(SYS_newfstatat, fd, as_long(""), as_long(status), AT_EMPTY_PATH);
}

// The devices of the file systems without a name that memfd, System V, /dev/zero and
// MAP_SHARED|MAP_ANONYMOUS live on: a probe of each, made once.
std::uint64_t device_of_memfd(unsigned flags) noexcept {
  const long fd = raw_syscall(SYS_memfd_create, as_long("userfault-probe"), MFD_CLOEXEC | flags);
  if (fd < 0) return 0;
  struct stat status {};
  const long result = descriptor_status(static_cast<int>(fd), &status);
  sys::close(static_cast<int>(fd));
  return result < 0 ? 0 : status.st_dev;
}

struct Devices {
  std::uint64_t shmem = 0;
  std::uint64_t huge = 0;
};

const Devices& devices() noexcept {
  static constinit Devices found{};
  if (found.shmem == 0) found = {.shmem = device_of_memfd(0), .huge = device_of_memfd(MFD_HUGETLB)};
  return found;
}

// The type of the mounted file system with this device, from /proc/self/mountinfo:
// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw" (proc(5)).
enum class FileSystem : std::uint8_t { kOther, kTmpfs, kHugetlbfs };

bool starts_with(const char* text, const char* end, const char* prefix) noexcept {
  for (; *prefix != '\0'; ++text, ++prefix)
    if (text == end || *text != *prefix) return false;
  return true;
}

FileSystem type_of_line(const char* line, const char* end, std::uint64_t device) noexcept {
  const char* at = line;
  for (int field = 0; field < 2; ++field) {
    while (at < end && *at != ' ') ++at;
    if (at < end) ++at;
  }
  std::uint64_t numbers[2] = {0, 0};
  for (std::uint64_t& value : numbers) {
    for (; at < end && *at >= '0' && *at <= '9'; ++at) value = value * 10 + static_cast<std::uint64_t>(*at - '0');
    if (at < end) ++at;
  }
  if (makedev(static_cast<unsigned>(numbers[0]), static_cast<unsigned>(numbers[1])) != device)
    return FileSystem::kOther;
  while (at < end && !starts_with(at, end, " - ")) ++at;
  if (starts_with(at, end, " - tmpfs ")) return FileSystem::kTmpfs;
  return starts_with(at, end, " - hugetlbfs ") ? FileSystem::kHugetlbfs : FileSystem::kOther;
}

FileSystem file_system_of(std::uint64_t device) noexcept {
  const long mounts = sys::openat("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  if (mounts < 0) return FileSystem::kOther;
  char text[8192];
  std::size_t kept = 0;
  FileSystem result = FileSystem::kOther;
  for (;;) {
    const long got = sys::read(static_cast<int>(mounts), text + kept, sizeof text - kept);
    if (got <= 0) break;
    const char* end = text + kept + got;
    const char* line = text;
    for (const char* at = line; at < end && result == FileSystem::kOther; ++at) {
      if (*at != '\n') continue;
      result = type_of_line(line, at, device);
      line = at + 1;
    }
    if (result != FileSystem::kOther) break;
    kept = static_cast<std::size_t>(end - line);
    if (kept == sizeof text) kept = 0;
    for (std::size_t i = 0; i < kept; ++i) text[i] = line[i];
  }
  sys::close(static_cast<int>(mounts));
  return result;
}

bool shows_object(int fd, const Mapping& mapping) noexcept {
  struct stat status {};
  if (descriptor_status(fd, &status) < 0) return false;
  if (status.st_dev != mapping.device || status.st_ino != mapping.inode) return false;
  const long flags = raw_syscall(SYS_fcntl, fd, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) == O_RDWR;
}

char* append_number(char* at, std::uint64_t value, unsigned base) noexcept {
  char digits[20];
  int count = 0;
  do {
    const auto digit = static_cast<char>(value % base);
    digits[count++] = static_cast<char>(digit < 10 ? '0' + digit : 'a' + digit - 10);
    value /= base;
  } while (value != 0);
  while (count > 0) *at++ = digits[--count];
  return at;
}

// /proc/self/map_files/START-END opens the object itself, for whoever has CAP_CHECKPOINT_RESTORE.
int open_map_file(const Mapping& mapping) noexcept {
  char path[64] = "/proc/self/map_files/";
  char* at = append_number(path + 21, mapping.start, 16);
  *at++ = '-';
  *append_number(at, mapping.end, 16) = '\0';
  return static_cast<int>(sys::openat(path, O_RDWR | O_CLOEXEC));
}

// The object that `fd` is open on, with a position of its own.
int open_again(int fd) noexcept {
  char path[32] = "/proc/self/fd/";
  *append_number(path + 14, static_cast<std::uint64_t>(fd), 10) = '\0';
  return static_cast<int>(sys::openat(path, O_RDWR | O_CLOEXEC));
}

// The same for a file system that is mounted nowhere we can see (any more), asked of the object.
FileSystem file_system_of_object(const Mapping& mapping) noexcept {
  bool own = false;
  const int fd = find_object(mapping, &own);
  if (fd < 0) return FileSystem::kOther;
  struct statfs status {};
  const long result = raw_syscall(SYS_fstatfs, fd, as_long(&status));
  sys::close(fd);
  if (result < 0) return FileSystem::kOther;
  constexpr long kTmpfsMagic = 0x01021994;  // <linux/magic.h>
  constexpr long kHugetlbfsMagic = 0x958458f6;
  if (status.f_type == kTmpfsMagic) return FileSystem::kTmpfs;
  return status.f_type == kHugetlbfsMagic ? FileSystem::kHugetlbfs : FileSystem::kOther;
}

// The inode of a System V segment is its identifier, and the first one's is 0.
bool has_object(const Mapping& mapping) noexcept { return mapping.inode != 0 || mapping.system_v; }

FileSystem type_of(const Mapping& mapping) noexcept {
  if (!has_object(mapping)) return FileSystem::kOther;
  // Before Linux 6.11 nothing but the device tells the size of its pages.
  if (mapping.device == devices().huge) return FileSystem::kHugetlbfs;
  if (mapping.system_v) return FileSystem::kOther;
  if (mapping.device == devices().shmem) return FileSystem::kTmpfs;
  const FileSystem mounted = file_system_of(mapping.device);
  return mounted != FileSystem::kOther ? mounted : file_system_of_object(mapping);
}

}  // namespace

MemoryKind classify(const Mapping& mapping) noexcept {
  // System V memory has operations of its own, which userfaultfd takes for a file's (vma_is_shmem;
  // measured on 6.18, whatever the manual page says).
  if (mapping.special) return {};
  MemoryKind kind{.known = true, .shared = mapping.shared};
  const FileSystem type = type_of(mapping);
  kind.huge = mapping.page_size > 4096 || type == FileSystem::kHugetlbfs;
  kind.page_size = mapping.page_size != 0 ? mapping.page_size : kind.huge ? std::size_t{2} << 20 : 4096;
  kind.anonymous = !has_object(mapping) || (kind.huge && !mapping.shared);
  if (!kind.anonymous && !kind.huge && (type != FileSystem::kTmpfs || !mapping.shared)) kind.file = true;
  return kind;
}

int find_object(const Mapping& mapping, bool* own_position) noexcept {
  *own_position = true;
  const int opened = open_map_file(mapping);
  if (opened >= 0) return opened;
  // The program's own descriptor of it is usually open still: a memfd, a file on tmpfs.
  for (int fd = 0; fd < 4096; ++fd) {
    if (!shows_object(fd, mapping)) continue;
    if (const int again = open_again(fd); again >= 0) return again;
    *own_position = false;
    const long copy = raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    return copy < 0 ? -1 : static_cast<int>(copy);
  }
  return -1;
}

}  // namespace userfault::engine::user
