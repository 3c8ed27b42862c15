// SPDX-License-Identifier: Apache-2.0
// A limit on this process's memory that the kernel answers with ENOMEM instead of with the
// out-of-memory killer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "support/process.h"

namespace userfault::conformance {

// A memory cgroup of its own for this process. Its destructor moves the process back and removes
// it. Throws Skip with the reason where that cannot be had: it takes root, and a memory controller.
class MemoryLimit {
 public:
  MemoryLimit();
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;
  ~MemoryLimit();

  // From now on there is no more than what is in use. Between the two nothing but the operation
  // under test may run: a page fault of the program waits for memory. Make both calls and the
  // operation once with rehearse() before, so that what they touch is there. A process outside of
  // the group does the work, and gives the memory back by itself when thaw() does not come.
  void rehearse();
  void freeze();
  void thaw();

 private:
  void command(std::uint64_t what);
  void serve() const;
  void set_limit(const std::string& value) const;
  [[nodiscard]] std::string usage() const;

  std::string parent_;
  std::string group_;
  bool second_version_ = false;
  int commands_ = -1;
  int answers_ = -1;
  std::unique_ptr<ChildProcess> warden_;
};

}  // namespace userfault::conformance
