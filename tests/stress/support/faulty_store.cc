// SPDX-License-Identifier: Apache-2.0
#include "support/faulty_store.h"

#include <cerrno>
#include <cstring>

namespace userfault::stress {

FaultyStore::FaultyStore(std::size_t size, std::uint64_t seed)
    : bytes_(size), failures_(size / kPage + 1), random_(seed), thread_([this] { answer_later(); }) {}

FaultyStore::~FaultyStore() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void FaultyStore::calm() {
  writes_fail_ = false;
  calm_ = true;
}

std::uint64_t FaultyStore::roll(std::uint64_t limit) {
  const std::lock_guard lock(mutex_);
  return random_.below(limit);
}

void FaultyStore::read(std::span<StoreRequest> batch) { take(batch, false); }
void FaultyStore::write(std::span<StoreRequest> batch) { take(batch, true); }

// A request is gone once it is answered, and the batch with its last one.
void FaultyStore::take(std::span<StoreRequest> batch, bool write) {
  const std::size_t count = batch.size();
  StoreRequest* const requests = batch.data();
  for (std::size_t i = 0; i < count; ++i) {
    if (!write && !requests[i].may_wait && roll(8) == 0) {
      requests[i].answer(EAGAIN, 0);
    } else if (roll(8) == 0) {
      const std::lock_guard lock(mutex_);
      later_.push_back({&requests[i], write});
      changed_.notify_one();
    } else {
      answer({&requests[i], write});
    }
  }
}

void FaultyStore::answer(const Job& job) { job.write ? answer_write(*job.request) : answer_read(*job.request); }

void FaultyStore::answer_read(StoreRequest& request) {
  std::size_t good = request.length;
  int code = 0;
  {
    const std::lock_guard lock(mutex_);
    unsigned char& failures = failures_[request.offset / kPage];
    if (!calm_ && failures < 2 && random_.below(16) == 0) {
      ++failures;
      code = EIO;
      good = random_.below(request.length);
    } else {
      failures = 0;
    }
    std::memcpy(request.data, bytes_.data() + request.offset, good);
  }
  // What is not good is worse than nothing.
  std::memset(request.data + good, 0xee, request.length - good);
  request.answer(code, good);
}

// A write that fails has written a part.
void FaultyStore::answer_write(StoreRequest& request) {
  int code = 0;
  {
    const std::lock_guard lock(mutex_);
    if (writes_fail_ || (!calm_ && random_.below(16) == 0)) code = ENOSPC;
    const std::size_t good = code == 0 ? request.length : random_.below(request.length / kPage + 1) * kPage;
    std::memcpy(bytes_.data() + request.offset, request.data, good);
  }
  request.answer(code, code == 0 ? request.length : 0);
}

void FaultyStore::answer_later() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return done_ || !later_.empty(); });
    if (later_.empty()) return;
    const std::size_t which = random_.below(later_.size());
    const Job job = later_[which];
    later_.erase(later_.begin() + static_cast<std::ptrdiff_t>(which));
    lock.unlock();
    answer(job);
    lock.lock();
  }
}

}  // namespace userfault::stress
