// SPDX-License-Identifier: Apache-2.0
// The list of tests, filled by CONFORMANCE_TEST while the program starts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "support/backing.h"
#include "support/context.h"

namespace userfault::conformance {

struct Test {
  std::string name;              // "Copy.FillsAtomically"
  std::vector<std::string> ids;  // what it covers
  Backings backings;
  void (*body)(const Context&);
};

// `ids` are separated by spaces. Aborts on an id that the specification does not have.
bool add_test(std::string_view suite, std::string_view name, std::string_view ids, Backings backings,
              void (*body)(const Context&));

// In the order of the names.
[[nodiscard]] const std::vector<Test>& all_tests();

// Every id of the specification, in its order.
[[nodiscard]] const std::vector<std::string>& all_ids();

}  // namespace userfault::conformance
