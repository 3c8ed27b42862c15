// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include "tools/command.h"

namespace userfault::tools {
namespace {

class Version final : public Command {
 public:
  const char* name() const override { return "version"; }
  const char* summary() const override { return "print the version"; }
  void add_options(OptionSet&) override {}
  int run() override {
    fmt::print("userfault {}\n", USERFAULT_VERSION);
    return 0;
  }
};

}  // namespace

std::unique_ptr<Command> make_version_command() { return std::make_unique<Version>(); }

}  // namespace userfault::tools
