// SPDX-License-Identifier: Apache-2.0
// What is mapped where: PROCMAP_QUERY (Linux 6.11), else the text of /proc/self/maps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user {

struct Mapping {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  int protection = 0;
  bool shared = false;
  bool special = false;   // [vdso], [vvar] …: nothing to register
  bool system_v = false;  // shared memory with operations of its own
  std::uint64_t offset = 0;
  std::uint64_t device = 0;  // as st_dev
  std::uint64_t inode = 0;
  std::size_t page_size = 0;  // 0: not known (no PROCMAP_QUERY)
};

// The mapping that covers `address`, or the first one behind it. 0; -ENOENT when there is none;
// another errno when /proc is not there.
[[nodiscard]] long find_mapping(std::uintptr_t address, Mapping* mapping) noexcept;

}  // namespace userfault::engine::user
