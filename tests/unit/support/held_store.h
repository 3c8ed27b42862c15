// SPDX-License-Identifier: Apache-2.0
// A store whose answers a test holds back: they come from a thread of the store's own, when the test
// lets them go.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "userfault/store.h"

namespace userfault::test {

class HeldStore final : public Store {
 public:
  // Which requests are held back; the others are answered at once.
  using Holds = std::function<bool(const StoreRequest&)>;

  explicit HeldStore(
      std::span<const std::byte> bytes, Holds holds = [](const StoreRequest&) { return true; })
      : bytes_(bytes), holds_(std::move(holds)), thread_([this] { answer_later(); }) {}
  ~HeldStore() override {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  std::uint64_t size() const override { return bytes_.size(); }
  void read(std::span<StoreRequest> batch) override {
    // The batch is gone with its last answer.
    const std::size_t count = batch.size();
    StoreRequest* const requests = batch.data();
    for (std::size_t i = 0; i < count; ++i) {
      if (!holds_(requests[i])) {
        give(requests[i]);
        continue;
      }
      const std::lock_guard lock(mutex_);
      held_.push_back(&requests[i]);
      ++asked_;
      changed_.notify_all();
    }
  }

  // Held back until now, answered or not; and answered.
  [[nodiscard]] std::size_t asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  [[nodiscard]] std::size_t answered() const {
    const std::lock_guard lock(mutex_);
    return answered_;
  }
  void let_go(std::size_t count) {
    {
      const std::lock_guard lock(mutex_);
      allowed_ += std::min(count, SIZE_MAX - allowed_);
    }
    changed_.notify_all();
  }
  void let_all_go() { let_go(SIZE_MAX); }

 private:
  void give(StoreRequest& request) const {
    std::memcpy(request.data, bytes_.data() + request.offset, request.length);
    request.answer(0, request.length);
  }
  void answer_later() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return done_ || (!held_.empty() && answered_ < allowed_); });
      if (held_.empty()) return;
      // The last first: nobody may rely on their order.
      StoreRequest* const request = held_.back();
      held_.pop_back();
      ++answered_;
      lock.unlock();
      give(*request);
      lock.lock();
    }
  }

  const std::span<const std::byte> bytes_;
  const Holds holds_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<StoreRequest*> held_;
  std::size_t asked_ = 0;
  std::size_t answered_ = 0;
  std::size_t allowed_ = 0;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace userfault::test
