// SPDX-License-Identifier: Apache-2.0
// One zstd frame at a time: the only door to the library zstd. Threads: one object, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace userfault::store {

class Compressor {
 public:
  // nullptr: no memory, or the library was built without zstd.
  [[nodiscard]] static std::unique_ptr<Compressor> create(int level);
  virtual ~Compressor() = default;
  // How many bytes a frame of so many can take at most.
  [[nodiscard]] virtual std::size_t bound(std::size_t bytes) const = 0;
  // A frame with a checksum. Its length; 0 on failure.
  [[nodiscard]] virtual std::size_t compress(std::span<const std::byte> from, std::span<std::byte> into) = 0;
};

class Decompressor {
 public:
  [[nodiscard]] static std::unique_ptr<Decompressor> create();
  virtual ~Decompressor() = default;
  // nullptr, or what is wrong. `frame` must be one frame that carries a checksum and gives exactly
  // so many bytes as `into` has.
  [[nodiscard]] virtual const char* decompress(std::span<const std::byte> frame, std::span<std::byte> into) = 0;
};

// How many bytes a frame gives, as its own header says; 0 when that does not, or `frame` begins none.
inline constexpr std::size_t kFrameHeaderBytes = 18;  // at most (RFC 8878, 3.1.1.1)
[[nodiscard]] std::uint64_t content_bytes(std::span<const std::byte> frame);

[[nodiscard]] bool codec_available();

}  // namespace userfault::store
