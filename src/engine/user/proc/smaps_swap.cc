// SPDX-License-Identifier: Apache-2.0
#include "engine/user/proc/smaps_swap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <cstddef>

#include "engine/user/rt/page_size.h"
#include "engine/user/rt/text.h"

namespace userfault::engine::user {
namespace {

bool is_swap_in_use() noexcept {
  struct sysinfo info {};
  return raw_syscall(SYS_sysinfo, as_long(&info)) < 0 || info.totalswap != info.freeswap;
}

// The lines of smaps: one that begins with an address tells of the next mapping, "Swap: N kB" of how
// much of it is swapped out.
class SmapsReader {
 public:
  explicit SmapsReader(std::uintptr_t wanted) noexcept : wanted_(wanted) {}

  // False when all is known.
  bool take(TextCursor line) noexcept {
    const char* begin = line.at;
    const std::uintptr_t start = line.number(16);
    if (line.at > begin && line.is_at("-")) {
      if (inside_) return false;
      inside_ = start == wanted_;
      return true;
    }
    line.at = begin;
    if (!inside_ || !line.is_at("Swap:")) return true;
    line.at += 5;
    line.skip(' ');
    swapped_ = line.at < line.end && *line.at != '0';
    return false;
  }
  [[nodiscard]] bool swapped() const noexcept { return swapped_; }

 private:
  std::uintptr_t wanted_;
  bool inside_ = false;
  bool swapped_ = false;
};

}  // namespace

bool is_swapped_out(std::uintptr_t address) noexcept {
  if (!is_swap_in_use()) return false;
  // A mapping of that page alone, since smaps sums up (an old size of 0 duplicates, mremap(2)). What
  // cannot be found out counts as there: nothing is overwritten then.
  const long view = sys::mremap(address, 0, kPageSize, MREMAP_MAYMOVE, 0);
  if (is_error(view)) return true;
  SmapsReader reader(static_cast<std::uintptr_t>(view));
  const long smaps = sys::openat("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
  char text[512];  // a signal handler's stack may be small
  const auto take = [&](TextCursor line) { return reader.take(line); };
  const bool known = smaps >= 0 && read_lines(static_cast<int>(smaps), text, sizeof text, take) == 0;
  if (smaps >= 0) sys::close(static_cast<int>(smaps));
  sys::munmap(static_cast<std::uintptr_t>(view), kPageSize);
  return !known || reader.swapped();
}

}  // namespace userfault::engine::user
