// SPDX-License-Identifier: Apache-2.0
#include "tools/options.h"

#include <CLI/CLI.hpp>

#include <algorithm>

#include "tools/command.h"

namespace userfault::tools {
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

Option& Option::required() {
  option_->required();
  return *this;
}
Option& Option::one_of(std::initializer_list<const char*> words) {
  option_->check(CLI::IsMember(std::vector<std::string>(words.begin(), words.end())));
  return *this;
}
Option& Option::between(int least, int most) {
  option_->check(CLI::Range(least, most));
  return *this;
}
Option& Option::in_bytes() {
  option_->transform(CLI::AsSizeValue(false));
  return *this;
}
Option& Option::comma_separated() {
  option_->delimiter(',');
  return *this;
}
Option& Option::show_default() {
  option_->capture_default_str();
  return *this;
}
Option& Option::show_as(const char* what) {
  option_->type_name(what);
  return *this;
}
std::size_t Option::count() const { return option_->count(); }

Option OptionSet::add(const char* names, std::string& target, const char* help) {
  return Option(app_.add_option(names, target, help));
}
Option OptionSet::add(const char* names, std::vector<std::string>& target, const char* help) {
  return Option(app_.add_option(names, target, help));
}
Option OptionSet::add(const char* names, int& target, const char* help) {
  return Option(app_.add_option(names, target, help));
}
Option OptionSet::add(const char* names, unsigned& target, const char* help) {
  return Option(app_.add_option(names, target, help));
}
Option OptionSet::add(const char* names, std::uint64_t& target, const char* help) {
  return Option(app_.add_option(names, target, help));
}
void OptionSet::add_flag(const char* names, bool& target, const char* help) { app_.add_flag(names, target, help); }

Option OptionSet::add_word(const char* names, std::vector<std::string> words, std::function<void(std::size_t)> choose,
                           const char* help) {
  const auto choose_word = [words, choose = std::move(choose)](const std::string& word) {
    choose(static_cast<std::size_t>(std::ranges::find(words, word) - words.begin()));
  };
  return Option(app_.add_option_function<std::string>(names, choose_word, help)->check(CLI::IsMember(words)));
}

int run_command_line(std::span<const std::unique_ptr<Command>> commands, int argc, char** argv) {
  CLI::App app("userfaultfd over the kernel's engine and in user space", "userfault");
  app.require_subcommand(1);
  int status = 0;
  for (const auto& command : commands) {
    CLI::App* sub = app.add_subcommand(command->name(), command->summary());
    OptionSet options(*sub);
    command->add_options(options);
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

}  // namespace userfault::tools
