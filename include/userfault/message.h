// SPDX-License-Identifier: Apache-2.0
// What a monitor reads: the five message kinds of userfaultfd(2), section "Reading from the
// userfaultfd structure", as a variant.
#pragma once

#include <cstdint>
#include <variant>

#include "userfault/range.h"

namespace userfault {

class Descriptor;

// A thread waits (UFFD_EVENT_PAGEFAULT): fill or unprotect the page, or wake the thread. Every
// waiting thread has a message of its own: several for one page are usual, and resolving the page
// answers them all. Without write_protect and minor the page is missing.
struct Fault {
  std::uintptr_t address = 0;   // the start of the page, or with feature::kExactAddress the very byte
  bool write = false;           // the access was a write
  bool write_protect = false;   // the page is there and write-protected: write_unprotect()
  bool minor = false;           // the page cache has the page, the mapping has not: resume()
  std::uint32_t thread_id = 0;  // gettid(2) of the thread, with feature::kThreadId; else 0
};

// The layout events. The thread that caused one waits until it has been read, and while it waits
// copy, zeropage, resume, poison, move and write_protect answer kRetry or EAGAIN.

// The process forked (UFFD_EVENT_FORK, feature::kEventFork). `fd` is a userfaultfd for the child's
// memory, with the same ranges registered, and belongs to whoever got the message: turn it into a
// Descriptor with Descriptor::adopt, or close it.
struct Forked {
  int fd = -1;
};

// mremap(2) moved memory (UFFD_EVENT_REMAP, feature::kEventRemap): what was registered at `from` is
// now at `to`. All in bytes.
struct Remapped {
  std::uintptr_t from = 0;
  std::uintptr_t to = 0;
  std::size_t length = 0;
};

// madvise(2) with MADV_DONTNEED or MADV_REMOVE is about to drop pages (UFFD_EVENT_REMOVE,
// feature::kEventRemove). It comes before they go: a copy into the range that is done in between is
// dropped with them, and the next access faults again.
struct Removed {
  PageRange range;
};

// Memory was unmapped (UFFD_EVENT_UNMAP, feature::kEventUnmap), by munmap(2), or by an mmap(2) or
// mremap(2) over it. It is gone already.
struct Unmapped {
  PageRange range;
};

using Message = std::variant<Fault, Forked, Remapped, Removed, Unmapped>;

}  // namespace userfault
