// SPDX-License-Identifier: Apache-2.0
// A store in memory that takes writes, remembers what was durable, and fails when it is told to.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <span>
#include <vector>

#include "userfault/store.h"

namespace userfault::test {

class WritableStore final : public Store {
 public:
  explicit WritableStore(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  bool writable() const override { return true; }

  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      ++reads;
      {
        const std::lock_guard lock(mutex_);
        std::memcpy(request.data, bytes_.data() + request.offset, request.length);
      }
      request.answer(0, request.length);
    }
  }
  void write(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) write_one(request);
  }
  int flush() override {
    ++flushes;
    return flush_error;
  }

  // What has arrived by now.
  [[nodiscard]] std::vector<std::byte> bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }
  std::atomic<int> reads{0};
  std::atomic<int> writes{0};  // tried
  std::atomic<int> flushes{0};
  std::atomic<int> failures{0};  // so many writes fail
  std::atomic<int> flush_error{0};
  std::atomic<bool> held{false};  // writes wait until it is false and notified

 private:
  void write_one(StoreRequest& request) {
    ++writes;
    held.wait(true);
    if (failures > 0 && failures.fetch_sub(1) > 0) {
      request.answer(ENOSPC, 0);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      std::memcpy(bytes_.data() + request.offset, request.data, request.length);
    }
    request.answer(0, request.length);
  }
  mutable std::mutex mutex_;
  std::vector<std::byte> bytes_;
};

}  // namespace userfault::test
