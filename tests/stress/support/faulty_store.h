// SPDX-License-Identifier: Apache-2.0
// A store in memory that answers at once or later and in any order, short or not at all, and takes
// no writes for a while. It never fails a read of one place more than twice in a row, so a pager
// that tries three times never has to give a page up.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "support/run.h"
#include "userfault/store.h"

namespace userfault::stress {

class FaultyStore final : public Store {
 public:
  FaultyStore(std::size_t size, std::uint64_t seed);
  ~FaultyStore() override;

  std::uint64_t size() const override { return bytes_.size(); }
  bool writable() const override { return true; }
  void read(std::span<StoreRequest> batch) override;
  void write(std::span<StoreRequest> batch) override;

  void fail_writes(bool all) { writes_fail_ = all; }
  // No more errors, and everything is answered.
  void calm();
  // To be called when nobody uses the store any more.
  [[nodiscard]] const std::byte* data() const { return bytes_.data(); }

 private:
  struct Job {
    StoreRequest* request;
    bool write;
  };
  void take(std::span<StoreRequest> batch, bool write);
  void answer(const Job& job);
  void answer_read(StoreRequest& request);
  void answer_write(StoreRequest& request);
  void answer_later();
  [[nodiscard]] std::uint64_t roll(std::uint64_t limit);

  std::mutex mutex_;  // the bytes, the random numbers, the queue
  std::condition_variable changed_;
  std::vector<std::byte> bytes_;
  std::vector<unsigned char> failures_;  // in a row, of each 4 KiB
  Random random_;
  std::vector<Job> later_;
  bool done_ = false;
  std::atomic<bool> writes_fail_{false};
  std::atomic<bool> calm_{false};
  std::thread thread_;
};

}  // namespace userfault::stress
