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
  MemoryStore(std::span<std::byte> bytes, bool writable) : bytes_(bytes), writable_(writable) {}
  std::uint64_t size() const override { return bytes_.size(); }
  bool writable() const override { return writable_; }
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      std::memcpy(request.data, bytes_.data() + request.offset, request.length);
      request.answer(0, request.length);
    }
  }
  void write(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      if (writable_) std::memcpy(bytes_.data() + request.offset, request.data, request.length);
      request.answer(writable_ ? 0 : EROFS, writable_ ? request.length : 0);
    }
  }
  const std::byte* view(std::uint64_t offset, std::size_t) const override { return bytes_.data() + offset; }
  std::string description() const override { return std::to_string(bytes_.size()) + " bytes of memory"; }

 private:
  const std::span<std::byte> bytes_;
  const bool writable_;
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
  std::string description() const override { return std::to_string(size_) + " zero bytes"; }

 private:
  const std::uint64_t size_;
};

class FunctionStore final : public Store {
 public:
  FunctionStore(std::uint64_t size, const StoreFunctions& functions) : size_(size), functions_(functions) {}
  std::uint64_t size() const override { return size_; }
  bool writable() const override { return functions_.write != nullptr; }
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch)
      if (may_run(request))
        finish(request, functions_.read(functions_.context, request.offset, {request.data, request.length}));
  }
  void write(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      if (functions_.write == nullptr) {
        request.answer(EROFS, 0);
      } else if (may_run(request)) {
        finish(request, functions_.write(functions_.context, request.offset, {request.data, request.length}));
      }
    }
  }
  int flush() override { return functions_.flush != nullptr ? functions_.flush(functions_.context) : 0; }
  std::string description() const override { return "functions of the program"; }

 private:
  // Nobody knows how long a function of the caller's takes.
  static bool may_run(StoreRequest& request) {
    if (!request.may_wait) request.answer(EAGAIN, 0);
    return request.may_wait;
  }
  static void finish(StoreRequest& request, int code) { request.answer(code, code == 0 ? request.length : 0); }

  const std::uint64_t size_;
  const StoreFunctions functions_;
};

}  // namespace

std::shared_ptr<Store> make_memory_store(std::span<const std::byte> bytes) {
  // It is not written to: see the flag.
  return std::make_shared<MemoryStore>(std::span(const_cast<std::byte*>(bytes.data()), bytes.size()), false);
}

std::shared_ptr<Store> make_writable_memory_store(std::span<std::byte> bytes) {
  return std::make_shared<MemoryStore>(bytes, true);
}

std::shared_ptr<Store> make_zero_store(std::uint64_t size) { return std::make_shared<ZeroStore>(size); }

std::shared_ptr<Store> make_function_store(std::uint64_t size, StoreFunction function, void* context) {
  return make_function_store(size, {.read = function, .context = context});
}

std::shared_ptr<Store> make_function_store(std::uint64_t size, const StoreFunctions& functions) {
  return std::make_shared<FunctionStore>(size, functions);
}

}  // namespace userfault
