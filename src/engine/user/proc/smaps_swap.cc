// SPDX-License-Identifier: Apache-2.0
#include "engine/user/proc/smaps_swap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <cstddef>

#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

constexpr std::size_t kPage = 4096;

bool is_swap_in_use() noexcept {
  struct sysinfo info {};
  return raw_syscall(SYS_sysinfo, as_long(&info)) < 0 || info.totalswap != info.freeswap;
}

unsigned digit_of(char c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  return c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10) : 16;
}

// The lines of smaps: one that begins with an address tells of the next mapping, "Swap: N kB" of how
// much of it is swapped out.
class Reader {
 public:
  explicit Reader(std::uintptr_t wanted) noexcept : wanted_(wanted) {}

  // False when all is known.
  bool take(const char* line, const char* end) noexcept {
    std::uintptr_t start = 0;
    const char* at = line;
    for (; at < end && digit_of(*at) < 16; ++at) start = start * 16 + digit_of(*at);
    if (at > line && at < end && *at == '-') {
      if (inside_) return false;
      inside_ = start == wanted_;
    } else if (inside_ && begins(line, end, "Swap:")) {
      for (at = line + 5; at < end && *at == ' '; ++at) {
      }
      swapped_ = at < end && *at != '0';
      return false;
    }
    return true;
  }
  [[nodiscard]] bool swapped() const noexcept { return swapped_; }

 private:
  static bool begins(const char* at, const char* end, const char* with) noexcept {
    for (; *with != '\0'; ++at, ++with)
      if (at == end || *at != *with) return false;
    return true;
  }
  std::uintptr_t wanted_;
  bool inside_ = false;
  bool swapped_ = false;
};

bool read_smaps(int smaps, Reader& reader) noexcept {
  char text[512];  // a signal handler's stack may be small
  std::size_t kept = 0;
  bool skips = false;  // the rest of a line whose beginning was taken
  for (;;) {
    const long got = sys::read(smaps, text + kept, sizeof text - kept);
    if (got <= 0) return got == 0;
    const char* end = text + kept + got;
    const char* line = text;
    for (const char* at = line; at < end; ++at) {
      if (*at != '\n') continue;
      if (!skips && !reader.take(line, at)) return true;
      skips = false;
      line = at + 1;
    }
    kept = static_cast<std::size_t>(end - line);
    // What a line that is longer than the buffer ends with is a name, and of no interest.
    if (kept == sizeof text) {
      if (!skips && !reader.take(line, end)) return true;
      skips = true;
      kept = 0;
    }
    for (std::size_t i = 0; i < kept; ++i) text[i] = line[i];
  }
}

}  // namespace

bool is_swapped_out(std::uintptr_t address) noexcept {
  if (!is_swap_in_use()) return false;
  // A mapping of that page alone, since smaps sums up (an old size of 0 duplicates, mremap(2)). What
  // cannot be found out counts as there: nothing is overwritten then.
  const long view = sys::mremap(address, 0, kPage, MREMAP_MAYMOVE, 0);
  if (view < 0 && view > -4096) return true;
  Reader reader(static_cast<std::uintptr_t>(view));
  const long smaps = sys::openat("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
  const bool known = smaps >= 0 && read_smaps(static_cast<int>(smaps), reader);
  if (smaps >= 0) sys::close(static_cast<int>(smaps));
  sys::munmap(static_cast<std::uintptr_t>(view), kPage);
  return !known || reader.swapped();
}

}  // namespace userfault::engine::user
