// SPDX-License-Identifier: Apache-2.0
#include "support/tidy.h"

#include <algorithm>
#include <array>
#include <regex>

#include "support/code_text.h"

namespace userfault::test::tidy {
namespace {

constexpr std::size_t kMaxFileLines = 700;
constexpr std::size_t kMaxFunctionLines = 70;
constexpr std::size_t kMaxColumns = 120;

bool is_cpp(const SourceFile& file) {
  return file.has_extension(".h") || file.has_extension(".cc") || file.has_extension(".c");
}

// Columns as an editor counts them: the bytes that continue a UTF-8 character have no width.
std::size_t columns(const std::string& line) {
  return static_cast<std::size_t>(
      std::ranges::count_if(line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

Findings matches(const SourceFile& file, const std::vector<std::string>& lines, const std::regex& wrong,
                 const std::string& what) {
  Findings findings;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::smatch match;
    if (std::regex_search(lines[i], match, wrong)) findings.push_back(finding(file, i, what + ": " + match.str()));
  }
  return findings;
}

void append(Findings& to, const Findings& more) { to.insert(to.end(), more.begin(), more.end()); }

struct Body {
  std::size_t first;  // the line with the opening brace
  std::size_t last;   // the line with the closing one
};

// Functions at namespace scope, by their shape: the layout is fixed (namespaces do not indent), so
// a body opens on a line that starts in the first column or ends a signature that did, and closes
// with a brace in the first column. Short bodies inside classes are not looked at.
std::vector<Body> function_bodies(const std::vector<std::string>& code) {
  static const std::regex not_a_function(R"(^(namespace|class|struct|union|enum|extern|using|static_assert|#)\b)");
  std::vector<Body> bodies;
  std::string declaration;
  for (std::size_t i = 0; i < code.size(); ++i) {
    const std::string& line = code[i];
    if (!line.empty() && line[0] != ' ' && line[0] != '}') declaration = line;
    if (declaration.empty() || !line.ends_with("{")) continue;
    if (std::regex_search(declaration, not_a_function) || declaration.find('(') == std::string::npos) {
      declaration.clear();
      continue;
    }
    const std::size_t first = i;
    while (i + 1 < code.size() && !code[i].starts_with("}")) ++i;
    bodies.push_back({first, i});
    declaration.clear();
  }
  return bodies;
}

// Where a word stands in our own rules it would trip over itself.
std::string word(const char* first, const char* second) { return std::string(first) + second; }

}  // namespace

Findings licence_line(const SourceFile& file) {
  constexpr std::array kWithoutComments = {".json", ".md", ".tsv", "LICENSE", ".gitignore", ".txt", ".golden"};
  const bool build_file = file.path.ends_with("CMakeLists.txt");
  for (const char* ending : kWithoutComments)
    if (file.path.ends_with(ending) && !build_file) return {};
  const std::size_t top = std::min<std::size_t>(file.lines.size(), 5);
  for (std::size_t i = 0; i < top; ++i)
    if (file.lines[i].find("SPDX-License-Identifier: Apache-2.0") != std::string::npos) return {};
  return {finding(file, 0, "no SPDX-License-Identifier: Apache-2.0 in the first five lines")};
}

Findings pragma_once(const SourceFile& file) {
  if (!file.has_extension(".h") || std::ranges::find(file.lines, "#pragma once") != file.lines.end()) return {};
  return {finding(file, 0, "a header without #pragma once")};
}

Findings file_length(const SourceFile& file) {
  if (!is_cpp(file) || file.lines.size() <= kMaxFileLines) return {};
  return {finding(file, kMaxFileLines, std::to_string(file.lines.size()) + " lines: split it")};
}

Findings function_length(const SourceFile& file) {
  Findings findings;
  if (!is_cpp(file)) return findings;
  for (const Body& body : function_bodies(code_lines(file))) {
    const std::size_t length = body.last - body.first + 1;
    if (length > kMaxFunctionLines)
      findings.push_back(finding(file, body.first, "a function of " + std::to_string(length) + " lines: split it"));
  }
  return findings;
}

Findings line_shape(const SourceFile& file) {
  Findings findings;
  if (!is_cpp(file)) return findings;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const std::string& line = file.lines[i];
    if (columns(line) > kMaxColumns) findings.push_back(finding(file, i, "longer than 120 columns"));
    if (line.find('\t') != std::string::npos) findings.push_back(finding(file, i, "a tab"));
    if (line.ends_with(' ') || line.ends_with('\r')) findings.push_back(finding(file, i, "space at the end"));
  }
  return findings;
}

Findings no_ifdef_in_functions(const SourceFile& file) {
  Findings findings;
  if (!is_cpp(file)) return findings;
  static const std::regex condition(R"(^\s*#\s*(if|ifdef|ifndef|elif)\b)");
  const auto code = code_lines(file);
  for (const Body& body : function_bodies(code))
    for (std::size_t i = body.first; i < body.last; ++i)
      if (std::regex_search(code[i], condition))
        findings.push_back(finding(file, i, "a preprocessor condition inside a function"));
  return findings;
}

Findings nothing_unfinished(const SourceFile& file) {
  static const std::regex note("\\b(" + word("TO", "DO") + "|" + word("FIX", "ME") + "|" + word("X", "XX") + "|" +
                               word("HA", "CK") + ")\\b|\\b" + word("DIS", "ABLED_") + R"(\w|^\s*#\s*if\s+0\b)");
  return matches(file, file.lines, note, "something unfinished");
}

Findings no_bare_errno(const SourceFile& file) {
  // The one place of the tools that may; the pager asks base/last_error.h.
  if (file.path == "src/tools/last_error.h") return {};
  if (!is_cpp(file) || !(file.under("src/pager/") || file.under("src/tools/"))) return {};
  const auto code = code_lines(file);
  static const std::regex error_number(R"(\berrno\b)");
  // Comparing with it or returning it; as mmap's "no file" it is only a number.
  static const std::regex minus_one(R"(([=!<>]|\breturn)\s*-1\b)");
  static const std::regex cast(R"(\breinterpret_cast\b)");
  Findings findings = matches(file, code, error_number, "a bare errno");
  append(findings, matches(file, code, minus_one, "a bare -1"));
  append(findings, matches(file, code, cast, "a cast that belongs below"));
  return findings;
}

Findings signal_safe(const SourceFile& file) {
  if (!is_cpp(file) || !file.under("src/engine/user/")) return {};
  // `= delete` and placement new allocate nothing.
  static const std::regex wrong(
      R"(\b(malloc|calloc|realloc|free|strdup|alloca)\s*\(|\bnew\b(?!\s*\()|(=\s*)?\bdelete\b|)"
      R"(\bstd::(mutex|recursive_mutex|shared_mutex|lock_guard|unique_lock|scoped_lock|condition_variable|string)\b|)"
      R"(\bstd::(vector|map|set|unordered_\w+|deque|list|function|shared_ptr|make_\w+|thread|cout|cerr|format)\b|)"
      R"(\b(pthread_(?!atfork)\w+|[a-z]*printf|fopen|fputs|puts|fwrite|syslog|abort|exit)\s*\(|)"
      R"(\b(throw|try|catch|dynamic_cast|typeid)\b)");
  Findings findings;
  const auto code = code_lines(file);
  for (std::size_t i = 0; i < code.size(); ++i) {
    std::smatch match;
    if (!std::regex_search(code[i], match, wrong)) continue;
    if (match.str().starts_with('=')) continue;
    findings.push_back(finding(file, i, "not for a signal handler: " + match.str()));
  }
  return findings;
}

Findings next_on_first_use(const SourceFile& file) {
  if (!is_cpp(file) || !file.under("src/preload/")) return {};
  static const std::regex early(R"(\bnext\s*(\.|->)\s*\w+\s*\(|\bdl(v?sym|open)\s*\()");
  return matches(file, code_lines(file), early, "not there before our constructor ran");
}

Findings honest_tests(const SourceFile& file) {
  if (!is_cpp(file) || !file.under("tests/")) return {};
  const auto code = code_lines(file);
  static const std::regex silent_skip(R"(\bGTEST_SKIP\(\)\s*;)");
  static const std::regex sleeping(R"(\b(sleep_for|sleep_until|usleep|nanosleep|sleep)\s*\()");
  Findings findings = matches(file, code, silent_skip, "a skip without a reason");
  append(findings, matches(file, code, sleeping, "a test that sleeps: wait for a condition"));
  return findings;
}

Findings too_few_checks(const std::vector<SourceFile>& files, std::string_view folder, std::size_t floor) {
  static const std::regex check(R"(^(?!\s*#).*\bUSERFAULT_(INVARIANT|CHECK)\()");
  std::size_t lines = 0;
  std::size_t checks = 0;
  for (const SourceFile& file : files) {
    if (!is_cpp(file) || !file.under(folder)) continue;
    lines += file.lines.size();
    for (const std::string& line : code_lines(file)) checks += std::regex_search(line, check);
  }
  if (checks * 1000 >= floor * lines) return {};
  return {std::string(folder) + ": " + std::to_string(checks) + " checks in " + std::to_string(lines) +
          " lines, and at least " + std::to_string(floor) + " in 1,000 are wanted"};
}

Findings self_contained(const SourceFile& file) {
  static const std::regex foreign("(^|[^A-Za-z0-9_.])/" + word("wo", "rk") + "/|/" + word("home", "/") + R"([a-z]+/)");
  return matches(file, file.lines, foreign, "a path of somebody's machine");
}

}  // namespace userfault::test::tidy
