// SPDX-License-Identifier: Apache-2.0
// The style of the project as a failing test (CONTRIBUTING.md), over every file it has; and each
// rule over a sample that it has to find fault with, and one that it has to let pass.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "support/code_text.h"
#include "support/source_tree.h"
#include "support/tidy.h"

namespace userfault::test {
namespace {

struct Rule {
  const char* name;
  tidy::Check check;
};

void PrintTo(const Rule& rule, std::ostream* out) { *out << rule.name; }

// USERFAULT_INVARIANT and USERFAULT_CHECK in 1,000 lines.
constexpr std::size_t kEngineFloor = 12;
constexpr std::size_t kPagerFloor = 15;

class Tidy : public testing::TestWithParam<Rule> {};

TEST_P(Tidy, EveryFile) {
  std::string findings;
  for (const SourceFile& file : source_files()) findings += join(GetParam().check(file));
  EXPECT_EQ(findings, "");
}

INSTANTIATE_TEST_SUITE_P(
    All, Tidy,
    testing::Values(Rule{"LicenceLine", tidy::licence_line}, Rule{"PragmaOnce", tidy::pragma_once},
                    Rule{"FileLength", tidy::file_length}, Rule{"FunctionLength", tidy::function_length},
                    Rule{"LineShape", tidy::line_shape}, Rule{"NoIfdefInFunctions", tidy::no_ifdef_in_functions},
                    Rule{"NothingUnfinished", tidy::nothing_unfinished}, Rule{"NoBareErrno", tidy::no_bare_errno},
                    Rule{"SignalSafe", tidy::signal_safe}, Rule{"NextOnFirstUse", tidy::next_on_first_use},
                    Rule{"HonestTests", tidy::honest_tests}, Rule{"SelfContained", tidy::self_contained}),
    [](const auto& rule) { return rule.param.name; });

// The floors are what has been reached: they may rise.
TEST(TidyChecks, AreAsDenseAsTheyWere) {
  EXPECT_EQ(join(tidy::too_few_checks(source_files(), "src/engine/user/", kEngineFloor)), "");
  EXPECT_EQ(join(tidy::too_few_checks(source_files(), "src/pager/", kPagerFloor)), "");
}

TEST(TidyChecks, TooFewAreFound) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "int a;\n";
  const std::vector<SourceFile> files = {
      make_source("src/a/a.cc", text + "USERFAULT_INVARIANT(a, \"b\");\nUSERFAULT_CHECK(a, \"b\");\n"),
      make_source("src/a/b.cc", "// USERFAULT_CHECK(a, \"b\")\n#define USERFAULT_CHECK(a, b)\n"),
      make_source("src/b/a.cc", text)};
  EXPECT_EQ(tidy::too_few_checks(files, "src/a/", 9).size(), 0u);
  EXPECT_EQ(tidy::too_few_checks(files, "src/a/", 10).size(), 1u);
  EXPECT_EQ(tidy::too_few_checks(files, "src/b/", 1).size(), 1u);
}

struct Sample {
  tidy::Check check;
  const char* path;
  std::string text;
  bool fine;
};

void PrintTo(const Sample& sample, std::ostream* out) { *out << sample.path << ": " << sample.text.substr(0, 60); }

class TidySample : public testing::TestWithParam<Sample> {};

TEST_P(TidySample, IsJudgedRight) {
  const auto findings = GetParam().check(make_source(GetParam().path, GetParam().text));
  EXPECT_EQ(findings.empty(), GetParam().fine) << join(findings);
}

std::string lines(int count, const std::string& line) {
  std::string text;
  for (int i = 0; i < count; ++i) text += line + "\n";
  return text;
}

// Written in two pieces, or the rules would find them here.
const std::string kNote = std::string("// TO") + "DO: later\n";
const std::string kDisabled = std::string("TEST(A, DIS") + "ABLED_B) {}\n";
const std::string kElsewhere = std::string("see /wo") + "rk/notes\n";

constexpr char kSafe[] = "src/engine/user/rt/a.cc";

INSTANTIATE_TEST_SUITE_P(
    Shape, TidySample,
    testing::Values(
        Sample{tidy::licence_line, "src/a.cc", "int a;\n", false},
        Sample{tidy::licence_line, "src/a.cc", "// SPDX-License-Identifier: Apache-2.0\nint a;\n", true},
        Sample{tidy::licence_line, "scripts/a.sh", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n", true},
        Sample{tidy::licence_line, "src/CMakeLists.txt", "add_library(a)\n", false},
        Sample{tidy::licence_line, "a.json", "{}\n", true}, Sample{tidy::pragma_once, "src/a.h", "int a;\n", false},
        Sample{tidy::pragma_once, "src/a.h", "#pragma once\n", true},
        Sample{tidy::pragma_once, "src/a.cc", "int a;\n", true},
        Sample{tidy::file_length, "src/a.cc", lines(700, "int a;"), true},
        Sample{tidy::file_length, "src/a.cc", lines(701, "int a;"), false},
        Sample{tidy::function_length, "src/a.cc", "void f() {\n" + lines(68, "  g();") + "}\n", true},
        Sample{tidy::function_length, "src/a.cc", "void f() {\n" + lines(69, "  g();") + "}\n", false},
        Sample{tidy::function_length, "src/a.cc", "void f(int a,\n  int b) {\n" + lines(69, "  g();") + "}\n", false},
        Sample{tidy::function_length, "src/a.cc", "namespace a {\n" + lines(90, "int a();") + "}\n", true},
        Sample{tidy::function_length, "src/a.cc", "class A {\n" + lines(90, "  int a();") + "};\n", true},
        Sample{tidy::line_shape, "src/a.cc", std::string(120, 'a') + "\n", true},
        Sample{tidy::line_shape, "src/a.cc", std::string(121, 'a') + "\n", false},
        Sample{tidy::line_shape, "src/a.cc", "// " + lines(1, "…µ") + "\n", true},
        Sample{tidy::line_shape, "src/a.cc", "\tint a;\n", false},
        Sample{tidy::line_shape, "src/a.cc", "int a; \n", false},
        Sample{tidy::no_ifdef_in_functions, "src/a.cc", "void f() {\n#ifdef A\n  g();\n#endif\n}\n", false},
        Sample{tidy::no_ifdef_in_functions, "src/a.cc", "#if A\nvoid f() {\n  g();\n}\n#endif\n", true},
        Sample{tidy::nothing_unfinished, "src/a.cc", kNote, false},
        Sample{tidy::nothing_unfinished, "tests/a.cc", kDisabled, false},
        Sample{tidy::nothing_unfinished, "src/a.cc", "#if 0\n", false},
        Sample{tidy::nothing_unfinished, "src/a.cc", "// The method is fixed.\n#if 01\n", true},
        Sample{tidy::self_contained, "docs/a.md", kElsewhere, false},
        Sample{tidy::self_contained, "docs/a.md", "a framework/and more\n", true}));

INSTANTIATE_TEST_SUITE_P(
    Words, TidySample,
    testing::Values(Sample{tidy::no_bare_errno, "src/tools/a.cc", "return fail(errno);\n", false},
                    Sample{tidy::no_bare_errno, "src/tools/a.cc", "if (read(fd) == -1) return;\n", false},
                    Sample{tidy::no_bare_errno, "src/pager/a.cc", "auto p = reinterpret_cast<int*>(q);\n", false},
                    Sample{tidy::no_bare_errno, "src/pager/a.cc", "int b = a -1; // errno, -1\n", true},
                    Sample{tidy::no_bare_errno, "src/pager/a.cc", "return -1;\n", false},
                    Sample{tidy::no_bare_errno, "src/pager/a.cc", "::mmap(a, b, c, d, -1, 0);\n", true},
                    Sample{tidy::no_bare_errno, "src/tools/last_error.h", "return errno;\n", true},
                    Sample{tidy::no_bare_errno, "src/api/a.cc", "return -errno;\n", true},
                    Sample{tidy::signal_safe, kSafe, "void* p = malloc(4);\n", false},
                    Sample{tidy::signal_safe, kSafe, "auto* p = new int;\n", false},
                    Sample{tidy::signal_safe, kSafe, "delete p;\n", false},
                    Sample{tidy::signal_safe, kSafe, "A(const A&) = delete;\n", true},
                    Sample{tidy::signal_safe, kSafe, "new (place) A;\n", true},
                    Sample{tidy::signal_safe, kSafe, "std::mutex m;\n", false},
                    Sample{tidy::signal_safe, kSafe, "std::string s;\n", false},
                    Sample{tidy::signal_safe, kSafe, "printf(\"x\");\n", false},
                    Sample{tidy::signal_safe, kSafe, "std::snprintf(b, n, \"x\");\n", false},
                    Sample{tidy::signal_safe, kSafe, "throw 1;\n", false},
                    Sample{tidy::signal_safe, kSafe, "// a new page, malloc() is not for us: \"delete\"\n", true},
                    Sample{tidy::signal_safe, "src/engine/a.cc", "auto* p = new int;\n", true},
                    Sample{tidy::next_on_first_use, "src/preload/a.cc", "return next.select(0);\n", false},
                    Sample{tidy::next_on_first_use, "src/preload/a.cc", "f = dlsym(RTLD_NEXT, \"f\");\n", false},
                    Sample{tidy::next_on_first_use, "src/preload/a.cc", "return next<Name::select>(0);\n", true},
                    Sample{tidy::next_on_first_use, "src/preload/a.cc", "at = entry->next; // next.read(fd)\n", true},
                    Sample{tidy::next_on_first_use, "src/tools/a.cc", "next.call(0);\n", true},
                    Sample{tidy::honest_tests, "tests/unit/a.cc", "GTEST_SKIP();\n", false},
                    Sample{tidy::honest_tests, "tests/unit/a.cc", "GTEST_SKIP() << why;\n", true},
                    Sample{tidy::honest_tests, "tests/unit/a.cc", "std::this_thread::sleep_for(1s);\n", false},
                    Sample{tidy::honest_tests, "tests/unit/a.cc", "usleep(10);\n", false},
                    Sample{tidy::honest_tests, "src/api/a.cc", "std::this_thread::sleep_for(1s);\n", true}));

TEST(CodeText, LeavesOnlyWhatTheCompilerSees) {
  const auto code = [](const std::string& text) { return join(code_lines(make_source("a.cc", text))); };
  EXPECT_EQ(code("a; // b\nc;"), "a; \nc;\n");
  EXPECT_EQ(code("a /* b\n c */ d;"), "a \n d;\n");
  EXPECT_EQ(code("f(\"a\\\"b // c\", 'x', '\\'');"), "f(\"\", '', '');\n");
  EXPECT_EQ(code("n = 1'000'000; // x"), "n = 1'000'000; \n");
  EXPECT_EQ(code("R\"x(a\n\" // )x\" b;"), "\"\"\n b;\n");
}

}  // namespace
}  // namespace userfault::test
