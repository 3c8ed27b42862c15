// SPDX-License-Identifier: Apache-2.0
// Runs a sequence on both engines in lock-step and says where they differ.
#pragma once

#include <optional>
#include <string>

#include "support/forking.h"

namespace userfault::stress {

struct Difference {
  std::size_t step = 0;  // operations.size(): the memory at the end
  std::string kernel;
  std::string user;
};

class Differential {
 public:
  Differential();
  // Skips the process when the kernel's engine cannot be had, and a sequence on huge pages where there
  // are too few of them.
  [[nodiscard]] std::optional<Difference> run(const Sequence& sequence);
  // The shortest sequence found that still differs, by leaving operations out.
  [[nodiscard]] Sequence shrink(Sequence sequence);
  // How many were left out for want of huge pages.
  [[nodiscard]] std::size_t left_out() const { return left_out_; }

 private:
  void begin(const Sequence& sequence);
  [[nodiscard]] std::optional<Difference> finish();

  World kernel_;
  World user_;
  Forking forking_;
  bool fork_events_;  // EVENT_FORK may be asked for
  std::size_t left_out_ = 0;
};

[[nodiscard]] std::string to_string(const Sequence& sequence, const Difference& difference);

}  // namespace userfault::stress
