// SPDX-License-Identifier: Apache-2.0
// A fork in the differential test. One fork is both worlds': it copies the memory of each, and tells
// the descriptors of each that asked.
//
// Until it has returned nobody here may allocate, because libc holds malloc's locks while the kernel
// waits for the reader of its event; nor may the user engine be called before it has something to
// say, because it holds still until the kernel has forked.
#pragma once

#include "support/world.h"

namespace userfault::stress {

class Forking {
 public:
  Forking(World& kernel, World& user) : kernel_(kernel), user_(user), forker_(true) {}

  struct Outcomes {
    Outcome kernel;
    Outcome user;
  };
  // Both outcomes have what the child found in the memory, after one COPY into it and the end of its
  // descriptors.
  [[nodiscard]] Outcomes perform(const Operation& operation);

 private:
  void start_child();
  [[noreturn]] void be_child();
  void wait_for_fork(Outcomes& outcomes);
  void hear_child(Outcomes& outcomes);

  World& kernel_;
  World& user_;
  Actor forker_;
  int go_[2] = {-1, -1};
  int back_[2] = {-1, -1};
  std::atomic<int> child_{-1};
};

}  // namespace userfault::stress
