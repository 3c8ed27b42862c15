// SPDX-License-Identifier: Apache-2.0
// The table of frames at the end of a packed image: zstd's seekable format, version 0.1.0.
//
//   4  0x184D2A5E, the magic number of a skippable frame
//   4  how many bytes follow
//      for every frame:  4  packed size   4  size   4  low half of the bytes' XXH64, if bit 7 is set
//   4  how many frames
//   1  bit 7: with checksums; bits 6 to 2 are 0
//   4  0x8F92EAB1
// All numbers are little-endian. A zstd frame's own checksum is the same half of the same XXH64.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "userfault/store.h"

namespace userfault::store {

struct PackedFrame {
  std::uint64_t offset = 0;  // in the packed file
  std::uint64_t start = 0;   // in the image
  std::uint32_t packed = 0;  // bytes in the file
  std::uint32_t size = 0;    // bytes of the image, never 0
  std::uint32_t checksum = 0;
  [[nodiscard]] std::uint64_t end() const noexcept { return start + size; }
};

struct PackedIndex {
  std::vector<PackedFrame> frames;
  std::uint64_t size = 0;  // of the image
  bool checksums = false;

  // The frame that holds this byte of the image, which must be inside.
  [[nodiscard]] std::size_t find(std::uint64_t at) const;
};

// Reads and checks the table; EINVAL where it is not one, or does not fit the file.
[[nodiscard]] StoreResult<PackedIndex> read_index(Store& file, const std::string& name);
[[nodiscard]] bool ends_like_packed(Store& file);

// The table of these frames; empty when there are too many for one.
[[nodiscard]] std::vector<std::byte> encode_index(const std::vector<PackedFrame>& frames);

// The checksum that a frame ends with.
[[nodiscard]] std::uint32_t checksum_of(std::span<const std::byte> frame);

}  // namespace userfault::store
