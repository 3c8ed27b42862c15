// SPDX-License-Identifier: Apache-2.0
// What a test file includes.
//
//   CONFORMANCE_TEST(Copy, FillsOnePage, "COPY-01 GEN-04", Backings::kAll) {
//     Mapping map(ctx, 3);
//     Uffd uffd(ctx);
//     …
//     EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Done(map.page_size()));
//   }
//
// The body runs once per backing, each time in a process of its own. GoogleTest's EXPECT_*,
// ASSERT_*, FAIL and GTEST_SKIP work as usual; helpers throw Skip and Broken.
#pragma once

#include <gtest/gtest.h>

#include "support/context.h"
#include "support/mapping.h"
#include "support/modes.h"
#include "support/registry.h"
#include "support/task.h"
#include "support/uffd.h"

#define CONFORMANCE_TEST(suite, name, ids, backings)                                    \
  static void suite##_##name(const ::userfault::conformance::Context& ctx);             \
  [[maybe_unused]] static const bool suite##_##name##_added =                           \
      ::userfault::conformance::add_test(#suite, #name, ids, backings, suite##_##name); \
  static void suite##_##name([[maybe_unused]] const ::userfault::conformance::Context& ctx)
