// SPDX-License-Identifier: Apache-2.0
// A packed image as a store. A request takes whole frames straight into its memory; of a frame that
// it wants only a part of, the whole is kept for a while, because the rest is likely to be next.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <utility>

#include "store/packed_frames.h"
#include "userfault/packed_image.h"

namespace userfault {
namespace store {
namespace {

constexpr std::size_t kKeptBytes = std::size_t{8} << 20;
constexpr std::size_t kFewestKept = 4;

// The frames that were unpacked last. Threads: any.
class RecentFrames {
 public:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;

  [[nodiscard]] Bytes find(std::size_t frame) {
    const base::MutexLock lock(mutex_);
    for (auto at = kept_.begin(); at != kept_.end(); ++at) {
      if (at->frame != frame) continue;
      kept_.splice(kept_.begin(), kept_, at);
      return at->bytes;
    }
    return nullptr;
  }

  void keep(std::size_t frame, Bytes bytes) {
    const base::MutexLock lock(mutex_);
    bytes_ += bytes->size();
    kept_.push_front({frame, std::move(bytes)});
    while (kept_.size() > kFewestKept && bytes_ > kKeptBytes) {
      bytes_ -= kept_.back().bytes->size();
      kept_.pop_back();
    }
  }

 private:
  struct Kept {
    std::size_t frame;
    Bytes bytes;
  };
  base::Mutex mutex_;
  std::list<Kept> kept_ USERFAULT_GUARDED_BY(mutex_);
  std::size_t bytes_ USERFAULT_GUARDED_BY(mutex_) = 0;
};

class PackedStore final : public Store {
 public:
  PackedStore(std::string name, std::shared_ptr<Store> file, PackedIndex index)
      : name_(std::move(name)), frames_(std::move(file), std::move(index)) {}

  std::uint64_t size() const override { return frames_.index().size; }
  std::string description() const override {
    return "the packed image " + name_ + " of " + std::to_string(frames_.index().frames.size()) + " frames";
  }

  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      std::size_t done = 0;
      int code = 0;
      while (code == 0 && done < request.length) code = read_piece(request, done);
      request.answer(code, code == EAGAIN ? 0 : done);
    }
  }

 private:
  // The part of the request that lies in one frame.
  int read_piece(const StoreRequest& request, std::size_t& done) {
    const std::uint64_t at = request.offset + done;
    const std::size_t number = frames_.index().find(at);
    const PackedFrame& frame = frames_.index().frames[number];
    const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(request.length - done, frame.end() - at));
    auto bytes = recent_.find(number);
    if (bytes == nullptr && !request.may_wait) return EAGAIN;
    if (bytes == nullptr && piece == frame.size) {
      const int code = frames_.read(number, {request.data + done, piece}).code;
      if (code == 0) done += piece;
      return code;
    }
    if (bytes == nullptr) {
      auto fresh = std::make_shared<std::vector<std::byte>>(frame.size);
      if (const int code = frames_.read(number, *fresh).code; code != 0) return code;
      recent_.keep(number, fresh);
      bytes = std::move(fresh);
    }
    std::memcpy(request.data + done, bytes->data() + (at - frame.start), piece);
    done += piece;
    return 0;
  }

  const std::string name_;
  PackedFrames frames_;
  RecentFrames recent_;
};

}  // namespace
}  // namespace store

StoreResult<std::shared_ptr<Store>> open_packed_store(const std::string& path) {
  auto file = open_file_store(path);
  if (!file) return Unexpected(file.error());
  return open_packed_store(std::move(*file), path);
}

StoreResult<std::shared_ptr<Store>> open_packed_store(std::shared_ptr<Store> packed, const std::string& name) {
  if (!store::codec_available())
    return Unexpected(StoreError{ENOTSUP, 0, name + ": this library was built without zstd"});
  auto index = store::read_index(*packed, name);
  if (!index) return Unexpected(index.error());
  return std::make_shared<store::PackedStore>(name, std::move(packed), std::move(*index));
}

bool looks_packed(const std::string& path) {
  const auto file = open_file_store(path);
  return file && store::ends_like_packed(**file);
}

}  // namespace userfault
