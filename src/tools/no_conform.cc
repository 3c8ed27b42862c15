// SPDX-License-Identifier: Apache-2.0
// Stands in for conform.cc in the command that `make run` builds, which has no suite.
#include <fmt/core.h>

#include "tools/command.h"

namespace userfault::tools {
namespace {

class NoConform final : public Command {
 public:
  const char* name() const override { return "conform"; }
  const char* summary() const override { return "not in this build: make builds the command with the suite"; }
  void add_options(OptionSet&) override {}
  int run() override {
    fmt::print(stderr, "userfault conform: this command was built without the suite; make builds it with one.\n");
    return 1;
  }
};

}  // namespace

std::unique_ptr<Command> make_conform_command() { return std::make_unique<NoConform>(); }

}  // namespace userfault::tools
