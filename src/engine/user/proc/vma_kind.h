// SPDX-License-Identifier: Apache-2.0
// What kind of memory a mapping is, and the file behind it.
#pragma once

#include <cstddef>

#include "engine/user/proc/vma_query.h"
#include "engine/user/rt/page_size.h"

namespace userfault::engine::user {

struct MemoryKind {
  bool known = false;  // false: none of what userfaultfd can serve
  bool anonymous = false;
  bool shared = false;
  bool huge = false;
  bool file = false;  // any other mapping: FEATURE_WP_ASYNC may protect it
  std::size_t page_size = kPageSize;
};

[[nodiscard]] MemoryKind memory_kind_of(const Mapping& mapping) noexcept;

// A new descriptor of the file that `mapping` shows, open for reading and writing; -1 when there is no way to one
// (mincore and an alias do then). Where it shares its position with one of the program's, which must not be moved,
// `own_position` is false.
[[nodiscard]] int open_file_of(const Mapping& mapping, bool* own_position) noexcept;

}  // namespace userfault::engine::user
