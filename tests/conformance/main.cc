// SPDX-License-Identifier: Apache-2.0
// conformance_tests ENGINE [PATTERN…]: the suite for ctest. `--uncovered` lists the ids without a
// test, and fails when there are any.
#include <cstdio>
#include <cstring>

#include "support/suite.h"

namespace {

using userfault::conformance::Options;
using userfault::conformance::Report;
using userfault::conformance::Status;

int list_uncovered() {
  const auto ids = userfault::conformance::uncovered_ids();
  for (const auto& id : ids) std::printf("no test covers %s\n", id.c_str());
  return ids.empty() ? 0 : 1;
}

int run_suite(const Options& options) {
  const Report report = userfault::conformance::run(options);
  if (!report.refusal.empty()) {
    std::fprintf(stderr, "conformance_tests: %s\n", report.refusal.c_str());
    return 1;
  }
  userfault::conformance::print(report);
  return report.count(Status::kFail) == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--uncovered") == 0) return list_uncovered();
  if (argc < 2) {
    std::fprintf(stderr, "usage: conformance_tests kernel|user [PATTERN...] | --uncovered\n");
    return 2;
  }
  Options options;
  options.engine = std::strcmp(argv[1], "user") == 0 ? USERFAULT_ENGINE_USER : USERFAULT_ENGINE_KERNEL;
  options.only.assign(argv + 2, argv + argc);
  return run_suite(options);
}
