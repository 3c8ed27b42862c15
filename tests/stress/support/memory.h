// SPDX-License-Identifier: Apache-2.0
// Memory under test and a descriptor over it; whatever fails ends the process with a sentence.
#pragma once

#include <cstddef>
#include <cstdint>

#include "support/run.h"

namespace userfault::stress {

enum class Backing { kPrivate, kShared, kMemfd };
inline constexpr Backing kBackings[] = {Backing::kPrivate, Backing::kShared, Backing::kMemfd};
[[nodiscard]] const char* name_of(Backing backing);

class Memory {
 public:
  Memory(Backing backing, std::size_t pages);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] char* data() const { return data_; }
  [[nodiscard]] std::size_t pages() const { return pages_; }
  [[nodiscard]] std::size_t bytes() const { return pages_ * kPage; }
  [[nodiscard]] char* page(std::size_t index) const { return data_ + index * kPage; }
  [[nodiscard]] volatile std::uint64_t* words(std::size_t index) const {
    return reinterpret_cast<volatile std::uint64_t*>(page(index));
  }
  [[nodiscard]] std::size_t index_of(std::uint64_t address) const {
    return (address - reinterpret_cast<std::uint64_t>(data_)) / kPage;
  }
  // The pages are missing again: MADV_DONTNEED, or MADV_REMOVE where an object keeps them.
  void forget(std::size_t first, std::size_t count) const;

 private:
  char* data_;
  std::size_t pages_;
  Backing backing_;
};

class Uffd {
 public:
  Uffd(const Options& options, int flags, std::uint64_t features = 0);
  ~Uffd() { close(); }
  Uffd(const Uffd&) = delete;
  Uffd& operator=(const Uffd&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  void register_all(const Memory& memory, std::uint64_t modes) const;
  void close();
  // 0, or the errno. EAGAIN is tried again, from where it stopped.
  [[nodiscard]] int copy(const Memory& memory, std::size_t page, const void* from, std::size_t count,
                         std::uint64_t mode = 0) const;
  void wake(const Memory& memory, std::size_t page, std::size_t count) const;
  void protect(const Memory& memory, std::size_t page, std::size_t count, bool on) const;

 private:
  int fd_;
};

// The content of a page: every word says which page, which word and which filling it belongs to.
[[nodiscard]] constexpr std::uint64_t word_of(std::uint64_t page, std::uint64_t tag, std::uint64_t word) {
  return (tag << 32 | page << 9 | word) ^ 0x5bd1e995a5a5a5a5;
}
[[nodiscard]] constexpr std::uint64_t tag_of(std::uint64_t value) { return (value ^ 0x5bd1e995a5a5a5a5) >> 32; }
void make_page(void* into, std::uint64_t page, std::uint64_t tag);
// Reads every word of the page; all have to be of one filling. Returns its tag.
std::uint64_t check_page(const Memory& memory, std::size_t page);

}  // namespace userfault::stress
