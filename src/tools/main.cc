// SPDX-License-Identifier: Apache-2.0
// userfault COMMAND …: reads the command line and hands over to the subcommand.
#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tools/command.h"

namespace {

// `run PROGRAM --flag` means PROGRAM's flag: the mark that ends our options is put where it belongs
// when it was left out.
std::vector<std::string> with_mark(int argc, char** argv, const CLI::App& app) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty() || words.front() != "run") return words;
  const CLI::App* run = app.get_subcommand("run");
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "--") break;
    if (!words[i].starts_with("-")) {
      words.insert(words.begin() + static_cast<std::ptrdiff_t>(i), "--");
      break;
    }
    const CLI::Option* option = run->get_option_no_throw(words[i]);
    if (option != nullptr && option->get_expected_min() > 0) ++i;
  }
  return words;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace userfault::tools;
  CLI::App app("userfaultfd over the kernel's engine and in user space", "userfault");
  app.require_subcommand(1);

  const std::array commands{make_conform_command(), make_doctor_command(), make_pack_command(),
                            make_restore_command(), make_run_command(),    make_unpack_command(),
                            make_version_command()};
  int status = 0;
  for (const auto& command : commands) {
    CLI::App* sub = app.add_subcommand(command->name(), command->summary());
    command->add_options(*sub);
    sub->callback([&status, &command] { status = command->run(); });
  }
  try {
    std::vector<std::string> words = with_mark(argc, argv, app);
    std::ranges::reverse(words);
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return status;
}
