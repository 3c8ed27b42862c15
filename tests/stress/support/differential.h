// SPDX-License-Identifier: Apache-2.0
// Runs a sequence on both engines in lock-step and says where they differ.
#pragma once

#include <optional>
#include <string>

#include "support/world.h"

namespace userfault::stress {

struct Difference {
  std::size_t step = 0;  // operations.size(): the memory at the end
  std::string kernel;
  std::string user;
};

class Differential {
 public:
  Differential();
  // Skips the process when the kernel's engine cannot be had.
  [[nodiscard]] std::optional<Difference> run(const Sequence& sequence);
  // The shortest sequence found that still differs, by leaving operations out.
  [[nodiscard]] Sequence shrink(Sequence sequence);

 private:
  [[nodiscard]] std::optional<Difference> finish();

  World kernel_;
  World user_;
};

[[nodiscard]] std::string to_string(const Sequence& sequence, const Difference& difference);

}  // namespace userfault::stress
