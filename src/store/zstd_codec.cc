// SPDX-License-Identifier: Apache-2.0
#include <zstd.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "store/codec.h"

namespace userfault::store {
namespace {

class ZstdCompressor final : public Compressor {
 public:
  explicit ZstdCompressor(ZSTD_CCtx* context) : context_(context) {}
  ~ZstdCompressor() override { ::ZSTD_freeCCtx(context_); }
  ZstdCompressor(const ZstdCompressor&) = delete;
  ZstdCompressor& operator=(const ZstdCompressor&) = delete;

  std::size_t bound(std::size_t bytes) const override { return ::ZSTD_compressBound(bytes); }
  std::size_t compress(std::span<const std::byte> from, std::span<std::byte> into) override {
    const std::size_t length = ::ZSTD_compress2(context_, into.data(), into.size(), from.data(), from.size());
    return ::ZSTD_isError(length) != 0 ? 0 : length;
  }

 private:
  ZSTD_CCtx* const context_;
};

// The frame header's descriptor, the byte behind the magic number (RFC 8878, 3.1.1.1.1): bit 2 says
// that a checksum follows the last block.
bool has_checksum(std::span<const std::byte> frame) {
  constexpr std::size_t kDescriptor = 4;
  return frame.size() > kDescriptor && (static_cast<unsigned>(frame[kDescriptor]) & 4u) != 0;
}

class ZstdDecompressor final : public Decompressor {
 public:
  explicit ZstdDecompressor(ZSTD_DCtx* context) : context_(context) {}
  ~ZstdDecompressor() override { ::ZSTD_freeDCtx(context_); }
  ZstdDecompressor(const ZstdDecompressor&) = delete;
  ZstdDecompressor& operator=(const ZstdDecompressor&) = delete;

  const char* decompress(std::span<const std::byte> frame, std::span<std::byte> into) override {
    const std::size_t length = ::ZSTD_findFrameCompressedSize(frame.data(), frame.size());
    if (::ZSTD_isError(length) != 0) return ::ZSTD_getErrorName(length);
    if (length != frame.size()) return "its length is not what the table says";
    if (!has_checksum(frame)) return "it carries no checksum (pack it again with userfault pack)";
    const std::size_t got = ::ZSTD_decompressDCtx(context_, into.data(), into.size(), frame.data(), frame.size());
    if (::ZSTD_isError(got) != 0) return ::ZSTD_getErrorName(got);
    return got == into.size() ? nullptr : "it gives fewer bytes than the table says";
  }

 private:
  ZSTD_DCtx* const context_;
};

}  // namespace

std::unique_ptr<Compressor> Compressor::create(int level) {
  ZSTD_CCtx* const context = ::ZSTD_createCCtx();
  if (context == nullptr) return nullptr;
  auto compressor = std::make_unique<ZstdCompressor>(context);
  for (const auto& [parameter, value] : {std::pair(ZSTD_c_compressionLevel, level), std::pair(ZSTD_c_checksumFlag, 1),
                                         std::pair(ZSTD_c_contentSizeFlag, 1)})
    if (::ZSTD_isError(::ZSTD_CCtx_setParameter(context, parameter, value)) != 0) return nullptr;
  return compressor;
}

std::unique_ptr<Decompressor> Decompressor::create() {
  ZSTD_DCtx* const context = ::ZSTD_createDCtx();
  return context == nullptr ? nullptr : std::make_unique<ZstdDecompressor>(context);
}

std::uint64_t content_bytes(std::span<const std::byte> frame) {
  const unsigned long long bytes = ::ZSTD_getFrameContentSize(frame.data(), frame.size());
  return bytes == ZSTD_CONTENTSIZE_UNKNOWN || bytes == ZSTD_CONTENTSIZE_ERROR ? 0 : bytes;
}

bool codec_available() { return true; }

}  // namespace userfault::store
