// SPDX-License-Identifier: Apache-2.0
// userfault COMMAND …: reads the command line and hands over to the subcommand.
#include <array>

#include "tools/command.h"
#include "tools/options.h"

int main(int argc, char** argv) {
  using namespace userfault::tools;
  const std::array commands{make_conform_command(), make_doctor_command(), make_pack_command(),
                            make_restore_command(), make_run_command(),    make_unpack_command(),
                            make_version_command()};
  return run_command_line(commands, argc, argv);
}
