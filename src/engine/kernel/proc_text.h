// SPDX-License-Identifier: Apache-2.0
// Small reads of /proc: no allocation, no iostream.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <optional>
#include <span>
#include <string_view>

#include "base/fd.h"

namespace userfault::engine::kernel {

// The start of the file, as much as fits; nothing when it cannot be read.
[[nodiscard]] inline std::optional<std::string_view> read_text(const char* path, std::span<char> buffer) noexcept {
  const base::Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::nullopt;
  std::size_t filled = 0;
  while (filled < buffer.size() - 1) {
    const ssize_t bytes = ::read(file.get(), buffer.data() + filled, buffer.size() - 1 - filled);
    if (bytes <= 0) break;
    filled += static_cast<std::size_t>(bytes);
  }
  buffer[filled] = '\0';
  return std::string_view(buffer.data(), filled);
}

// The number after "\nname:\t" in a status file.
[[nodiscard]] inline std::optional<unsigned long long> field(std::string_view status, std::string_view name,
                                                             int base = 10) noexcept {
  for (std::size_t at = status.find(name); at != std::string_view::npos; at = status.find(name, at + 1)) {
    const std::size_t colon = at + name.size();
    if ((at != 0 && status[at - 1] != '\n') || colon >= status.size() || status[colon] != ':') continue;
    return std::strtoull(status.data() + colon + 1, nullptr, base);
  }
  return std::nullopt;
}

}  // namespace userfault::engine::kernel
