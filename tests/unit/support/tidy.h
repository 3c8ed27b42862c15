// SPDX-License-Identifier: Apache-2.0
// The rules of style that a program can check, one function each. Every function returns its
// findings, "path:line: what is wrong"; none means that the file is fine.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "support/source_tree.h"

namespace userfault::test::tidy {

using Findings = std::vector<std::string>;
using Check = Findings (*)(const SourceFile& file);

// Every file that has comments names its licence in its first five lines.
[[nodiscard]] Findings licence_line(const SourceFile& file);
[[nodiscard]] Findings pragma_once(const SourceFile& file);
// At most 700 lines a file, 70 a function, 120 columns; no tab, no space at the end of a line.
[[nodiscard]] Findings file_length(const SourceFile& file);
[[nodiscard]] Findings function_length(const SourceFile& file);
[[nodiscard]] Findings line_shape(const SourceFile& file);
// A condition of the preprocessor picks an architecture's file, never a line in a function.
[[nodiscard]] Findings no_ifdef_in_functions(const SourceFile& file);
// Nothing is left for later: no such note, no disabled test, no `#if 0`.
[[nodiscard]] Findings nothing_unfinished(const SourceFile& file);
// pager/ and tools/ see results, not system calls.
[[nodiscard]] Findings no_bare_errno(const SourceFile& file);
// Nothing that allocates, locks or prints in the room of the signal handler.
[[nodiscard]] Findings signal_safe(const SourceFile& file);
// The preload library reaches the next definition of a name through next<Name::x>() alone, which finds it on
// its first use: not through a table that a constructor fills, and not through dlsym(3), which locks.
[[nodiscard]] Findings next_on_first_use(const SourceFile& file);
// A skipped test says why, and no test waits for time to pass.
[[nodiscard]] Findings honest_tests(const SourceFile& file);
// What cannot happen is checked, in release too: at least `floor` of USERFAULT_INVARIANT and USERFAULT_CHECK in 1,000
// lines of the C++ files below `folder`.
[[nodiscard]] Findings too_few_checks(const std::vector<SourceFile>& files, std::string_view folder, std::size_t floor);
// The repository stands alone: no path of the machine it was written on.
[[nodiscard]] Findings self_contained(const SourceFile& file);

}  // namespace userfault::test::tidy
