// SPDX-License-Identifier: Apache-2.0
// The small stores: memory, zeroes, a function of the caller's.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "userfault/store.h"

namespace userfault {
namespace {

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::uint64_t size() const override { return bytes_.size(); }
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      std::memcpy(request.data, bytes_.data() + request.offset, request.length);
      request.answer(0, request.length);
    }
  }
  const std::byte* view(std::uint64_t offset, std::size_t) const override { return bytes_.data() + offset; }

 private:
  const std::span<const std::byte> bytes_;
};

class ZeroStore final : public Store {
 public:
  explicit ZeroStore(std::uint64_t size) : size_(size) {}
  std::uint64_t size() const override { return size_; }
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      std::memset(request.data, 0, request.length);
      request.answer(0, request.length);
    }
  }
  StoreExtent extent(std::uint64_t, std::uint64_t length) const override { return {true, length}; }

 private:
  const std::uint64_t size_;
};

class FunctionStore final : public Store {
 public:
  FunctionStore(std::uint64_t size, StoreFunction function, void* context)
      : size_(size), function_(function), context_(context) {}
  std::uint64_t size() const override { return size_; }
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      if (!request.may_wait) {
        request.answer(EAGAIN, 0);
        continue;
      }
      const int code = function_(context_, request.offset, {request.data, request.length});
      request.answer(code, code == 0 ? request.length : 0);
    }
  }

 private:
  const std::uint64_t size_;
  const StoreFunction function_;
  void* const context_;
};

}  // namespace

std::shared_ptr<Store> make_memory_store(std::span<const std::byte> bytes) {
  return std::make_shared<MemoryStore>(bytes);
}

std::shared_ptr<Store> make_zero_store(std::uint64_t size) { return std::make_shared<ZeroStore>(size); }

std::shared_ptr<Store> make_function_store(std::uint64_t size, StoreFunction function, void* context) {
  return std::make_shared<FunctionStore>(size, function, context);
}

}  // namespace userfault
