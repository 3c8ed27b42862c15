// SPDX-License-Identifier: Apache-2.0
// In the place of zstd_codec.cc where zstd is not there.
#include "store/codec.h"

namespace userfault::store {

std::unique_ptr<Compressor> Compressor::create(int) { return nullptr; }
std::unique_ptr<Decompressor> Decompressor::create() { return nullptr; }
std::uint64_t content_bytes(std::span<const std::byte>) { return 0; }
bool codec_available() { return false; }

}  // namespace userfault::store
