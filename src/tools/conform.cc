// SPDX-License-Identifier: Apache-2.0
// userfault conform: runs the conformance suite here. The suite's own header is the one include
// from outside of include/userfault that a tool is allowed: the suite is what this command ships.
#include <fmt/core.h>

#include <string>
#include <system_error>
#include <vector>

#include "support/suite.h"
#include "tools/command.h"
#include "tools/options.h"

namespace userfault::tools {
namespace {

class Conform final : public Command {
 public:
  const char* name() const override { return "conform"; }
  const char* summary() const override { return "run the conformance suite on an engine"; }

  void add_options(OptionSet& options) override {
    options.add("--engine", engine_, "kernel, user, or auto (default)").one_of({"auto", "kernel", "user"});
    options.add("--only", options_.only, "only these ids or tests: COPY-*, REAL-12, Copy.*").comma_separated();
    options.add("--json", json_, "also write the results to this file (- for standard output)");
    options.add("--time-limit", options_.time_limit_s, "seconds a test may take, default 20").between(1, 3600);
    options.add_flag("--list", list_, "only list the tests, their ids and backings");
  }

  int run() override {
    if (list_) {
      conformance::print_list(options_);
      return 0;
    }
    options_.engine = engine_ == "kernel" ? USERFAULT_ENGINE_KERNEL
                      : engine_ == "user" ? USERFAULT_ENGINE_USER
                                          : USERFAULT_ENGINE_AUTO;
    const conformance::Report report = conformance::run(options_);
    if (!report.refusal.empty()) {
      fmt::print(stderr, "userfault conform: {}\n", report.refusal);
      return 1;
    }
    // With --json - the standard output is for a program to read.
    if (json_ != "-") conformance::print(report);
    if (json_.empty()) return status_of(report);
    if (const std::error_code error = conformance::write_json(report, json_)) {
      fmt::print(stderr, "userfault conform: cannot write {}: {}\n", json_, error.message());
      return 1;
    }
    return status_of(report);
  }

 private:
  static int status_of(const conformance::Report& report) {
    return report.count(conformance::Status::kFail) == 0 ? 0 : 1;
  }

  std::string engine_ = "auto";
  std::string json_;
  bool list_ = false;
  conformance::Options options_;
};

}  // namespace

std::unique_ptr<Command> make_conform_command() { return std::make_unique<Conform>(); }

}  // namespace userfault::tools
