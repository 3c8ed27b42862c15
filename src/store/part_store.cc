// SPDX-License-Identifier: Apache-2.0
// A part of another store, and reading or writing a store with a wait for the answer.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "userfault/store.h"

namespace userfault {
namespace {

class PartStore final : public Store {
 public:
  PartStore(std::shared_ptr<Store> whole, std::uint64_t offset, std::uint64_t length, std::uint64_t zero_tail)
      : whole_(std::move(whole)), offset_(offset), length_(length), zero_tail_(zero_tail) {}

  std::uint64_t size() const override { return length_ + zero_tail_; }
  bool writable() const override { return zero_tail_ == 0 && whole_->writable(); }
  int flush() override { return whole_->flush(); }
  std::string description() const override {
    return "the part of " + std::to_string(length_) + " bytes at " + std::to_string(offset_) + " of " +
           whole_->description();
  }

  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      const std::uint64_t in_part =
          request.offset < length_ ? std::min<std::uint64_t>(request.length, length_ - request.offset) : 0;
      const auto bytes = static_cast<std::size_t>(in_part);
      std::memset(request.data + bytes, 0, request.length - bytes);
      if (bytes == 0) {
        request.answer(0, request.length);
      } else {
        forward(request, bytes, false);
      }
    }
  }

  void write(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      if (writable()) {
        forward(request, request.length, true);
      } else {
        request.answer(EROFS, 0);
      }
    }
  }

  StoreExtent extent(std::uint64_t offset, std::uint64_t length) const override {
    if (offset >= length_) return {true, length};
    return whole_->extent(offset_ + offset, std::min(length, length_ - offset));
  }

  const std::byte* view(std::uint64_t offset, std::size_t length) const override {
    return offset + length <= length_ ? whole_->view(offset_ + offset, length) : nullptr;
  }

  StoreFile file(std::uint64_t offset, std::uint64_t length) const override {
    return offset + length <= length_ ? whole_->file(offset_ + offset, length) : StoreFile{};
  }

 private:
  // The request as the whole store sees it. It frees itself with its answer.
  struct Forwarded {
    StoreRequest inner;
    StoreRequest* outer;
  };

  void forward(StoreRequest& request, std::size_t bytes, bool write) const {
    auto* const forwarded = new Forwarded{.inner = {.offset = offset_ + request.offset,
                                                    .data = request.data,
                                                    .length = bytes,
                                                    .may_wait = request.may_wait},
                                          .outer = &request};
    forwarded->inner.context = forwarded;
    forwarded->inner.done = [](StoreRequest& answered) {
      const std::unique_ptr<Forwarded> self(static_cast<Forwarded*>(answered.context));
      self->outer->answer(answered.code, answered.code == 0 ? self->outer->length : answered.bytes);
    };
    const std::span<StoreRequest> batch(&forwarded->inner, 1);
    if (write) {
      whole_->write(batch);
    } else {
      whole_->read(batch);
    }
  }

  const std::shared_ptr<Store> whole_;
  const std::uint64_t offset_;
  const std::uint64_t length_;
  const std::uint64_t zero_tail_;
};

// An answer that a thread waits for. The flag is the last thing that the answering thread touches
// besides waking, and C++ lets the waiter free it only when it cannot be waking any more: so a
// shared state.
int wait_for(Store& store, StoreRequest request, bool write, std::size_t* good) {
  if (good != nullptr) *good = 0;
  if (request.offset > store.size() || request.length > store.size() - request.offset) return ERANGE;
  if (request.length == 0) return 0;
  struct State {
    std::atomic<bool> answered{false};
    int code = 0;
    std::size_t bytes = 0;
  };
  const auto state = std::make_shared<State>();
  auto held = std::make_unique<std::shared_ptr<State>>(state);
  request.context = held.release();
  request.done = [](StoreRequest& done) {
    const std::unique_ptr<std::shared_ptr<State>> owned(static_cast<std::shared_ptr<State>*>(done.context));
    State& to = **owned;
    to.code = done.code == 0 && done.bytes < done.length ? EIO : done.code;
    to.bytes = done.bytes;
    to.answered.store(true, std::memory_order_release);
    to.answered.notify_all();
  };
  const std::span<StoreRequest> batch(&request, 1);
  if (write) {
    store.write(batch);
  } else {
    store.read(batch);
  }
  state->answered.wait(false, std::memory_order_acquire);
  if (good != nullptr) *good = state->bytes;
  return state->code;
}

}  // namespace

StoreResult<std::shared_ptr<Store>> make_part_store(std::shared_ptr<Store> whole, std::uint64_t offset,
                                                    std::uint64_t length, std::uint64_t zero_tail) {
  const std::uint64_t size = whole->size();
  if (offset > size || length > size - offset)
    return Unexpected(StoreError{EINVAL, offset,
                                 "truncated: " + std::to_string(length) + " bytes wanted at " + std::to_string(offset) +
                                     " of " + whole->description() + ", which has " + std::to_string(size)});
  if (length > UINT64_MAX - zero_tail) return Unexpected(StoreError{EINVAL, offset, "a part of more than 2^64 bytes"});
  return std::make_shared<PartStore>(std::move(whole), offset, length, zero_tail);
}

int read_store(Store& store, std::uint64_t offset, std::span<std::byte> into, std::size_t* good) {
  return wait_for(store, {.offset = offset, .data = into.data(), .length = into.size()}, false, good);
}

int write_store(Store& store, std::uint64_t offset, std::span<const std::byte> from, std::size_t* good) {
  // A store only reads what it writes.
  auto* const data = const_cast<std::byte*>(from.data());
  return wait_for(store, {.offset = offset, .data = data, .length = from.size()}, true, good);
}

}  // namespace userfault
