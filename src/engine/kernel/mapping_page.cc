// SPDX-License-Identifier: Apache-2.0
#include "engine/kernel/mapping_page.h"

#include <cstdio>
#include <memory>

#include "base/page_size.h"

namespace userfault::engine::kernel {

std::size_t mapping_page_size(std::uintptr_t address) noexcept {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/smaps", "re"), &std::fclose);
  if (!file) return base::page_size();
  char line[512];
  bool inside = false;
  while (std::fgets(line, sizeof line, file.get()) != nullptr) {
    unsigned long start = 0;
    unsigned long end = 0;
    unsigned long kilobytes = 0;
    if (std::sscanf(line, "%lx-%lx ", &start, &end) == 2) inside = address >= start && address < end;
    else if (inside && std::sscanf(line, "KernelPageSize: %lu kB", &kilobytes) == 1) return kilobytes * 1024;
  }
  return base::page_size();
}

}  // namespace userfault::engine::kernel
