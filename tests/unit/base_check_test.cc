// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <gtest/gtest.h>

#include <csignal>

namespace userfault::base {
namespace {

TEST(Check, LetsPassWhatHoldsAndEvaluatesItOnce) {
  int evaluated = 0;
  USERFAULT_CHECK(++evaluated == 1, "the condition is evaluated more than once");
  EXPECT_EQ(evaluated, 1);
}

// Also in release: there is no build in which it is left out.
TEST(CheckDeathTest, SaysInOneLineWhatWasBrokenAndWhereAndAborts) {
  EXPECT_EXIT(USERFAULT_CHECK(1 + 1 == 3, "one and one is two"), testing::KilledBySignal(SIGABRT),
              "^userfault: broken invariant: one and one is two \\(base_check_test\\.cc:[0-9]+\\)\n$");
}

}  // namespace
}  // namespace userfault::base
