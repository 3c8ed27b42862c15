// SPDX-License-Identifier: Apache-2.0
// The conformance suite as a library: what `userfault conform` and conformance_tests call.
//
// Every test runs in a process of its own with a time limit, so that a crash or a hang is one
// failure and not the end of the run. The caller must be single-threaded (the suite forks).
#pragma once

#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

#include "userfault/userfault.h"

namespace userfault::conformance {

enum class Status { kPass, kFail, kSkip };

[[nodiscard]] const char* name_of(Status status);

// What became of one requirement on one backing: fail when any test of it failed, else pass when any
// passed (the reason then names those that could not run), else skip.
struct Result {
  std::string id;
  std::string backing;
  Status status;
  std::string reason;
};

struct Options {
  userfault_engine engine = USERFAULT_ENGINE_AUTO;
  // Shell patterns that are matched with requirement ids (COPY-*) and test names (Copy.*). None: all.
  std::vector<std::string> only;
  unsigned time_limit_s = 20;
  // Whether to show on standard error, if that is a terminal, what runs just now.
  bool progress = true;
};

struct Report {
  std::string engine;
  // Why nothing could run at all; empty when it could.
  std::string refusal;
  // What every result has to be read with: that only the unprivileged way to open worked.
  std::string note;
  std::vector<Result> results;

  [[nodiscard]] std::size_t count(Status status) const;
};

[[nodiscard]] Report run(const Options& options);

// One line per result and a count; then the same as JSON. write_json returns why the
// file could not be written, or no error.
void print(const Report& report);
[[nodiscard]] std::error_code write_json(const Report& report, const std::string& path);

// Prints one line per test that `options.only` selects: its name, its ids, its backings.
void print_list(const Options& options);

// The ids that no test covers, of those the suite is responsible for.
[[nodiscard]] std::vector<std::string> uncovered_ids();

}  // namespace userfault::conformance
