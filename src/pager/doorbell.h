// SPDX-License-Identifier: Apache-2.0
// How the workers learn that they shall end, of which one may be blocked in read(2): with a fault on a page
// that belongs to the pager itself.
//
// Threads: ring() and its answer from two different ones, each once.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mapping.h"
#include "userfault/descriptor.h"

namespace userfault::pager {

class Doorbell {
 public:
  Doorbell() noexcept;
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // Errors: ENOMEM; and what registering a page gives.
  [[nodiscard]] Result<void> install(const Descriptor& descriptor);
  // Returns when a worker has answered. There is one, and it reads.
  void ring() const noexcept;

  // The workers' side: whether the fault is the bell, and what the worker that reads it does.
  [[nodiscard]] bool contains(std::uintptr_t address) const noexcept { return range().contains(address); }
  void answer(const Descriptor& descriptor) noexcept;
  [[nodiscard]] bool has_rung() const noexcept { return rung_; }

 private:
  [[nodiscard]] PageRange range() const noexcept { return PageRange::of(page_.data(), page_.length()); }

  base::OwnedMapping page_;
  std::atomic<bool> rung_{false};
};

}  // namespace userfault::pager
