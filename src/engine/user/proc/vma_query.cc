// SPDX-License-Identifier: Apache-2.0
#include "engine/user/proc/vma_query.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>

#include "engine/user/rt/linux_abi.h"
#include "engine/user/rt/lock.h"
#include "engine/user/rt/text.h"

namespace userfault::engine::user {
namespace {

// As makedev(3) does it.
std::uint64_t device_number(std::uint64_t major, std::uint64_t minor) noexcept {
  return ((major & 0xfffff000) << 32) | ((major & 0xfff) << 8) | ((minor & 0xffffff00) << 12) | (minor & 0xff);
}

// "[vdso]", "[vvar]", "[vsyscall]", "[uprobes]"; the heap, stacks and named memory are ordinary.
bool is_special(const char* name) noexcept { return name[0] == '[' && (name[1] == 'v' || name[1] == 'u'); }

bool is_system_v(const char* name) noexcept {
  const char* prefix = "/SYSV";
  while (*prefix != '\0' && *name == *prefix) ++name, ++prefix;
  return *prefix == '\0';
}

long query(int maps, std::uintptr_t address, Mapping* mapping) noexcept {
  char name[256];
  name[0] = '\0';
  linux_abi::ProcmapQuery request{};
  request.size = sizeof request;
  request.query_flags = linux_abi::kCoveringOrNextVma;
  request.query_addr = address;
  request.vma_name_size = sizeof name;
  request.vma_name_addr = reinterpret_cast<std::uintptr_t>(name);
  long result = raw_syscall(SYS_ioctl, maps, static_cast<long>(linux_abi::kProcmapQuery), as_long(&request));
  if (result == -ENAMETOOLONG) {
    request.vma_name_size = 0;
    request.vma_name_addr = 0;
    result = raw_syscall(SYS_ioctl, maps, static_cast<long>(linux_abi::kProcmapQuery), as_long(&request));
  }
  if (result < 0) return result;
  *mapping = {.start = request.vma_start,
              .end = request.vma_end,
              .protection = static_cast<int>(request.vma_flags & 7),
              .shared = (request.vma_flags & 8) != 0,
              .special = is_special(name),
              .system_v = is_system_v(name),
              .offset = request.vma_offset,
              .device = device_number(request.dev_major, request.dev_minor),
              .inode = request.inode,
              .page_size = request.vma_page_size};
  return 0;
}

// ---- the text ----

constinit Mutex text_lock;
constinit char text[1 << 16];

Mapping parse(TextCursor cursor) noexcept {
  Mapping mapping;
  mapping.start = cursor.number(16);
  cursor.take();
  mapping.end = cursor.number(16);
  cursor.take();
  mapping.protection |= cursor.take() == 'r' ? PROT_READ : 0;
  mapping.protection |= cursor.take() == 'w' ? PROT_WRITE : 0;
  mapping.protection |= cursor.take() == 'x' ? PROT_EXEC : 0;
  mapping.shared = cursor.take() == 's';
  cursor.skip(' ');
  mapping.offset = cursor.number(16);
  cursor.skip(' ');
  const std::uint64_t major = cursor.number(16);
  cursor.take();
  mapping.device = device_number(major, cursor.number(16));
  cursor.skip(' ');
  mapping.inode = cursor.number(10);
  cursor.skip(' ');
  const bool named = cursor.at + 5 < cursor.end;
  mapping.special = named && is_special(cursor.at);
  mapping.system_v = named && is_system_v(cursor.at);
  return mapping;
}

long search_text(int maps, std::uintptr_t address, Mapping* mapping) noexcept {
  Locked locked(text_lock);
  bool found = false;
  const long result = read_lines(maps, text, sizeof text, [&](TextCursor line) {
    *mapping = parse(line);
    found = mapping->end > address;
    return !found;
  });
  return found ? 0 : result < 0 ? result : -ENOENT;
}

constinit std::atomic<bool> no_query{false};

}  // namespace

long find_mapping(std::uintptr_t address, Mapping* mapping) noexcept {
  const long maps = sys::openat("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (maps < 0) return maps;
  long result = no_query.load() ? -ENOTTY : query(static_cast<int>(maps), address, mapping);
  if (result == -ENOTTY || result == -EINVAL) {
    no_query.store(true);
    result = search_text(static_cast<int>(maps), address, mapping);
  }
  sys::close(static_cast<int>(maps));
  return result;
}

}  // namespace userfault::engine::user
