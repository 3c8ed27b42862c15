// SPDX-License-Identifier: Apache-2.0
// What the documents promise is there: the pages and files they name, the functions, the example.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>
#include <string>

#include "support/source_tree.h"

namespace userfault::test {
namespace {

std::set<std::string> all_matches(const std::string& text, const std::regex& pattern) {
  std::set<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at) found.insert((*at)[1]);
  return found;
}

std::string text_of(const SourceFile& file) {
  std::string text;
  for (const std::string& line : file.lines) text += line + '\n';
  return text;
}

bool exists(const std::string& path) { return std::filesystem::exists(source_root() / path); }

// In roff a hyphen of a name may be written \- ; "userfault-doctor (1)" is how .BR separates.
std::string plain(const std::string& roff) { return std::regex_replace(roff, std::regex(R"(\\-)"), "-"); }

TEST(Docs, EveryManualPageOfOursThatIsNamedExists) {
  static const std::regex page(R"(\b(userfault(?:-[a-z]+)?)\s?\(([13])\))");
  int named = 0;
  for (const SourceFile& file : source_files()) {
    if (!file.under("man/") && !file.has_extension(".md")) continue;
    const std::string text = plain(text_of(file));
    for (std::sregex_iterator at(text.begin(), text.end(), page), end; at != end; ++at, ++named)
      EXPECT_TRUE(exists("man/" + at->str(1) + "." + at->str(2))) << file.path << " names " << at->str();
  }
  EXPECT_GT(named, 10) << "the references were not found";
}

TEST(Docs, EverySubcommandHasAPageAndTheOverviewNamesIt) {
  static const std::regex made(R"(\bmake_(\w+)_command\(\))");
  const std::string overview = plain(read_source("man/userfault.1"));
  const auto commands = all_matches(read_source("src/tools/main.cc"), made);
  EXPECT_GE(commands.size(), 4u);
  for (const std::string& command : commands) {
    if (command == "version") continue;
    EXPECT_TRUE(exists("man/userfault-" + command + ".1")) << command;
    EXPECT_NE(overview.find("userfault-" + command + " (1)"), std::string::npos) << command;
  }
}

TEST(Docs, TheLibraryPageHasEveryFunctionWithItsPrototype) {
  static const std::regex declared(R"(USERFAULT_EXPORT [^(;]*\b(userfault_\w+)\()");
  const std::string page = read_source("man/userfault.3");
  const std::string names = page.substr(0, page.find(".SH LIBRARY"));
  const auto functions = all_matches(read_source("include/userfault/userfault.h"), declared);
  EXPECT_GE(functions.size(), 24u);
  for (const std::string& function : functions) {
    EXPECT_TRUE(std::regex_search(names, std::regex("\\b" + function + "\\b"))) << function << " in NAME";
    EXPECT_NE(page.find(function + "("), std::string::npos) << function << " in SYNOPSIS";
  }
  for (const std::string& name : all_matches(names, std::regex(R"(\b(userfault_\w+))")))
    EXPECT_TRUE(functions.contains(name)) << name << " is not in userfault.h";
}

TEST(Docs, TheReadmesExampleIsTheOneThatIsBuilt) {
  const std::string example = read_source("examples/hello.cc");
  const std::string shown = "```cpp\n" + example.substr(example.find('\n') + 1) + "```\n";
  EXPECT_NE(read_source("README.md").find(shown), std::string::npos) << "examples/hello.cc and README.md differ";
}

TEST(Docs, TheReadmeGuidesToEveryHeader) {
  const std::string readme = read_source("README.md");
  for (const SourceFile& file : source_files()) {
    if (!file.under("include/userfault/") || file.path == "include/userfault/export.h") continue;
    EXPECT_NE(readme.find("(" + file.path + ")"), std::string::npos) << file.path;
  }
}

TEST(Docs, EveryLinkToAFileLeadsToOne) {
  static const std::regex link(R"(\]\(([^)#: ]+)(#[^)]*)?\))");
  for (const SourceFile& file : source_files()) {
    if (!file.has_extension(".md")) continue;
    const auto folder = std::filesystem::path(file.path).parent_path();
    for (const std::string& target : all_matches(text_of(file), link))
      EXPECT_TRUE(exists((folder / target).string())) << file.path << " links to " << target;
  }
}

}  // namespace
}  // namespace userfault::test
