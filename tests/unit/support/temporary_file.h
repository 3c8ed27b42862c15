// SPDX-License-Identifier: Apache-2.0
// A file of known bytes that goes away with its object.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace userfault::test {

class TemporaryFile {
 public:
  explicit TemporaryFile(std::span<const std::byte> bytes = {}) {
    std::string pattern = ::testing::TempDir() + "userfault_test_XXXXXX";
    fd_ = ::mkstemp(pattern.data());
    path_ = pattern;
    EXPECT_GE(fd_, 0);
    replace(bytes);
  }
  ~TemporaryFile() {
    ::unlink(path_.c_str());
    ::close(fd_);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  void replace(std::span<const std::byte> bytes) {
    EXPECT_EQ(::ftruncate(fd_, 0), 0);
    EXPECT_EQ(::pwrite(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  void truncate(std::size_t size) { EXPECT_EQ(::ftruncate(fd_, static_cast<off_t>(size)), 0); }

 private:
  std::string path_;
  int fd_ = -1;
};

// Bytes without a zero among them, so that a page of zeroes is never right.
[[nodiscard]] inline std::vector<std::byte> random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::byte>(1 + random() % 255);
  return bytes;
}

}  // namespace userfault::test
