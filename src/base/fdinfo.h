// SPDX-License-Identifier: Apache-2.0
// What the kernel tells about a userfaultfd in /proc/self/fdinfo.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/fd.h"

namespace userfault::base {

// The features that are enabled, or nothing where that cannot be found out. The text ends with
// "API:\taa:FEATURES:IOCTLS" in hexadecimal (userfaultfd_show_fdinfo in fs/userfaultfd.c, 4.3).
// Bit 31 is the kernel's own and says that the handshake was done; without it there is no feature.
[[nodiscard]] inline std::optional<std::uint64_t> userfaultfd_features(int fd) noexcept {
  constexpr std::string_view kBefore = "API:\taa:";
  constexpr std::uint64_t kInitialised = std::uint64_t{1} << 31;
  char path[40];
  std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  const Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t bytes = file.valid() ? ::read(file.get(), text, sizeof text) : -1;
  const std::string_view info(text, bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  const std::size_t at = info.find(kBefore);
  if (at == std::string_view::npos) return std::nullopt;
  std::uint64_t bits = 0;
  const auto parsed = std::from_chars(info.data() + at + kBefore.size(), info.data() + info.size(), bits, 16);
  if (parsed.ec != std::errc() || (bits & kInitialised) == 0) return std::nullopt;
  return bits & ~kInitialised;
}

}  // namespace userfault::base
