// SPDX-License-Identifier: Apache-2.0
// The options of a subcommand, and the command line as a whole. CLI11 does the work, in options.cc
// alone: a file that includes it compiles for seconds longer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace userfault::tools {

class Command;

// One option, to say more about; it belongs to the set that made it.
class Option {
 public:
  Option& required();
  Option& one_of(std::initializer_list<const char*> words);
  Option& between(int least, int most);
  Option& in_bytes();  // 64k and 2m, too
  Option& comma_separated();
  Option& show_default();
  Option& show_as(const char* what);
  // How often it was given.
  [[nodiscard]] std::size_t count() const;

 private:
  friend class OptionSet;
  explicit Option(CLI::Option* option) : option_(option) {}
  CLI::Option* option_;
};

class OptionSet {
 public:
  explicit OptionSet(CLI::App& app) : app_(app) {}

  // `names` as in "-o,--output", without dashes for what stands alone. What is never given keeps its value.
  Option add(const char* names, std::string& target, const char* help);
  Option add(const char* names, std::vector<std::string>& target, const char* help);
  Option add(const char* names, int& target, const char* help);
  Option add(const char* names, unsigned& target, const char* help);
  Option add(const char* names, std::uint64_t& target, const char* help);
  void add_flag(const char* names, bool& target, const char* help);
  // One word of several, each of which stands for a value.
  template <typename Value>
  Option add_choice(const char* names, Value& target,
                    std::initializer_list<std::pair<const char*, std::type_identity_t<Value>>> choices,
                    const char* help) {
    std::vector<std::string> words;
    std::vector<Value> values;
    for (const auto& [word, value] : choices) {
      words.emplace_back(word);
      values.push_back(value);
    }
    return add_word(
        names, std::move(words), [&target, values](std::size_t chosen) { target = values[chosen]; }, help);
  }

 private:
  Option add_word(const char* names, std::vector<std::string> words, std::function<void(std::size_t)> choose,
                  const char* help);

  CLI::App& app_;
};

// Reads the command line and runs the subcommand that it names; the exit status, 2 for wrong usage.
[[nodiscard]] int run_command_line(std::span<const std::unique_ptr<Command>> commands, int argc, char** argv);

}  // namespace userfault::tools
