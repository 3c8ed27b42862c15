// SPDX-License-Identifier: Apache-2.0
// userfault COMMAND …: reads the command line and hands over to the subcommand.
#include <array>
#include <memory>

#include "tools/command.h"

int main(int argc, char** argv) {
  using namespace userfault::tools;
  CLI::App app("userfaultfd over the kernel's engine and in user space", "userfault");
  app.require_subcommand(1);

  const std::array commands{make_conform_command(), make_doctor_command(), make_restore_command(), make_version_command()};
  int status = 0;
  for (const auto& command : commands) {
    CLI::App* sub = app.add_subcommand(command->name(), command->summary());
    command->add_options(*sub);
    sub->callback([&status, &command] { status = command->run(); });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return status;
}
