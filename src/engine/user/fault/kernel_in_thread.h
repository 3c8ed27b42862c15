// SPDX-License-Identifier: Apache-2.0
// In-thread resolution on the kernel's engine: the part that runs inside SIGBUS.
//
// With UFFD_FEATURE_SIGBUS the kernel sends no message but raises SIGBUS in the thread that faulted.
// The handler looks the address up in a table of served ranges, calls the function set for it, and
// returns: the instruction is tried again.
//
// The table: one block of entries sorted by address, read under a sequence count (seqlock.h). Rejected: a lock for
// readers, which costs two system calls a fault to keep the signals out that could dead-lock on it.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>

#include "engine/user/rt/lock.h"
#include "userfault/abi.h"

namespace userfault::engine::user {

struct ServedRange {
  std::uintptr_t start = 0;  // the first word: what the table is searched by
  std::uintptr_t end = 0;
  std::uint64_t features = 0;
  int (*function)(void* context, int fd, const userfault_msg* fault) = nullptr;
  void* context = nullptr;
  std::uint64_t page_size = 0;
  std::int32_t fd = -1;
  std::int32_t process = 0;  // a child of fork has the table, but its pages are not served by fd
  std::uint32_t modes = 0;   // USERFAULT_REGISTER_MODE_*
  std::uint32_t may_be_poisoned = 0;
};

struct ServedTable {
  const ServedRange* ranges = nullptr;  // sorted and disjoint
  std::size_t count = 0;
  std::size_t base_page = 0;  // the system's page size in bytes
  int (*invoke)(const ServedRange& range, const userfault_msg* fault) = nullptr;
};

// Replaces the table. One writer at a time. False: no memory, and the table stays as it was.
[[nodiscard]] bool publish_served(const ServedTable& fresh) noexcept;

// A registration whose ranges may not be in the table yet, though the kernel has them: a thread that faults
// meanwhile waits until they are. Signals are blocked as long, or a handler could wait for its own thread.
class RegistrationUnderWay {
 public:
  RegistrationUnderWay() noexcept;
  ~RegistrationUnderWay();
  RegistrationUnderWay(const RegistrationUnderWay&) = delete;
  RegistrationUnderWay& operator=(const RegistrationUnderWay&) = delete;

 private:
  SignalsBlocked blocked_;
};

// From the SIGBUS handler: whether the access may be tried again.
[[nodiscard]] bool resolve_served(const siginfo_t* info, void* context) noexcept;

}  // namespace userfault::engine::user
