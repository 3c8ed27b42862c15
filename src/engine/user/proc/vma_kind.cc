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

#include "engine/user/rt/page_size.h"
#include "engine/user/rt/text.h"

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

FileSystem type_of_line(TextCursor line, std::uint64_t device) noexcept {
  for (int field = 0; field < 2; ++field) {
    line.skip_to(" ");
    line.take();
  }
  const auto major = static_cast<unsigned>(line.number(10));
  line.take();
  if (makedev(major, static_cast<unsigned>(line.number(10))) != device) return FileSystem::kOther;
  line.skip_to(" - ");
  if (line.is_at(" - tmpfs ")) return FileSystem::kTmpfs;
  return line.is_at(" - hugetlbfs ") ? FileSystem::kHugetlbfs : FileSystem::kOther;
}

FileSystem file_system_of(std::uint64_t device) noexcept {
  const long mounts = sys::openat("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  if (mounts < 0) return FileSystem::kOther;
  char text[8192];
  FileSystem result = FileSystem::kOther;
  const auto take = [&](TextCursor line) {
    result = type_of_line(line, device);
    return result == FileSystem::kOther;
  };
  static_cast<void>(read_lines(static_cast<int>(mounts), text, sizeof text, take));
  sys::close(static_cast<int>(mounts));
  return result;
}

bool is_open_on(int fd, const Mapping& mapping) noexcept {
  struct stat status {};
  if (descriptor_status(fd, &status) < 0) return false;
  if (status.st_dev != mapping.device || status.st_ino != mapping.inode) return false;
  const long flags = raw_syscall(SYS_fcntl, fd, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) == O_RDWR;
}

// /proc/self/map_files/START-END opens the file itself, for a process with CAP_CHECKPOINT_RESTORE.
int open_map_file(const Mapping& mapping) noexcept {
  ShortText<64> path;
  path.add("/proc/self/map_files/").add_number(mapping.start, 16).add('-').add_number(mapping.end, 16);
  return static_cast<int>(sys::openat(path.c_str(), O_RDWR | O_CLOEXEC));
}

// The file that `fd` is open on, with a position of its own.
int open_again(int fd) noexcept {
  ShortText<32> path;
  path.add("/proc/self/fd/").add_number(static_cast<std::uint64_t>(fd));
  return static_cast<int>(sys::openat(path.c_str(), O_RDWR | O_CLOEXEC));
}

// The same for a file system that this process sees mounted nowhere (any more), asked of the file.
FileSystem file_system_of_file(const Mapping& mapping) noexcept {
  bool own = false;
  const int fd = open_file_of(mapping, &own);
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
bool has_file(const Mapping& mapping) noexcept { return mapping.inode != 0 || mapping.system_v; }

FileSystem type_of(const Mapping& mapping) noexcept {
  if (!has_file(mapping)) return FileSystem::kOther;
  // Before Linux 6.11 nothing but the device tells the size of its pages.
  if (mapping.device == devices().huge) return FileSystem::kHugetlbfs;
  if (mapping.system_v) return FileSystem::kOther;
  if (mapping.device == devices().shmem) return FileSystem::kTmpfs;
  const FileSystem mounted = file_system_of(mapping.device);
  return mounted != FileSystem::kOther ? mounted : file_system_of_file(mapping);
}

}  // namespace

MemoryKind memory_kind_of(const Mapping& mapping) noexcept {
  // System V memory has operations of its own, which userfaultfd takes for a file's (vma_is_shmem;
  // measured on 6.18, whatever the manual page says).
  if (mapping.special) return {};
  MemoryKind kind{.known = true, .shared = mapping.shared};
  const FileSystem type = type_of(mapping);
  kind.huge = mapping.page_size > kPageSize || type == FileSystem::kHugetlbfs;
  kind.page_size = mapping.page_size != 0 ? mapping.page_size : kind.huge ? std::size_t{2} << 20 : kPageSize;
  kind.anonymous = !has_file(mapping) || (kind.huge && !mapping.shared);
  if (!kind.anonymous && !kind.huge && (type != FileSystem::kTmpfs || !mapping.shared)) kind.file = true;
  return kind;
}

int open_file_of(const Mapping& mapping, bool* own_position) noexcept {
  *own_position = true;
  const int opened = open_map_file(mapping);
  if (opened >= 0) return opened;
  // The program's own descriptor of it is usually open still: a memfd, a file on tmpfs.
  constexpr int kMostDescriptors = 4096;
  for (int fd = 0; fd < kMostDescriptors; ++fd) {
    if (!is_open_on(fd, mapping)) continue;
    if (const int again = open_again(fd); again >= 0) return again;
    *own_position = false;
    const long copy = raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    return copy < 0 ? -1 : static_cast<int>(copy);
  }
  return -1;
}

}  // namespace userfault::engine::user
