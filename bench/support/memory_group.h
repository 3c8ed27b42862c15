// SPDX-License-Identifier: Apache-2.0
// A memory cgroup of our own (version 2, or 1), so that mmap can be measured under a budget, too:
// the pages of the page cache that a process brings in count for its group.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace userfault::bench {

class MemoryGroup {
 public:
  MemoryGroup() {
    for (const bool second : {true, false}) {
      const std::string root = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
      path_ = root + "/userfault_bench." + std::to_string(::getpid());
      limit_ = path_ + (second ? "/memory.max" : "/memory.limit_in_bytes");
      if (::mkdir(path_.c_str(), 0755) != 0) continue;
      if (set_limit(UINT64_C(1) << 40)) return;
      ::rmdir(path_.c_str());
    }
    path_.clear();
  }
  ~MemoryGroup() {
    if (!path_.empty()) ::rmdir(path_.c_str());
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  [[nodiscard]] bool valid() const { return !path_.empty(); }
  [[nodiscard]] bool set_limit(std::uint64_t bytes) const { return write(limit_, std::to_string(bytes)); }
  // Puts the calling process in.
  [[nodiscard]] bool enter() const { return write(path_ + "/cgroup.procs", std::to_string(::getpid())); }

 private:
  static bool write(const std::string& path, const std::string& text) {
    std::ofstream file(path);
    file << text << std::flush;
    return file.good();
  }
  std::string path_;
  std::string limit_;
};

}  // namespace userfault::bench
