// SPDX-License-Identifier: Apache-2.0
// What a monitor reads: the five message kinds of userfaultfd(2), section "Reading from the
// userfaultfd structure", as a variant.
#pragma once

#include <cstdint>
#include <variant>

#include "userfault/range.h"

namespace userfault {

class Descriptor;

// A thread waits (UFFD_EVENT_PAGEFAULT).
struct Fault {
  std::uintptr_t address = 0;  // aligned to the page, unless feature::kExactAddress is on
  bool write = false;          // the access was a write
  bool write_protect = false;  // the page is write-protected
  bool minor = false;          // the page cache has the page, the mapping has not
  std::uint32_t thread_id = 0; // with feature::kThreadId; else 0
};

// The process forked (UFFD_EVENT_FORK). `fd` is the child's descriptor and belongs to whoever got
// the message: turn it into a Descriptor with Descriptor::adopt, or close it.
struct Forked {
  int fd = -1;
};

// mremap(2) moved memory (UFFD_EVENT_REMAP). Addresses and length in bytes.
struct Remapped {
  std::uintptr_t from = 0;
  std::uintptr_t to = 0;
  std::size_t length = 0;
};

// madvise(2) is about to drop pages (UFFD_EVENT_REMOVE).
struct Removed {
  PageRange range;
};

// Memory was unmapped (UFFD_EVENT_UNMAP).
struct Unmapped {
  PageRange range;
};

using Message = std::variant<Fault, Forked, Remapped, Removed, Unmapped>;

}  // namespace userfault
