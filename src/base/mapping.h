// SPDX-License-Identifier: Apache-2.0
// Owned memory from mmap(2): move-only, unmapped on destruction. One thread at a time.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <utility>

namespace userfault::base {

class OwnedMapping {
 public:
  OwnedMapping() = default;
  OwnedMapping(std::byte* data, std::size_t length) noexcept : data_(data), length_(length) {}
  OwnedMapping(OwnedMapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), length_(std::exchange(other.length_, 0)) {}
  OwnedMapping& operator=(OwnedMapping&& other) noexcept {
    if (this != &other) {
      reset();
      data_ = std::exchange(other.data_, nullptr);
      length_ = std::exchange(other.length_, 0);
    }
    return *this;
  }
  OwnedMapping(const OwnedMapping&) = delete;
  OwnedMapping& operator=(const OwnedMapping&) = delete;
  ~OwnedMapping() { reset(); }

  // Zeroed private memory that costs nothing until it is touched; invalid (and errno) on failure.
  [[nodiscard]] static OwnedMapping anonymous(std::size_t length) noexcept {
    void* data = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return {};
    return {static_cast<std::byte*>(data), length};
  }

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  // The same memory as an array of what the owner keeps in it.
  template <typename T>
  [[nodiscard]] T* as() const noexcept {
    return static_cast<T*>(static_cast<void*>(data_));
  }
  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] bool valid() const noexcept { return data_ != nullptr; }
  // Gives the memory up without unmapping it.
  [[nodiscard]] std::byte* release() noexcept {
    length_ = 0;
    return std::exchange(data_, nullptr);
  }
  void reset() noexcept {
    if (data_ != nullptr) ::munmap(data_, length_);
    data_ = nullptr;
    length_ = 0;
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t length_ = 0;
};

}  // namespace userfault::base
