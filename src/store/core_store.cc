// SPDX-License-Identifier: Apache-2.0
#include "store/core_store.h"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

namespace userfault::store {
namespace {

class CoreStore final : public Store {
 public:
  explicit CoreStore(const ElfCore& core) : name_(core.path()) {
    for (std::size_t i = 0; i < core.segments().size(); ++i) {
      starts_.push_back(size_);
      segments_.push_back(core.segment_store(i));
      size_ += segments_.back()->size();
    }
  }

  std::uint64_t size() const override { return size_; }
  std::string description() const override {
    return std::to_string(segments_.size()) + " segments of the core " + name_;
  }

  // A request over a seam is done in pieces, in the thread that asks: extent() ends at seams, so
  // whoever looks there first does not ask for one.
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      if (!request.may_wait) {
        request.answer(EAGAIN, 0);
        continue;
      }
      std::size_t done = 0;
      int code = 0;
      while (code == 0 && done < request.length) code = read_piece(request, done);
      request.answer(code, done);
    }
  }

  StoreExtent extent(std::uint64_t offset, std::uint64_t length) const override {
    const Place place = find(offset);
    return segments_[place.segment]->extent(place.offset, std::min(length, place.left));
  }

  StoreFile file(std::uint64_t offset, std::uint64_t length) const override {
    const Place place = find(offset);
    return length <= place.left ? segments_[place.segment]->file(place.offset, length) : StoreFile{};
  }

 private:
  struct Place {
    std::size_t segment;
    std::uint64_t offset;  // in it
    std::uint64_t left;    // of it
  };

  [[nodiscard]] Place find(std::uint64_t offset) const {
    const auto after = std::ranges::upper_bound(starts_, offset);
    const auto segment = static_cast<std::size_t>(after - starts_.begin() - 1);
    const std::uint64_t in_segment = offset - starts_[segment];
    return {segment, in_segment, segments_[segment]->size() - in_segment};
  }

  int read_piece(const StoreRequest& request, std::size_t& done) const {
    const Place place = find(request.offset + done);
    const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(request.length - done, place.left));
    std::size_t good = 0;
    const int code = read_store(*segments_[place.segment], place.offset, {request.data + done, piece}, &good);
    done += code == 0 ? piece : good;
    return code;
  }

  const std::string name_;
  std::vector<std::shared_ptr<Store>> segments_;
  std::vector<std::uint64_t> starts_;
  std::uint64_t size_ = 0;
};

}  // namespace

std::shared_ptr<Store> make_core_store(const ElfCore& core) { return std::make_shared<CoreStore>(core); }

}  // namespace userfault::store
