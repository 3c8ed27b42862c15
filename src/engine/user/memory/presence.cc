// SPDX-License-Identifier: Apache-2.0
#include "engine/user/memory/presence.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engine/user/proc/pagemap.h"
#include "engine/user/proc/smaps_swap.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/linux_abi.h"

namespace userfault::engine::user {

// Before Linux 5.14 an access has to do.
long bring_page(std::uintptr_t address, std::size_t bytes) noexcept {
  const long result = sys::madvise(address, bytes, linux_abi::kPopulateRead);
  char byte;
  return result == -EINVAL && guarded_copy(&byte, reinterpret_cast<const void*>(address), 1) ? 0 : result;
}

namespace {

// hugetlbfs has neither SEEK_DATA nor cachestat(2), its mincore(2) looks at one mapping's page table
// only, and read(2) gives the same zeroes for a page of zeroes and for a hole. What tells them apart
// is a private mapping of the page: read, it shows the object's page where there is one, which is
// bit 61 in pagemap, and else an anonymous page of its own, which goes with the mapping.
Presence look_up_huge(const Extent& extent, std::size_t page_index) noexcept {
  if (extent.fd < 0) return Presence::kAbsent;
  struct stat status {};
  const long known = raw_syscall(SYS_newfstatat, extent.fd, as_long(""), as_long(&status), AT_EMPTY_PATH);
  if (known == 0 && status.st_blocks == 0) return Presence::kAbsent;
  const long view =
      sys::mmap(0, extent.page_size(), PROT_READ, MAP_PRIVATE | MAP_NORESERVE, extent.fd, extent.offset_of(page_index));
  if (is_error(view)) return Presence::kUnknown;
  const auto address = static_cast<std::uintptr_t>(view);
  const long shown = bring_page(address, extent.page_size());
  const std::uint64_t entry = shown == 0 ? pagemap_entry(address) : 0;
  sys::munmap(address, extent.page_size());
  // No memory for the page table, or no pagemap.
  if (shown == -ENOMEM || entry == kUnknownEntry) return Presence::kUnknown;
  // If no huge page is free, populating an absent page fails, while a present page needs no allocation.
  return (entry & kEntryOfFile) != 0 ? Presence::kPresent : Presence::kAbsent;
}

}  // namespace

Presence look_up_cached(const Extent& extent, std::size_t page_index) noexcept {
  USERFAULT_INVARIANT(page_index < extent.pages, "a page was looked up that its extent does not have");
  // SEEK_DATA counts what is swapped out as well.
  if (extent.seekable && !extent.huge()) {
    const long offset = extent.offset_of(page_index);
    const long data = raw_syscall(SYS_lseek, extent.fd, offset, SEEK_DATA);
    if (data >= 0 || data == -ENXIO) return data == offset ? Presence::kPresent : Presence::kAbsent;
  }
  unsigned char resident = 0;
  // For shared memory mincore looks into the page cache, whatever this mapping's page table has
  // (mm/mincore.c, since 2.6.20); for hugetlb it knows the page table alone.
  if (extent.alias != 0 && sys::mincore(extent.alias_of(page_index), kPageSize, &resident) == 0 && (resident & 1) != 0)
    return Presence::kPresent;
  if (extent.huge()) return look_up_huge(extent, page_index);
  return extent.alias != 0 && is_swapped_out(extent.alias_of(page_index)) ? Presence::kPresent : Presence::kAbsent;
}

Presence look_up_content(const Area& area, std::size_t index) noexcept {
  const auto presence = [](bool there) { return there ? Presence::kPresent : Presence::kAbsent; };
  switch (area.extent->kind) {
    case Kind::kShared:
    case Kind::kHugeShared:
    case Kind::kHugeConverted: return look_up_cached(*area.extent, index);
    case Kind::kConverted: {
      USERFAULT_INVARIANT(area.extent->fd >= 0, "converted memory has no memfd");
      const long offset = area.extent->offset_of(index);
      return presence(raw_syscall(SYS_lseek, area.extent->fd, offset, SEEK_DATA) == offset);
    }
    default: return presence(is_populated(area.address_of(index)));
  }
}

}  // namespace userfault::engine::user
