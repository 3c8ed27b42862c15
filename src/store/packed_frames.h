// SPDX-License-Identifier: Apache-2.0
// Reading the frames of a packed image, in any thread: buffers and contexts are kept for reuse.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "store/codec.h"
#include "store/packed_index.h"

namespace userfault::store {

class PackedFrames {
 public:
  PackedFrames(std::shared_ptr<Store> file, PackedIndex index) : file_(std::move(file)), index_(std::move(index)) {}

  [[nodiscard]] const PackedIndex& index() const noexcept { return index_; }

  struct Failure {
    int code = 0;               // 0: the frame is good. EBADMSG: damaged; else what the file said
    const char* why = nullptr;  // of EBADMSG
  };
  // Unpacks a whole frame and checks it; `into` has the frame's size.
  [[nodiscard]] Failure read(std::size_t frame, std::span<std::byte> into);
  // The same failure as a sentence.
  [[nodiscard]] StoreError explain(const std::string& name, std::size_t frame, const Failure& failure) const;

 private:
  struct Scratch {
    std::unique_ptr<Decompressor> decompressor;
    std::vector<std::byte> packed;
  };
  [[nodiscard]] std::unique_ptr<Scratch> take();
  [[nodiscard]] Failure read_with(Scratch& scratch, const PackedFrame& frame, std::span<std::byte> into) const;

  const std::shared_ptr<Store> file_;
  const PackedIndex index_;
  base::Mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_ USERFAULT_GUARDED_BY(mutex_);
};

}  // namespace userfault::store
