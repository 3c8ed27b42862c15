// SPDX-License-Identifier: Apache-2.0
// Numbers of the kernel's interface that the C library of an older distribution does not have. What a kernel does not
// know it refuses with the errno that stands here.
#pragma once

#include <cstdint>

namespace userfault::engine::user::linux_abi {

// madvise(2); EINVAL before the version that is named.
inline constexpr int kWipeOnFork = 18;      // MADV_WIPEONFORK, Linux 4.14
inline constexpr int kPopulateRead = 22;    // MADV_POPULATE_READ, 5.14; EINVAL too where memory may not be read
inline constexpr int kPopulateWrite = 23;   // MADV_POPULATE_WRITE, 5.14
inline constexpr int kDontneedLocked = 24;  // MADV_DONTNEED_LOCKED, 5.18
inline constexpr int kGuardInstall = 102;   // MADV_GUARD_INSTALL, 6.13 for anonymous memory, 6.15 for files
inline constexpr int kGuardRemove = 103;    // MADV_GUARD_REMOVE

// PROCMAP_QUERY, ioctl(2) on /proc/PID/maps, <linux/fs.h> of Linux 6.11; ENOTTY before.
struct ProcmapQuery {
  std::uint64_t size;
  std::uint64_t query_flags;
  std::uint64_t query_addr;
  std::uint64_t vma_start;
  std::uint64_t vma_end;
  std::uint64_t vma_flags;  // bits 0 to 2 as PROT_*, bit 3: shared
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
inline constexpr unsigned long kProcmapQuery = (3UL << 30) | (sizeof(ProcmapQuery) << 16) | (0x66UL << 8) | 17UL;
inline constexpr std::uint64_t kCoveringOrNextVma = 0x10;

}  // namespace userfault::engine::user::linux_abi
