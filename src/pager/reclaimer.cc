// SPDX-License-Identifier: Apache-2.0
#include "pager/reclaimer.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/check.h"

namespace userfault::pager {
namespace {

constexpr std::chrono::nanoseconds kFirstPause = std::chrono::microseconds(200);
constexpr std::chrono::nanoseconds kLongestPause = std::chrono::milliseconds(50);

}  // namespace

int Reclaimer::start(unsigned threads) {
  USERFAULT_CHECK(threads_.empty(), "the reclaimers are started twice");
  threads_.resize(threads);
  for (base::Thread& thread : threads_)
    if (const int code = thread.start("uf-evict", [this] { run(); }); code != 0) return code;
  return 0;
}

void Reclaimer::run() {
  std::chrono::nanoseconds pause{0};
  bool progress = true;
  while (wait_until_wanted(progress, pause)) {
    progress = fill_waiting();
    progress |= evict_ahead();
    progress |= fill_waiting();
    progress |= write_back();
    poison_overdue();
  }
}

// False: the pager ends. Where nothing could be done and there is still something to do, it is tried
// again after a pause that doubles. What is added after the look rings the bell.
bool Reclaimer::wait_until_wanted(bool progress, std::chrono::nanoseconds& pause) {
  const bool more = waiters_.any() || budget_.too_dirty();
  if (progress) pause = kFirstPause;
  if (!more) return bell_.wait();
  if (progress) return bell_.look();
  const std::chrono::nanoseconds longest = pause;
  pause = std::min(pause * 2, kLongestPause);
  return bell_.wait_for(longest);
}

// As far as there is memory.
bool Reclaimer::fill_waiting() {
  bool progress = false;
  while (const std::optional<WaitingFault> fault = waiters_.next_with_memory(budget_)) {
    if (fault->claim_again()) {
      filler_.fill(fault->region, fault->order, FaultContext());
    } else {
      budget_.give_back(fault->region->page_size());
    }
    progress = true;
  }
  return progress;
}

bool Reclaimer::evict_ahead() {
  bool progress = false;
  while (!bell_.stopping() && (budget_.scarce() || waiters_.any())) {
    if (evictor_.evict(evictor_.batch_bytes(), FaultContext()) == 0) break;
    progress = true;
    if (waiters_.any()) break;
  }
  return progress;
}

void Reclaimer::poison_overdue() {
  while (const std::optional<WaitingFault> fault = waiters_.next_overdue()) {
    if (!fault->claim_again()) continue;
    // Poisoning gives memory back that this fault never got.
    budget_.borrow(fault->region->page_size());
    filler_.poison(*fault->region, fault->order.demanded, ENOMEM);
  }
}

// The dirtiest are not looked for: regions take turns. No region is held longer than one turn: it may be
// about to be closed.
bool Reclaimer::write_back() {
  if (!budget_.too_dirty()) return false;
  bool progress = false;
  for (bool some = true; some && budget_.still_dirty() && !bell_.stopping() && !waiters_.any();) {
    some = false;
    for (RegionUse region = regions_.next_dirty(0); region; region = regions_.next_dirty(region->range().end()))
      some |= flusher_.write_some(region) != 0;
    progress |= some;
  }
  return progress;
}

}  // namespace userfault::pager
