// SPDX-License-Identifier: Apache-2.0
// A subcommand: it says which options it has, then runs. One file each; main.cc lists them.
#pragma once

#include <memory>

namespace userfault::tools {

class OptionSet;

class Command {
 public:
  virtual ~Command() = default;
  [[nodiscard]] virtual const char* name() const = 0;
  [[nodiscard]] virtual const char* summary() const = 0;
  virtual void add_options(OptionSet& options) = 0;
  // The exit status: 0 fine, 1 it failed (and said why on standard error), 2 wrong usage.
  [[nodiscard]] virtual int run() = 0;
};

[[nodiscard]] std::unique_ptr<Command> make_conform_command();
[[nodiscard]] std::unique_ptr<Command> make_doctor_command();
[[nodiscard]] std::unique_ptr<Command> make_pack_command();
[[nodiscard]] std::unique_ptr<Command> make_restore_command();
[[nodiscard]] std::unique_ptr<Command> make_run_command();
[[nodiscard]] std::unique_ptr<Command> make_unpack_command();
[[nodiscard]] std::unique_ptr<Command> make_version_command();

}  // namespace userfault::tools
