// SPDX-License-Identifier: Apache-2.0
// Text without libc: paths below /proc are put together, and the kernel's tables there are read line by line.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/user/rt/check.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

// A text of at most `kSize` - 1 characters, built from left to right; what does not fit is a broken invariant.
template <std::size_t kSize>
class ShortText {
 public:
  ShortText& add(const char* text) noexcept {
    for (; *text != '\0'; ++text) add(*text);
    return *this;
  }
  ShortText& add(char c) noexcept {
    USERFAULT_INVARIANT(length_ + 1 < kSize, "a text is longer than its buffer");
    text_[length_++] = c;
    return *this;
  }
  ShortText& add_number(std::uint64_t value, unsigned base = 10) noexcept {
    char digits[20];
    int count = 0;
    do {
      const auto digit = static_cast<char>(value % base);
      digits[count++] = static_cast<char>(digit < 10 ? '0' + digit : 'a' + digit - 10);
      value /= base;
    } while (value != 0);
    while (count > 0) add(digits[--count]);
    return *this;
  }
  [[nodiscard]] const char* c_str() const noexcept { return text_; }
  [[nodiscard]] std::size_t length() const noexcept { return length_; }

 private:
  char text_[kSize] = {};
  std::size_t length_ = 0;
};

// Reads a line from left to right. What is not there reads as 0, and leaves the cursor where it was.
struct TextCursor {
  const char* at = nullptr;
  const char* end = nullptr;

  [[nodiscard]] bool is_at(const char* text) const noexcept {
    const char* seen = at;
    for (; *text != '\0'; ++seen, ++text)
      if (seen == end || *seen != *text) return false;
    return true;
  }
  // Up to the first character that is no digit of `base`.
  std::uint64_t number(unsigned base) noexcept {
    std::uint64_t value = 0;
    for (; at < end && digit(*at) < base; ++at) value = value * base + digit(*at);
    return value;
  }
  char take() noexcept { return at < end ? *at++ : '\0'; }
  void skip(char c) noexcept {
    while (at < end && *at == c) ++at;
  }
  void skip_to(const char* text) noexcept {
    while (at < end && !is_at(text)) ++at;
  }

 private:
  [[nodiscard]] static unsigned digit(char c) noexcept {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    return c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10) : 99;
  }
};

// Calls take(TextCursor) for each line of the file, without its end, until that returns false. Of a line that is longer
// than the buffer only the beginning is seen. 0, or -errno when the file cannot be read on.
template <typename Take>
long read_lines(int fd, char* buffer, std::size_t size, Take take) noexcept {
  std::size_t kept = 0;
  bool skips = false;  // the rest of a line whose beginning was taken
  for (;;) {
    const long got = sys::read(fd, buffer + kept, size - kept);
    if (got <= 0) return got;
    const char* end = buffer + kept + got;
    const char* line = buffer;
    for (const char* at = line; at < end; ++at) {
      if (*at != '\n') continue;
      if (!skips && !take(TextCursor{line, at})) return 0;
      skips = false;
      line = at + 1;
    }
    kept = static_cast<std::size_t>(end - line);
    if (kept == size) {
      if (!skips && !take(TextCursor{line, end})) return 0;
      skips = true;
      kept = 0;
    }
    for (std::size_t i = 0; i < kept; ++i) buffer[i] = line[i];
  }
}

}  // namespace userfault::engine::user
