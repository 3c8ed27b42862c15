// SPDX-License-Identifier: Apache-2.0
#include "support/registry.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace userfault::conformance {
namespace {

// The specification's numbering: families in its order, and how many each has.
struct Family {
  const char* name;
  int first;
  int last;
};
constexpr std::array kFamilies{Family{"GEN", 1, 9},   Family{"API", 1, 9},  Family{"FEAT", 0, 16}, Family{"REG", 1, 10},
                               Family{"UNREG", 1, 2}, Family{"COPY", 1, 5}, Family{"ZERO", 1, 2},  Family{"WAKE", 1, 2},
                               Family{"WP", 1, 5},    Family{"CONT", 1, 5}, Family{"POIS", 1, 4},  Family{"MOVE", 1, 1},
                               Family{"MSG", 1, 4},   Family{"FD", 1, 4},   Family{"REAL", 1, 60}};

std::vector<Test>& mutable_tests() {
  static std::vector<Test> tests;
  return tests;
}

std::vector<std::string> split(std::string_view words) {
  std::istringstream stream{std::string(words)};
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

}  // namespace

const std::vector<std::string>& all_ids() {
  static const std::vector<std::string> ids = [] {
    std::vector<std::string> result;
    for (const Family& family : kFamilies) {
      for (int number = family.first; number <= family.last; ++number) {
        char id[16];
        std::snprintf(id, sizeof id, "%s-%02d", family.name, number);
        result.emplace_back(id);
      }
    }
    return result;
  }();
  return ids;
}

bool add_test(std::string_view suite, std::string_view name, std::string_view ids, Backings backings,
              void (*body)(const Context&)) {
  Test test{std::string(suite) + "." + std::string(name), split(ids), backings, body};
  for (const std::string& id : test.ids) {
    if (std::ranges::find(all_ids(), id) != all_ids().end()) continue;
    std::fprintf(stderr, "%s covers %s, which the specification does not have\n", test.name.c_str(), id.c_str());
    std::abort();
  }
  auto& tests = mutable_tests();
  const auto place = std::ranges::lower_bound(tests, test.name, {}, &Test::name);
  tests.insert(place, std::move(test));
  return true;
}

const std::vector<Test>& all_tests() { return mutable_tests(); }

}  // namespace userfault::conformance
