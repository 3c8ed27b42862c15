// SPDX-License-Identifier: Apache-2.0
#include "store/packed_frames.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace userfault::store {

std::unique_ptr<PackedFrames::Scratch> PackedFrames::take() {
  {
    const base::MutexLock lock(mutex_);
    if (!free_.empty()) {
      auto scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  auto decompressor = Decompressor::create();
  if (decompressor == nullptr) return nullptr;
  return std::make_unique<Scratch>(Scratch{std::move(decompressor), {}});
}

PackedFrames::Failure PackedFrames::read(std::size_t frame, std::span<std::byte> into) {
  auto scratch = take();
  if (scratch == nullptr) return {ENOMEM};
  const Failure failure = read_with(*scratch, index_.frames[frame], into);
  const base::MutexLock lock(mutex_);
  free_.push_back(std::move(scratch));
  return failure;
}

PackedFrames::Failure PackedFrames::read_with(Scratch& scratch, const PackedFrame& frame,
                                              std::span<std::byte> into) const {
  if (scratch.packed.size() < frame.packed) scratch.packed.resize(frame.packed);
  const std::span<std::byte> packed = std::span(scratch.packed).first(frame.packed);
  if (const int code = read_store(*file_, frame.offset, packed); code != 0) return {code};
  if (const char* const why = scratch.decompressor->decompress(packed, into); why != nullptr) return {EBADMSG, why};
  if (index_.checksums && checksum_of(packed) != frame.checksum)
    return {EBADMSG, "its checksum is not the one in the table"};
  return {};
}

StoreError PackedFrames::explain(const std::string& name, std::size_t frame, const Failure& failure) const {
  const PackedFrame& at = index_.frames[frame];
  const std::string text = name + ": frame " + std::to_string(frame) + " at byte " + std::to_string(at.offset) +
                           " (the image from " + std::to_string(at.start) + " to " + std::to_string(at.end()) + ") ";
  if (failure.code != EBADMSG)
    return {failure.code, at.offset, text + "cannot be read: " + std::strerror(failure.code)};
  return {EBADMSG, at.offset, text + "is damaged: " + failure.why};
}

}  // namespace userfault::store
