// SPDX-License-Identifier: Apache-2.0
// The *_fully calls: one loop that resumes partial results, waits out a pending layout event and
// wakes whoever may still sleep on a page that was there.
//
// The wait is a sleep with a doubling pause. Retrying at once is the mistake that live-locks
// monitors: the event ends only when the thread that raised it runs again (real-kernel row 9).
#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/page_size.h"
#include "userfault/descriptor.h"

namespace userfault {
namespace {

class Backoff {
 public:
  explicit Backoff(const RetryPolicy& policy) : policy_(policy), pause_(policy.first_pause) {}
  // False when the attempts are used up.
  [[nodiscard]] bool wait() {
    if (++tries_ >= policy_.attempts) return false;
    std::this_thread::sleep_for(pause_);
    pause_ = std::min(pause_ * 2, policy_.longest_pause);
    return true;
  }
  void progressed() {
    tries_ = 0;
    pause_ = policy_.first_pause;
  }

 private:
  const RetryPolicy& policy_;
  std::chrono::microseconds pause_;
  int tries_ = 0;
};

std::unexpected<Error> exhausted(Operation operation, PageRange range) {
  return std::unexpected(
      Error{.operation = operation, .code = EAGAIN, .address = range.start, .length = range.length});
}

// `once` fills what is left and returns Result<Transfer>.
template <typename Once>
Result<Transfer> fully(const Descriptor& descriptor, Operation operation, PageRange range, const RetryPolicy& policy,
                       Once once) {
  const std::size_t page = policy.page_size != 0 ? policy.page_size : base::page_size();
  Backoff backoff(policy);
  Transfer total{0, Outcome::kComplete};
  std::size_t done = 0;
  while (done < range.length) {
    const PageRange left = range.from(done);
    const Result<Transfer> result = once(left, done);
    if (!result) return result;
    if (result->outcome == Outcome::kRetry) {
      if (!backoff.wait()) return exhausted(operation, left);
      continue;
    }
    backoff.progressed();
    total.bytes += result->bytes;
    done += result->bytes;
    if (result->outcome != Outcome::kExists) continue;
    total.outcome = Outcome::kExists;
    const PageRange present{left.start, std::min(page, left.length)};
    if (const auto woken = descriptor.wake(present); !woken) return std::unexpected(woken.error());
    done += present.length;
  }
  return total;
}

template <typename Once>
Result<void> until_not_again(Operation operation, PageRange range, const RetryPolicy& policy, Once once) {
  Backoff backoff(policy);
  for (;;) {
    const Result<void> result = once();
    if (result || result.error().code != EAGAIN) return result;
    if (!backoff.wait()) return exhausted(operation, range);
  }
}

}  // namespace

Result<Transfer> Descriptor::copy_fully(PageRange to, const void* from, CopyOptions options,
                                        const RetryPolicy& policy) const {
  return fully(*this, Operation::kCopy, to, policy, [&](PageRange left, std::size_t done) {
    return copy(left, static_cast<const std::byte*>(from) + done, options);
  });
}

Result<Transfer> Descriptor::zeropage_fully(PageRange range, const RetryPolicy& policy) const {
  return fully(*this, Operation::kZeropage, range, policy,
               [&](PageRange left, std::size_t) { return zeropage(left); });
}

Result<Transfer> Descriptor::resume_fully(PageRange range, ContinueOptions options, const RetryPolicy& policy) const {
  return fully(*this, Operation::kContinue, range, policy,
               [&](PageRange left, std::size_t) { return resume(left, options); });
}

Result<Transfer> Descriptor::poison_fully(PageRange range, const RetryPolicy& policy) const {
  return fully(*this, Operation::kPoison, range, policy, [&](PageRange left, std::size_t) { return poison(left); });
}

Result<Transfer> Descriptor::move_fully(PageRange to, std::uintptr_t from, MoveOptions options,
                                        const RetryPolicy& policy) const {
  return fully(*this, Operation::kMove, to, policy,
               [&](PageRange left, std::size_t done) { return move(left, from + done, options); });
}

Result<void> Descriptor::write_protect_fully(PageRange range, const RetryPolicy& policy) const {
  return until_not_again(Operation::kWriteprotect, range, policy, [&] { return write_protect(range); });
}

Result<void> Descriptor::write_unprotect_fully(PageRange range, const RetryPolicy& policy) const {
  return until_not_again(Operation::kWriteprotect, range, policy, [&] { return write_unprotect(range); });
}

}  // namespace userfault
