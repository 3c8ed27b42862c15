// SPDX-License-Identifier: Apache-2.0
// The seccomp filter of trap.h, as a program for the kernel.
#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace userfault::preload {

struct CodeRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

// The code that is watched, and the range of libc's, which most system calls come from.
struct WatchedCode {
  static constexpr std::size_t kMost = 256;
  CodeRange ranges[kMost];
  std::size_t count = 0;
  CodeRange libc;
};

void find_watched_code(WatchedCode* code) noexcept;

// What the kernel hands back in siginfo_t::si_errno for a call that this filter trapped.
inline constexpr std::uint32_t kTrapTag = 0x5546;

class TrapFilter {
 public:
  TrapFilter(const WatchedCode& code, std::span<const int> numbers) noexcept;
  [[nodiscard]] sock_fprog program() noexcept { return {.len = length_, .filter = code_}; }

 private:
  void add(sock_filter instruction) noexcept { code_[length_++] = instruction; }
  void add_range(const CodeRange& range, std::uint32_t answer) noexcept;
  void add_segment(std::uint64_t start, std::uint64_t end, std::uint32_t answer) noexcept;

  static constexpr std::size_t kPerRange = 12;
  sock_filter code_[128 + (WatchedCode::kMost + 1) * kPerRange];
  unsigned short length_ = 0;
};

}  // namespace userfault::preload
