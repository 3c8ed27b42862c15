// SPDX-License-Identifier: Apache-2.0
// An ELF core file (elf(5), ET_CORE): the memory of a process, segment by segment.
//
// 64-bit, of this machine's byte order. Everything in the file is checked before it is believed.
// Threads: const members from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "userfault/export.h"
#include "userfault/store.h"

namespace userfault {

// One PT_LOAD.
struct CoreSegment {
  std::uintptr_t address = 0;     // where it was in the process; a multiple of the page size
  std::uint64_t memory_size = 0;  // bytes in memory, never 0
  std::uint64_t file_offset = 0;
  std::uint64_t file_size = 0;   // bytes in the file; what is missing up to memory_size is zero
  std::uint32_t protection = 0;  // PROT_READ, PROT_WRITE, PROT_EXEC
};

class USERFAULT_EXPORT ElfCore {
 public:
  // EINVAL: not an ELF file, not a core, truncated, or damaged; the text says where. Others as
  // open(2) and pread(2).
  [[nodiscard]] static StoreResult<ElfCore> open(const std::string& path);
  // The same of a store that holds the file's bytes, a packed image for one. `name` is for errors.
  [[nodiscard]] static StoreResult<ElfCore> open(std::shared_ptr<Store> store, const std::string& name);
  // True when the file begins like an ELF file of any kind.
  [[nodiscard]] static bool looks_like_elf(const std::string& path);
  [[nodiscard]] static bool looks_like_elf(Store& store);

  // In ascending order of their addresses; they do not overlap.
  [[nodiscard]] const std::vector<CoreSegment>& segments() const noexcept { return segments_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // The bytes of one segment, zero part included. All of them read the file that open() opened.
  [[nodiscard]] std::shared_ptr<Store> segment_store(std::size_t index) const;

 private:
  std::string path_;
  std::shared_ptr<Store> file_;
  std::vector<CoreSegment> segments_;
};

}  // namespace userfault
