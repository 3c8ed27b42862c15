// SPDX-License-Identifier: Apache-2.0
// One test on one backing, in a process of its own.
#pragma once

#include <string>

#include "support/registry.h"
#include "support/suite.h"

namespace userfault::conformance {

struct Verdict {
  Status status;
  std::string reason;
};

// Never throws and never hangs: what crashes or does not end within the limit has failed.
[[nodiscard]] Verdict run_isolated(const Test& test, userfault_engine engine, Backing backing, unsigned time_limit_s);

// What a process of its own finds when it opens the engine once.
struct Opened {
  int error = 0;  // errno of the refusal
  userfault_engine engine = USERFAULT_ENGINE_AUTO;
  bool user_mode_only = false;
};
[[nodiscard]] Opened try_open(userfault_engine engine);

}  // namespace userfault::conformance
