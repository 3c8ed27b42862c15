// SPDX-License-Identifier: Apache-2.0
// C++ as the checks of style need it: without what people and programs say in it.
#pragma once

#include <string>
#include <vector>

#include "support/source_tree.h"

namespace userfault::test {

// The lines of a C or C++ file with comments removed and string and character literals emptied, so
// that a word is found only where the compiler would see it. Line numbers stay what they were.
[[nodiscard]] std::vector<std::string> code_lines(const SourceFile& file);

// A finding, as a compiler would print it: path:line: what is wrong.
[[nodiscard]] std::string finding(const SourceFile& file, std::size_t line_index, const std::string& what);

// One string for EXPECT_EQ(…, ""): a finding a line.
[[nodiscard]] std::string join(const std::vector<std::string>& findings);

}  // namespace userfault::test
