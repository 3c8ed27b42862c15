// SPDX-License-Identifier: Apache-2.0
// The *_fully calls: one loop that resumes partial results, waits out a pending layout event and
// wakes whoever may still sleep on a page that was there.
//
// The wait is a sleep with a doubling pause. Retrying at once is the mistake that live-locks
// monitors: the event ends only when the thread that raised it runs again (real-kernel row 9).
#include <algorithm>
#include <cerrno>
#include <thread>

#include "api/fill.h"
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

Unexpected<Error> exhausted(Operation operation, PageRange range) {
  return Unexpected(Error{.operation = operation, .code = EAGAIN, .address = range.start, .length = range.length});
}

// What is left after a first try that did not do it all. `once` fills a range and returns
// Result<Transfer>.
template <typename Once>
[[gnu::noinline]] Result<Transfer> resume_from(const Result<Transfer>& first, api::Handle handle, Operation operation,
                                               PageRange range, const RetryPolicy& policy, Once once) {
  const std::size_t page = policy.page_size != 0 ? policy.page_size : base::page_size();
  Backoff backoff(policy);
  Transfer total{0, Outcome::kComplete};
  std::size_t done = 0;
  for (Result<Transfer> result = first;; result = once(range.from(done), done)) {
    if (!result) return result;
    const PageRange left = range.from(done);
    if (result->outcome == Outcome::kRetry) {
      if (!backoff.wait()) return exhausted(operation, left);
      continue;
    }
    backoff.progressed();
    total.bytes += result->bytes;
    done += result->bytes;
    if (result->outcome == Outcome::kExists) {
      total.outcome = Outcome::kExists;
      userfault_range present{left.start, std::min(page, left.length)};
      if (const int woken = api::operate(handle, USERFAULT_IOC_WAKE, &present); woken < 0)
        return Unexpected(
            Error{.operation = Operation::kWake, .code = -woken, .address = present.start, .length = present.len});
      done += present.len;
    }
    if (done >= range.length) return total;
  }
}

// Nearly always the first try does it all. It is not made through `once`: in that path there is
// nothing but the system call.
[[gnu::always_inline]] inline bool is_done(const Result<Transfer>& first) noexcept {
  return first && first->complete();
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
  const api::Handle handle{engine_, fd_};
  const Result<Transfer> first = api::copy(handle, to, from, options);
  if (is_done(first)) [[likely]]
    return first;
  return resume_from(first, handle, Operation::kCopy, to, policy, [=](PageRange left, std::size_t done) {
    return api::copy(handle, left, static_cast<const std::byte*>(from) + done, options);
  });
}

Result<Transfer> Descriptor::zeropage_fully(PageRange range, const RetryPolicy& policy) const {
  const api::Handle handle{engine_, fd_};
  const Result<Transfer> first = api::zeropage(handle, range, true);
  if (is_done(first)) [[likely]]
    return first;
  return resume_from(first, handle, Operation::kZeropage, range, policy,
                     [=](PageRange left, std::size_t) { return api::zeropage(handle, left, true); });
}

Result<Transfer> Descriptor::resume_fully(PageRange range, ContinueOptions options, const RetryPolicy& policy) const {
  const api::Handle handle{engine_, fd_};
  const Result<Transfer> first = api::resume(handle, range, options);
  if (is_done(first)) [[likely]]
    return first;
  return resume_from(first, handle, Operation::kContinue, range, policy,
                     [=](PageRange left, std::size_t) { return api::resume(handle, left, options); });
}

Result<Transfer> Descriptor::poison_fully(PageRange range, const RetryPolicy& policy) const {
  const api::Handle handle{engine_, fd_};
  const Result<Transfer> first = api::poison(handle, range, true);
  if (is_done(first)) [[likely]]
    return first;
  return resume_from(first, handle, Operation::kPoison, range, policy,
                     [=](PageRange left, std::size_t) { return api::poison(handle, left, true); });
}

Result<Transfer> Descriptor::move_fully(PageRange to, std::uintptr_t from, MoveOptions options,
                                        const RetryPolicy& policy) const {
  const api::Handle handle{engine_, fd_};
  const Result<Transfer> first = api::move(handle, to, from, options);
  if (is_done(first)) [[likely]]
    return first;
  return resume_from(first, handle, Operation::kMove, to, policy,
                     [=](PageRange left, std::size_t done) { return api::move(handle, left, from + done, options); });
}

Result<void> Descriptor::write_protect_fully(PageRange range, const RetryPolicy& policy) const {
  return until_not_again(Operation::kWriteprotect, range, policy, [&] { return write_protect(range); });
}

Result<void> Descriptor::write_unprotect_fully(PageRange range, const RetryPolicy& policy) const {
  return until_not_again(Operation::kWriteprotect, range, policy, [&] { return write_unprotect(range); });
}

}  // namespace userfault
