// SPDX-License-Identifier: Apache-2.0
#include "support/suite.h"

#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <utility>

#include "support/isolation.h"
#include "support/registry.h"

namespace userfault::conformance {
namespace {

bool matches(const std::vector<std::string>& patterns, const std::string& text) {
  return std::ranges::any_of(patterns,
                             [&](const std::string& p) { return ::fnmatch(p.c_str(), text.c_str(), 0) == 0; });
}

// The ids of the test that are asked for: all of them when the test itself is.
std::vector<std::string> selected_ids(const Test& test, const Options& options) {
  if (options.only.empty() || matches(options.only, test.name)) return test.ids;
  std::vector<std::string> ids;
  std::ranges::copy_if(test.ids, std::back_inserter(ids), [&](const auto& id) { return matches(options.only, id); });
  return ids;
}

// All verdicts on one id and backing.
struct Tally {
  std::size_t passed = 0;
  std::string failures;
  // The names of the tests by the reason they gave.
  std::map<std::string, std::string> skips;
};

using Key = std::pair<std::size_t, Backing>;  // the id's place in the specification, so that the map is in order
using Tallies = std::map<Key, Tally>;

void add(Tally& tally, const Test& test, const Verdict& verdict) {
  if (verdict.status == Status::kPass) {
    ++tally.passed;
    return;
  }
  const bool failed = verdict.status == Status::kFail;
  std::string& list = failed ? tally.failures : tally.skips[verdict.reason];
  if (!list.empty()) list += failed ? " | " : ", ";
  list += failed ? test.name + ": " + verdict.reason : test.name;
}

std::string skipped_tests(const Tally& tally) {
  std::string text;
  for (const auto& [reason, names] : tally.skips) text += (text.empty() ? "" : " | ") + names + ": " + reason;
  return text;
}

Result result_of(const Key& key, const Tally& tally) {
  Result result{all_ids()[key.first], name_of(key.second), Status::kPass, ""};
  if (!tally.failures.empty()) {
    result.status = Status::kFail;
    result.reason = tally.failures;
  } else if (!tally.skips.empty()) {
    // Shown by the tests that ran; the reader is told of those that could not.
    result.status = tally.passed > 0 ? Status::kPass : Status::kSkip;
    result.reason = (tally.passed > 0 ? "without " : "") + skipped_tests(tally);
  }
  return result;
}

void show_progress(const Test* test, Backing backing) {
  if (test == nullptr) std::fprintf(stderr, "\r\033[K");
  else std::fprintf(stderr, "\r\033[K%s %s", test->name.c_str(), name_of(backing));
}

void run_test(const Test& test, const std::vector<std::string>& ids, const Options& options, Tallies& tallies) {
  const bool progress = options.progress && ::isatty(STDERR_FILENO) != 0;
  for (const Backing backing : members(test.backings)) {
    if (progress) show_progress(&test, backing);
    const Verdict verdict = run_isolated(test, options.engine, backing, options.time_limit_s);
    for (const std::string& id : ids) {
      const auto place = std::ranges::find(all_ids(), id) - all_ids().begin();
      add(tallies[{static_cast<std::size_t>(place), backing}], test, verdict);
    }
  }
  if (progress) show_progress(nullptr, Backing::kNone);
}

std::string engine_name(userfault_engine engine) {
  switch (engine) {
    case USERFAULT_ENGINE_KERNEL: return "kernel";
    case USERFAULT_ENGINE_USER: return "user";
    case USERFAULT_ENGINE_AUTO: break;
  }
  return "auto";
}

std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

std::string json_string(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      result += escape;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

}  // namespace

const char* name_of(Status status) {
  switch (status) {
    case Status::kPass: return "pass";
    case Status::kFail: return "fail";
    case Status::kSkip: break;
  }
  return "skip";
}

std::size_t Report::count(Status status) const {
  return static_cast<std::size_t>(std::ranges::count(results, status, &Result::status));
}

Report run(const Options& options) {
  Report report{engine_name(options.engine), "", "", {}};
  const Opened opened = try_open(options.engine);
  if (opened.error != 0) {
    report.refusal = "the engine '" + report.engine + "' does not open: " + ::strerror(opened.error) +
                     "; `userfault doctor` says who refuses and what to do";
    return report;
  }
  // Under `userfault run` the kernel's, asked for by name, is the user engine's behind the kernel's calls.
  const bool preloaded = options.engine == USERFAULT_ENGINE_KERNEL && opened.engine == USERFAULT_ENGINE_USER;
  report.engine = preloaded ? "user (under userfault run)" : engine_name(opened.engine);
  if (opened.user_mode_only) report.note = "the plain open is refused to this user; all tests run with USER_MODE_ONLY";
  // What `auto` chose once holds for the whole run.
  Options fixed = options;
  fixed.engine = preloaded ? options.engine : opened.engine;
  Tallies tallies;
  for (const Test& test : all_tests()) {
    const std::vector<std::string> ids = selected_ids(test, fixed);
    if (!ids.empty()) run_test(test, ids, fixed, tallies);
  }
  for (const auto& [key, tally] : tallies) report.results.push_back(result_of(key, tally));
  if (report.results.empty()) report.refusal = "no test matches";
  return report;
}

void print(const Report& report) {
  if (!report.note.empty()) std::printf("note: %s\n", report.note.c_str());
  for (const Result& result : report.results) {
    std::printf("%s  %-8s  %s", name_of(result.status), result.id.c_str(), result.backing.c_str());
    if (!result.reason.empty()) std::printf("  %s", one_line(result.reason).c_str());
    std::printf("\n");
  }
  std::printf("engine %s: %zu passed, %zu failed, %zu skipped\n", report.engine.c_str(), report.count(Status::kPass),
              report.count(Status::kFail), report.count(Status::kSkip));
}

std::error_code write_json(const Report& report, const std::string& path) {
  std::string text = "{\"engine\": " + json_string(report.engine) + ",\n \"results\": [";
  const char* separator = "\n";
  for (const Result& result : report.results) {
    text += separator;
    text += "  {\"id\": " + json_string(result.id) + ", \"backing\": " + json_string(result.backing) +
            ", \"status\": " + json_string(name_of(result.status)) + ", \"reason\": " + json_string(result.reason) +
            "}";
    separator = ",\n";
  }
  text += "],\n \"pass\": " + std::to_string(report.count(Status::kPass)) +
          ", \"fail\": " + std::to_string(report.count(Status::kFail)) +
          ", \"skip\": " + std::to_string(report.count(Status::kSkip)) + "}\n";
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  if (file == nullptr) return {errno, std::generic_category()};
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int write_error = errno;
  if ((path == "-" ? std::fflush(file) : std::fclose(file)) != 0) return {errno, std::generic_category()};
  return {written ? 0 : write_error, std::generic_category()};
}

void print_list(const Options& options) {
  for (const Test& test : all_tests()) {
    const auto ids = selected_ids(test, options);
    if (ids.empty()) continue;
    std::printf("%s ", test.name.c_str());
    for (const std::string& id : test.ids) std::printf(" %s", id.c_str());
    std::printf(" :");
    for (const Backing backing : members(test.backings)) std::printf(" %s", name_of(backing));
    std::printf("\n");
  }
}

std::vector<std::string> uncovered_ids() {
  std::vector<std::string> result;
  for (const std::string& id : all_ids()) {
    const bool covered =
        std::ranges::any_of(all_tests(), [&](const Test& t) { return std::ranges::find(t.ids, id) != t.ids.end(); });
    if (!covered) result.push_back(id);
  }
  return result;
}

}  // namespace userfault::conformance
