// SPDX-License-Identifier: Apache-2.0
// One zstd frame at a time: the only door to the library zstd. Threads: one object, one thread.
#pragma once

#include <cstddef>
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

[[nodiscard]] bool codec_available();

}  // namespace userfault::store
