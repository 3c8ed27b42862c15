// SPDX-License-Identifier: Apache-2.0
// A piece of a test that ends the process or never ends when what it tests is broken.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "child.h"

namespace userfault::test {

inline constexpr int kSkippedInChild = 77;

// Runs `body` in a child, where EXPECT_… may be used: what it finds is printed there and counted here.
// False: the child called _exit(kSkippedInChild). The pager has to be made in the child, because its
// memory does not come along.
template <typename Body>
[[nodiscard]] bool runs_in_child(Body&& body, unsigned guard_seconds = 15) {
  // What is thrown ends the child: above here there is the whole test program, which shall not go on twice.
  const ChildEnd end = run_in_child(
      [&](const Report&) noexcept {
        body();
        ::_exit(::testing::Test::HasFailure() ? 1 : 0);
      },
      guard_seconds);
  if (end.exited(kSkippedInChild)) return false;
  EXPECT_FALSE(end.killed_by(SIGALRM)) << "it hangs";
  EXPECT_TRUE(end.exited(0)) << "status " << end.status;
  return true;
}

template <typename Body>
void expect_to_end(Body&& body, unsigned guard_seconds = 15) {
  EXPECT_TRUE(runs_in_child(std::forward<Body>(body), guard_seconds)) << "nothing here may be skipped";
}

// Waits for what another thread does. The bound is the child's guard, or that of the whole test.
template <typename Condition>
void wait_until(Condition&& condition) {
  while (!condition()) std::this_thread::yield();
}

}  // namespace userfault::test
