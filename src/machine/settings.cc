// SPDX-License-Identifier: Apache-2.0
// Limits and settings of the system, as the system spells them.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "base/fd.h"
#include "base/page_size.h"
#include "machine/probe.h"

namespace userfault::machine {
namespace {

// The first line, without its end; empty when there is no such file.
std::string first_line(const char* path) {
  const base::Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  std::array<char, 256> buffer;
  const ssize_t bytes = file.valid() ? ::read(file.get(), buffer.data(), buffer.size()) : 0;
  if (bytes <= 0) return {};
  const std::string_view text(buffer.data(), static_cast<std::size_t>(bytes));
  return std::string(text.substr(0, text.find('\n')));
}

// "always [madvise] never" → "madvise".
std::string chosen(const char* path) {
  const std::string line = first_line(path);
  const std::size_t open = line.find('[');
  const std::size_t close = line.find(']');
  return open < close && close != std::string::npos ? line.substr(open + 1, close - open - 1) : line;
}

std::string limit(int resource) {
  rlimit value{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &value) != 0) return {};
  return value.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(value.rlim_cur);
}

}  // namespace

std::vector<Setting> read_settings() {
  return {
      {"page-size", std::to_string(base::page_size())},
      {"vm.unprivileged_userfaultfd", first_line("/proc/sys/vm/unprivileged_userfaultfd")},
      {"vm.max_map_count", first_line("/proc/sys/vm/max_map_count")},
      {"vm.overcommit_memory", first_line("/proc/sys/vm/overcommit_memory")},
      {"hugepages-2MiB-total", first_line("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")},
      {"hugepages-2MiB-free", first_line("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")},
      {"hugepages-1GiB-total", first_line("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages")},
      {"transparent-hugepages", chosen("/sys/kernel/mm/transparent_hugepage/enabled")},
      {"transparent-hugepages-shmem", chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled")},
      {"descriptors-limit", limit(RLIMIT_NOFILE)},
      {"locked-memory-limit", limit(RLIMIT_MEMLOCK)},
  };
}

}  // namespace userfault::machine
