// SPDX-License-Identifier: Apache-2.0
#include "engine/user/proc/vma_query.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>

#include "engine/user/rt/lock.h"

namespace userfault::engine::user {
namespace {

struct ProcmapQuery {  // struct procmap_query, <linux/fs.h> of Linux 6.11
  std::uint64_t size;
  std::uint64_t query_flags;
  std::uint64_t query_addr;
  std::uint64_t vma_start;
  std::uint64_t vma_end;
  std::uint64_t vma_flags;
  std::uint64_t vma_page_size;
  std::uint64_t vma_offset;
  std::uint64_t inode;
  std::uint32_t dev_major;
  std::uint32_t dev_minor;
  std::uint32_t vma_name_size;
  std::uint32_t build_id_size;
  std::uint64_t vma_name_addr;
  std::uint64_t build_id_addr;
};
constexpr unsigned long kProcmapQuery = (3UL << 30) | (sizeof(ProcmapQuery) << 16) | (0x66UL << 8) | 17UL;
constexpr std::uint64_t kCoveringOrNext = 0x10;

// As makedev(3) does it.
std::uint64_t device_number(std::uint64_t major, std::uint64_t minor) noexcept {
  return ((major & 0xfffff000) << 32) | ((major & 0xfff) << 8) | ((minor & 0xffffff00) << 12) | (minor & 0xff);
}

// "[vdso]", "[vvar]", "[vsyscall]", "[uprobes]"; the heap, stacks and named memory are ordinary.
bool is_special(const char* name) noexcept { return name[0] == '[' && (name[1] == 'v' || name[1] == 'u'); }

bool is_system_v(const char* name) noexcept {
  constexpr char kPrefix[] = "/SYSV";
  std::size_t same = 0;
  while (same < sizeof kPrefix - 1 && name[same] == kPrefix[same]) ++same;
  return same == sizeof kPrefix - 1;
}

long query(int maps, std::uintptr_t address, Mapping* mapping) noexcept {
  char name[256];
  name[0] = '\0';
  ProcmapQuery request{};
  request.size = sizeof request;
  request.query_flags = kCoveringOrNext;
  request.query_addr = address;
  request.vma_name_size = sizeof name;
  request.vma_name_addr = reinterpret_cast<std::uintptr_t>(name);
  long result = raw_syscall(SYS_ioctl, maps, static_cast<long>(kProcmapQuery), as_long(&request));
  if (result == -ENAMETOOLONG) {
    request.vma_name_size = 0;
    request.vma_name_addr = 0;
    result = raw_syscall(SYS_ioctl, maps, static_cast<long>(kProcmapQuery), as_long(&request));
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

struct Cursor {
  const char* at;
  const char* end;
  std::uint64_t number(unsigned base) noexcept {
    std::uint64_t value = 0;
    for (; at < end; ++at) {
      const char c = *at;
      const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                             : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                                                    : 99;
      if (digit >= base) break;
      value = value * base + digit;
    }
    return value;
  }
  char take() noexcept { return at < end ? *at++ : '\0'; }
  void skip_spaces() noexcept {
    while (at < end && *at == ' ') ++at;
  }
};

Mapping parse(const char* line, const char* end) noexcept {
  Cursor cursor{line, end};
  Mapping mapping;
  mapping.start = cursor.number(16);
  cursor.take();
  mapping.end = cursor.number(16);
  cursor.take();
  mapping.protection |= cursor.take() == 'r' ? PROT_READ : 0;
  mapping.protection |= cursor.take() == 'w' ? PROT_WRITE : 0;
  mapping.protection |= cursor.take() == 'x' ? PROT_EXEC : 0;
  mapping.shared = cursor.take() == 's';
  cursor.skip_spaces();
  mapping.offset = cursor.number(16);
  cursor.skip_spaces();
  const std::uint64_t major = cursor.number(16);
  cursor.take();
  mapping.device = device_number(major, cursor.number(16));
  cursor.skip_spaces();
  mapping.inode = cursor.number(10);
  cursor.skip_spaces();
  const bool named = cursor.at + 5 < cursor.end;
  mapping.special = named && is_special(cursor.at);
  mapping.system_v = named && is_system_v(cursor.at);
  return mapping;
}

long search_text(int maps, std::uintptr_t address, Mapping* mapping) noexcept {
  Locked locked(text_lock);
  std::size_t kept = 0;
  for (;;) {
    const long got = sys::read(maps, text + kept, sizeof text - kept);
    if (got < 0) return got;
    const char* end = text + kept + got;
    const char* line = text;
    for (const char* at = line; at < end; ++at) {
      if (*at != '\n') continue;
      const Mapping found = parse(line, at);
      if (found.end > address) {
        *mapping = found;
        return 0;
      }
      line = at + 1;
    }
    if (got == 0) return -ENOENT;
    kept = static_cast<std::size_t>(end - line);
    for (std::size_t i = 0; i < kept; ++i) text[i] = line[i];
  }
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
