// SPDX-License-Identifier: Apache-2.0
// Every id of the specification is named by a conformance test, and no test names another.
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <string>

#include "support/source_tree.h"

namespace userfault::test {
namespace {

// What is checked elsewhere, and where; that file has to name the id.
const std::map<std::string, std::string> kElsewhere = {
    {"REAL-28", "tests/unit/abi_system_test.cc"},
};
// Rows about what is not there yet, and why.
const std::map<std::string, std::string> kLater = {{"REAL-30", "read-write protection is Linux 7.2's"}};

std::set<std::string> specified() {
  std::set<std::string> ids;
  static const std::regex requirement(R"(^([A-Z]+-\d+)\t)");
  static const std::regex row(R"(^\| (\d+) \|)");
  std::smatch match;
  for (const SourceFile& file : source_files()) {
    for (const std::string& line : file.lines) {
      if (file.path == "docs/spec/requirements.tsv" && std::regex_search(line, match, requirement))
        ids.insert(match[1]);
      if (file.path == "docs/spec/real-kernel.md" && std::regex_search(line, match, row))
        ids.insert("REAL-" + std::string(match[1].length() == 1 ? "0" : "") + match[1].str());
    }
  }
  return ids;
}

std::set<std::string> ids_in(const SourceFile& file) {
  static const std::regex id(R"(\b[A-Z]+-\d\d\b)");
  std::set<std::string> found;
  for (const std::string& line : file.lines)
    for (std::sregex_iterator at(line.begin(), line.end(), id), end; at != end; ++at) found.insert(at->str());
  return found;
}

TEST(Spec, EveryIdIsNamedByAConformanceTest) {
  std::set<std::string> named;
  for (const SourceFile& file : source_files()) {
    const bool suite = file.under("src/conformance/") && file.has_extension("_test.cc");
    for (const std::string& id : ids_in(file)) {
      const auto elsewhere = kElsewhere.find(id);
      if (suite || (elsewhere != kElsewhere.end() && elsewhere->second == file.path)) named.insert(id);
    }
  }
  const auto ids = specified();
  EXPECT_GT(ids.size(), 120u) << "docs/spec was not understood";
  for (const std::string& id : ids) EXPECT_TRUE(named.contains(id) || kLater.contains(id)) << id << " has no test";
}

TEST(Spec, NoTestNamesAnUnknownId) {
  const auto ids = specified();
  static const std::regex family("(GEN|API|FEAT|REG|UNREG|COPY|ZERO|WAKE|WP|CONT|POIS|MOVE|MSG|FD|REAL)-.*");
  for (const SourceFile& file : source_files()) {
    if (!file.under("src/conformance/") || !file.has_extension("_test.cc")) continue;
    for (const std::string& id : ids_in(file)) {
      const bool of_the_specification = std::regex_match(id, family);
      EXPECT_TRUE(!of_the_specification || ids.contains(id)) << file.path << " names " << id;
    }
  }
}

}  // namespace
}  // namespace userfault::test
