// SPDX-License-Identifier: Apache-2.0
// A queue over io_uring (liburing). Any thread submits; one thread of ours takes the completions.
//
// The two ends of a ring are independent, so the mutex is only for those who submit.
#include <liburing.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <thread>

#include "base/mutex.h"
#include "base/thread.h"
#include "store/file_queue.h"

namespace userfault::store {
namespace {

constexpr unsigned kEntries = 128;

// A job on its way: the kernel may do it in several steps.
struct Flight {
  FileJob job;
  std::size_t done = 0;
  bool direct = false;
};

class RingQueue final : public FileQueue {
 public:
  // False where the kernel, a sandbox or a limit refuses.
  [[nodiscard]] bool start() {
    if (::io_uring_queue_init(kEntries, &ring_, 0) < 0) return false;
    valid_ = true;
    return thread_.start("uf-ring", [this] { reap(); }) == 0;
  }

  ~RingQueue() override {
    if (!valid_) return;
    // Its completion has no flight: that ends the thread.
    ending_ = true;
    if (thread_.running()) push(nullptr);
    thread_.join();
    ::io_uring_queue_exit(&ring_);
  }

  void submit(const FileJob& job) override {
    // Out of the file's bounds a write would make it longer; a read finds out by itself.
    const Outcome room = job.write ? check_room(job.fd, job.offset, job.length) : Outcome{};
    if (room.code != 0) {
      FileJob refused = job;
      refused.finish(refused, {room.code, 0});
      return;
    }
    push(new Flight{.job = job, .direct = job.can_be_direct()});
  }

  const char* name() const override { return "io_uring"; }

 private:
  void push(Flight* flight) {
    if (!try_push(flight)) do_here(flight);
  }

  // nullptr: the end. False: the kernel does not take it.
  [[nodiscard]] bool try_push(Flight* flight) {
    const base::MutexLock lock(mutex_);
    io_uring_sqe* sqe = nullptr;
    while ((sqe = ::io_uring_get_sqe(&ring_)) == nullptr)
      if (!enter()) return flight == nullptr;
    if (flight == nullptr) {
      ::io_uring_prep_nop(sqe);
    } else {
      const FileJob& job = flight->job;
      const int fd = flight->direct ? job.direct : job.fd;
      const auto length = static_cast<unsigned>(std::min<std::size_t>(job.length - flight->done, 1u << 30));
      if (job.write) {
        ::io_uring_prep_write(sqe, fd, job.data + flight->done, length, job.offset + flight->done);
      } else {
        ::io_uring_prep_read(sqe, fd, job.data + flight->done, length, job.offset + flight->done);
      }
    }
    ::io_uring_sqe_set_data(sqe, flight);
    if (enter() || flight == nullptr) return true;
    // Nobody has seen it yet. If the kernel ever takes it, it is nothing.
    ::io_uring_prep_nop(sqe);
    ::io_uring_sqe_set_data(sqe, &refused_);
    return false;
  }

  // The kernel is asked again while it has no memory for the request or too many completions wait. False:
  // it refuses, a sandbox that was made after the ring for one.
  [[nodiscard]] bool enter() USERFAULT_REQUIRES(mutex_) {
    for (;;) {
      const int code = ::io_uring_submit(&ring_);
      if (code >= 0) return true;
      if (code != -EINTR && code != -EAGAIN && code != -EBUSY) return false;
      std::this_thread::yield();
    }
  }

  // A request that the kernel does not take is done here, from where it is.
  void do_here(Flight* flight) {
    const std::unique_ptr<Flight> owned(flight);
    FileJob rest = flight->job;
    rest.offset += flight->done;
    rest.data += flight->done;
    rest.length -= flight->done;
    Outcome outcome = do_job(rest);
    outcome.bytes += flight->done;
    FileJob& job = flight->job;
    if (outcome.code == 0 && !job.write) outcome = check_read(job.fd, job.offset, job.data, job.length);
    job.finish(job, outcome);
  }

  void reap() {
    for (;;) {
      io_uring_cqe* cqe = nullptr;
      if (const int code = ::io_uring_wait_cqe(&ring_, &cqe); code < 0) {
        if (code != -EINTR && ending_) return;  // all requests were answered, and it refuses to wait
        std::this_thread::yield();
        continue;
      }
      auto* const flight = static_cast<Flight*>(::io_uring_cqe_get_data(cqe));
      const int result = cqe->res;
      ::io_uring_cqe_seen(&ring_, cqe);
      if (flight == nullptr) return;
      if (flight == &refused_) continue;
      {
        // Nothing is guarded here: it shows who pushed the flight's contents to this thread.
        const base::MutexLock lock(mutex_);
      }
      land(flight, result);
    }
  }

  void land(Flight* flight, int result) {
    const bool again = result == -EINTR || result == -EAGAIN;
    if (flight->direct && (result == -EINVAL || result > 0)) {
      // As in do_job(): what is left after a short or refused direct step is no longer aligned.
      if (result > 0) flight->done += static_cast<std::size_t>(result);
      flight->direct = false;
    } else if (result > 0) {
      flight->done += static_cast<std::size_t>(result);
    } else if (!again) {
      const int nothing = flight->job.write ? EIO : ENODATA;
      end(flight, {result < 0 ? -result : nothing, flight->done});
      return;
    }
    if (flight->done < flight->job.length) {
      push(flight);
    } else {
      end(flight, {0, flight->done});
    }
  }

  static void end(Flight* flight, Outcome outcome) {
    const std::unique_ptr<Flight> owned(flight);
    FileJob& job = flight->job;
    if (outcome.code == 0 && !job.write) outcome = check_read(job.fd, job.offset, job.data, job.length);
    if (outcome.code != 0 && !job.write) outcome = cut_read(job.fd, job.offset, outcome);
    job.finish(job, outcome);
  }

  io_uring ring_{};
  bool valid_ = false;
  std::atomic<bool> ending_{false};
  Flight refused_;  // stands for a request that was taken back
  base::Mutex mutex_;
  base::Thread thread_;
};

}  // namespace

std::unique_ptr<FileQueue> make_ring_queue() {
  auto queue = std::make_unique<RingQueue>();
  return queue->start() ? std::move(queue) : nullptr;
}

}  // namespace userfault::store
