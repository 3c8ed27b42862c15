// SPDX-License-Identifier: Apache-2.0
// The order of the layers, as a test: who may include what. docs/design.md has it in words.
//
// The rule of the longest matching prefix decides. Public headers that are plain vocabulary
// (abi.h, refuser.h, export.h) belong to the bottom, although they lie in include/userfault.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <optional>
#include <ostream>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/code_text.h"
#include "support/source_tree.h"

namespace userfault::test {
namespace {

struct Rule {
  std::string_view folder;                // of the including file
  std::vector<std::string_view> project;  // prefixes of our own headers that it may include
  enum class System { kAny, kNoLibraries, kFreestanding, kStdintOnly } system = System::kNoLibraries;
};

// The folders of src/engine/user, lowest first: a folder may include itself and what stands before it
// (src/engine/user/README.md). Folders on one line are beside each other and may not include each other.
const std::vector<std::vector<std::string_view>>& rooms_of_the_user_engine() {
  static const std::vector<std::vector<std::string_view>> all = {{"rt"},     {"proc"},   {"memory"}, {"signal"},
                                                                 {"wait"},   {"fault"},  {"ops"},    {"descriptor"},
                                                                 {"layout"}, {"remote"}, {"fork"}};
  return all;
}

std::vector<Rule> rules_of_rooms(std::string_view base, const std::vector<std::vector<std::string_view>>& rooms,
                                 const std::vector<std::string_view>& always, Rule::System system) {
  static std::deque<std::string> names;  // what the rules' views look into
  const std::string folder = std::string(base.substr(std::string_view("src/").size()));
  std::vector<Rule> rules;
  std::vector<std::string_view> below = always;
  for (const auto& level : rooms) {
    for (const std::string_view room : level) {
      Rule rule{names.emplace_back(std::string(base) + std::string(room) + "/"), below, system};
      rule.project.push_back(names.emplace_back(folder + std::string(room) + "/"));
      rules.push_back(rule);
    }
    for (const std::string_view room : level) below.push_back(names.emplace_back(folder + std::string(room) + "/"));
  }
  return rules;
}

// The same of src/preload (src/preload/README.md).
const std::vector<std::vector<std::string_view>>& rooms_of_the_preload_library() {
  static const std::vector<std::vector<std::string_view>> all = {{"symbols"}, {"repair"}, {"signals"},
                                                                 {"open"},    {"calls"},  {"trap"}};
  return all;
}

std::vector<Rule> make_rules() {
  using enum Rule::System;
  std::vector<Rule> all = {
      {"include/userfault/abi.h", {}, kStdintOnly},
      {"include/userfault/", {"userfault/"}},
      {"src/abi/", {"abi/", "userfault/abi.h", "userfault/refuser.h"}},
      {"src/base/", {"base/"}},
      {"src/engine/",
       {"abi/", "base/", "userfault/abi.h", "userfault/refuser.h", "engine/engine.h", "engine/open_methods.h"}},
      // Which engine works here: the one place that knows both.
      {"src/engine/engine.cc", {"engine/engine.h", "engine/kernel/kernel_engine.h", "engine/user/user_engine.h"}},
      {"src/engine/kernel/",
       {"abi/", "base/", "userfault/abi.h", "userfault/refuser.h", "engine/engine.h", "engine/open_methods.h",
        "engine/kernel/"}},
      // In-thread resolution is half bookkeeping and half signal handler: it hands one to the other.
      {"src/engine/kernel/in_thread.cc",
       {"base/", "engine/kernel/", "engine/user/fault/handler.h", "engine/user/fault/kernel_in_thread.h"}},
      // In-thread resolution runs inside the signal handler, and there is one room for that.
      {"src/engine/kernel/in_thread",
       {"abi/", "base/", "userfault/abi.h", "engine/engine.h", "engine/kernel/", "engine/user/rt/",
        "engine/user/signal/", "engine/user/fault/"}},
      // The files beside the folders join them.
      {"src/engine/user/", {"userfault/abi.h", "engine/engine.h", "engine/user/"}, kFreestanding},
      {"src/api/", {"abi/", "api/", "base/", "engine/engine.h", "engine/open_methods.h", "userfault/"}},
      // Beside the API: it tries the engines out as a program would, and reads what the system says.
      {"src/machine/", {"abi/", "base/", "engine/engine.h", "engine/open_methods.h", "machine/", "userfault/"}},
      {"src/store/", {"base/", "store/", "userfault/"}},
      // Each foreign library has one file that knows it.
      {"src/store/ring_queue.cc", {"base/", "store/"}, kAny},
      {"src/store/zstd_codec.cc", {"store/"}, kAny},
      {"src/pager/", {"api/", "base/", "pager/", "store/", "userfault/"}},
      {"src/preload/", {"engine/engine.h", "engine/user/", "preload/preload.h", "preload/settings.h"}},
      // The library's constructor, and what it hands from a room to a higher one.
      {"src/preload/start.cc", {"engine/engine.h", "preload/"}},
      {"src/tools/", {"tools/", "userfault/", "support/", "base/program_file.h"}, kAny},
      {"src/conformance/", {"support/", "userfault/"}, kAny},
      {"examples/", {"userfault/"}, kAny},
      {"bench/", {"support/", "userfault/"}, kAny},
  };
  const auto rooms = rules_of_rooms("src/engine/user/", rooms_of_the_user_engine(),
                                    {"userfault/abi.h", "engine/engine.h"}, kFreestanding);
  all.insert(all.end(), rooms.begin(), rooms.end());
  const auto preload = rules_of_rooms("src/preload/", rooms_of_the_preload_library(),
                                      {"abi/", "base/", "engine/engine.h", "engine/open_methods.h", "engine/user/",
                                       "preload/preload.h", "preload/settings.h", "userfault/abi.h"},
                                      kNoLibraries);
  all.insert(all.end(), preload.begin(), preload.end());
  return all;
}

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = make_rules();
  return all;
}

// What may be included where a signal handler runs: types, numbers, macros, and of the C library
// only memcpy and its kin, which signal-safety(7) lists as safe. That <unistd.h> is here for its
// numbers alone is seen to by the test of the room's undefined symbols.
constexpr std::string_view kFreestandingHeaders[] = {
    "algorithm", "array",    "atomic",   "bit",      "cerrno",      "climits",    "compare",
    "concepts",  "cstddef",  "cstdint",  "cstring",  "errno.h",     "fcntl.h",    "initializer_list",
    "limits",    "limits.h", "new",      "poll.h",   "sched.h",     "signal.h",   "csignal",
    "span",      "stddef.h", "stdint.h", "time.h",   "type_traits", "ucontext.h", "unistd.h",
    "utility",   "elf.h",    "iterator", "pthread.h"};
// Third parties stay outside of the libraries.
constexpr std::string_view kLibraryPrefixes[] = {"fmt/",       "CLI/",   "gtest/",   "gmock/",
                                                 "benchmark/", "boost/", "liburing", "zstd"};

bool allowed_system(Rule::System rule, std::string_view header) {
  const auto starts_with_one_of = [&](auto& prefixes) {
    for (const std::string_view prefix : prefixes)
      if (header.starts_with(prefix)) return true;
    return false;
  };
  switch (rule) {
    case Rule::System::kAny: return true;
    case Rule::System::kNoLibraries: return !starts_with_one_of(kLibraryPrefixes);
    case Rule::System::kStdintOnly: return header == "stdint.h";
    case Rule::System::kFreestanding: break;
  }
  for (const std::string_view free : kFreestandingHeaders)
    if (header == free) return true;
  constexpr std::string_view kKernelAndSystemCalls[] = {"linux/", "asm/", "sys/"};
  return starts_with_one_of(kKernelAndSystemCalls);
}

const Rule* rule_for(const SourceFile& file) {
  const Rule* best = nullptr;
  for (const Rule& rule : rules())
    if (file.under(rule.folder) && (best == nullptr || rule.folder.size() > best->folder.size())) best = &rule;
  return best;
}

struct Include {
  std::string header;
  bool project = false;
};

std::optional<Include> include_of(const std::string& line) {
  static const std::regex directive(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::smatch match;
  if (!std::regex_search(line, match, directive)) return std::nullopt;
  const std::string header = match[2];
  return Include{header, match[1] == "\"" || header.starts_with("userfault/")};
}

bool allowed(const Rule& rule, const Include& include) {
  if (!include.project) return allowed_system(rule.system, include.header);
  for (const std::string_view prefix : rule.project)
    if (include.header.starts_with(prefix)) return true;
  return false;
}

bool is_code(const SourceFile& file) {
  for (const std::string_view extension : {".h", ".cc", ".c", ".S"})
    if (file.has_extension(extension)) return true;
  return false;
}

std::vector<std::string> wrong_includes(const SourceFile& file) {
  const Rule* rule = rule_for(file);
  std::vector<std::string> findings;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const auto include = include_of(file.lines[i]);
    if (!include) continue;
    if (rule == nullptr) findings.push_back(finding(file, i, "no layer has this folder: add a rule"));
    else if (!allowed(*rule, *include))
      findings.push_back(finding(file, i, std::string(rule->folder) + " may not include " + include->header));
  }
  return findings;
}

TEST(Layers, NobodyIncludesFromAbove) {
  std::vector<std::string> findings;
  std::size_t checked = 0;
  for (const SourceFile& file : source_files()) {
    const bool layered =
        file.under("src/") || file.under("include/") || file.under("examples/") || file.under("bench/");
    if (!layered || !is_code(file)) continue;
    ++checked;
    const auto wrong = wrong_includes(file);
    findings.insert(findings.end(), wrong.begin(), wrong.end());
  }
  EXPECT_GT(checked, 30u) << "the tree was not found";
  EXPECT_EQ(join(findings), "");
}

// ---- no cycle between the files of a folder ----

// A header and the source of its name are one node: what may be understood alone.
std::string stem_of(const std::string& path) {
  std::string stem = path.substr(0, path.rfind('.'));
  for (const std::string_view architecture : {"_x86_64", "_aarch64"})
    if (stem.ends_with(architecture)) stem.resize(stem.size() - architecture.size());
  return stem;
}

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

using Graph = std::map<std::string, std::set<std::string>>;

// From stem to stem, within a folder of src/ alone: between folders the rules above have an order.
Graph include_graph(const std::vector<SourceFile>& files) {
  Graph graph;
  for (const SourceFile& file : files) {
    if (!file.under("src/") || !is_code(file)) continue;
    const std::string from = stem_of(file.path);
    for (const std::string& line : file.lines) {
      const auto include = include_of(line);
      if (!include || !include->project) continue;
      const std::string to = stem_of("src/" + include->header);
      if (to != from && folder_of(to) == folder_of(from)) graph[from].insert(to);
    }
  }
  return graph;
}

bool leads_to(const Graph& graph, const std::string& from, const std::string& to, std::set<std::string>& seen) {
  const auto edges = graph.find(from);
  if (edges == graph.end()) return false;
  for (const std::string& next : edges->second)
    if (next == to || (seen.insert(next).second && leads_to(graph, next, to, seen))) return true;
  return false;
}

std::vector<std::string> stems_in_cycles(const std::vector<SourceFile>& files) {
  const Graph graph = include_graph(files);
  std::vector<std::string> found;
  for (const auto& [stem, edges] : graph) {
    std::set<std::string> seen;
    if (leads_to(graph, stem, stem, seen)) found.push_back(stem);
  }
  return found;
}

TEST(Layers, NoFilesOfAFolderIncludeEachOtherInACircle) { EXPECT_EQ(join(stems_in_cycles(source_files())), ""); }

TEST(Layers, ACircleIsFound) {
  const auto file = [](const char* path, const char* text) { return make_source(path, text); };
  EXPECT_EQ(stems_in_cycles({file("src/a/x.h", "#include \"a/y.h\"\n"), file("src/a/y.cc", "#include \"a/z.h\"\n"),
                             file("src/a/z.cc", "#include \"a/x.h\"\n"), file("src/a/w.h", "#include \"a/x.h\"\n")})
                .size(),
            3u);
  EXPECT_EQ(stems_in_cycles({file("src/a/x.cc", "#include \"a/x.h\"\n#include \"a/y.h\"\n"),
                             file("src/a/y.cc", "#include \"b/x.h\"\n")})
                .size(),
            0u);
}

// A check that finds nothing proves nothing until it has found something.
struct Sample {
  const char* path;
  const char* line;
  bool fine;
};

// For the test's listed name; without it that would be the struct's bytes, pointers and all.
void PrintTo(const Sample& sample, std::ostream* out) { *out << sample.path << " " << sample.line; }

class LayersOfASample : public testing::TestWithParam<Sample> {};

TEST_P(LayersOfASample, IsJudgedRight) {
  const SourceFile file = make_source(GetParam().path, GetParam().line);
  EXPECT_EQ(wrong_includes(file).empty(), GetParam().fine) << join(wrong_includes(file));
}

INSTANTIATE_TEST_SUITE_P(
    Layers, LayersOfASample,
    testing::Values(Sample{"include/userfault/abi.h", "#include <stdint.h>", true},
                    Sample{"include/userfault/abi.h", "#include <stddef.h>", false},
                    Sample{"include/userfault/abi.h", "#include \"userfault/range.h\"", false},
                    Sample{"include/userfault/range.h", "#include \"base/fd.h\"", false},
                    Sample{"include/userfault/range.h", "#include <cstdint>", true},
                    Sample{"src/base/fd.h", "#include \"engine/engine.h\"", false},
                    Sample{"src/base/fd.h", "#include \"userfault/error.h\"", false},
                    Sample{"src/base/fd.h", "#include <fmt/core.h>", false},
                    Sample{"src/engine/engine.h", "#include \"userfault/abi.h\"", true},
                    Sample{"src/engine/engine.h", "#include <userfault/descriptor.h>", false},
                    Sample{"src/engine/kernel/kernel_engine.cc", "#include \"engine/user/user_engine.h\"", false},
                    Sample{"src/engine/user/user_engine.cc", "#include \"engine/kernel/kernel_engine.h\"", false},
                    Sample{"src/engine/user/user_engine.cc", "#include \"engine/user/fork/fork.h\"", true},
                    Sample{"src/engine/user/memory/a.cc", "#include \"engine/user/rt/syscall.h\"", true},
                    Sample{"src/engine/user/memory/a.cc", "#include \"engine/user/ops/fill.h\"", false},
                    Sample{"src/engine/user/signal/a.cc", "#include \"engine/user/wait/instance.h\"", false},
                    Sample{"src/engine/user/fork/a.cc", "#include \"engine/user/user_engine.h\"", false},
                    Sample{"src/engine/user/wait/a.cc", "#include \"base/fd.h\"", false},
                    Sample{"src/engine/user/wait/a.cc", "  # include <string>", false},
                    Sample{"src/engine/user/wait/a.cc", "#include <atomic>", true},
                    Sample{"src/engine/user/wait/a.cc", "#include <linux/futex.h>", true},
                    Sample{"src/store/file_store.cc", "#include <liburing.h>", false},
                    Sample{"src/store/ring_queue.cc", "#include <liburing.h>", true},
                    Sample{"src/api/open.cc", "#include \"engine/engine.h\"", true},
                    Sample{"src/api/open.cc", "#include \"engine/kernel/kernel_engine.h\"", false},
                    Sample{"src/api/open.cc", "#include \"pager/pager.h\"", false},
                    Sample{"src/api/open.cc", "#include \"machine/probe.h\"", false},
                    Sample{"src/machine/probe.cc", "#include \"engine/open_methods.h\"", true},
                    Sample{"src/machine/probe.cc", "#include \"api/open.h\"", false},
                    Sample{"src/store/file.cc", "#include \"api/open.h\"", false},
                    Sample{"src/pager/worker.cc", "#include \"engine/engine.h\"", false},
                    Sample{"src/pager/worker.cc", "#include \"store/file.h\"", true},
                    Sample{"src/preload/open/fdinfo.cc", "#include \"api/open.h\"", false},
                    Sample{"src/preload/open/fdinfo.cc", "#include \"engine/user/user_engine.h\"", true},
                    Sample{"src/preload/open/fdinfo.cc", "#include \"preload/trap/trap.h\"", false},
                    Sample{"src/preload/trap/trap.cc", "#include \"preload/open/fdinfo.h\"", true},
                    Sample{"src/preload/symbols/libc_symbols.h", "#include \"preload/repair/repair.h\"", false},
                    Sample{"src/preload/settings.cc", "#include \"preload/symbols/libc_symbols.h\"", false},
                    Sample{"src/tools/doctor.cc", "#include \"engine/open_methods.h\"", false},
                    Sample{"src/tools/doctor.cc", "#include <fmt/core.h>", true},
                    Sample{"examples/hello.cc", "#include \"base/fd.h\"", false},
                    Sample{"src/conformance/copy_test.cc", "#include \"engine/engine.h\"", false},
                    Sample{"src/newcomer/thing.cc", "#include \"base/fd.h\"", false}));

}  // namespace
}  // namespace userfault::test
