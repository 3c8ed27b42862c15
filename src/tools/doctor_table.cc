// SPDX-License-Identifier: Apache-2.0
// The findings for a person to read.
#include <fmt/format.h>

#include <array>
#include <iterator>
#include <set>

#include "tools/doctor.h"

namespace userfault::tools {
namespace {

using Out = std::back_insert_iterator<std::string>;

const char* seccomp_word(int mode) {
  switch (mode) {
    case 0: return "none";
    case 1: return "strict";
    case 2: return "a filter";
    default: return "not known";
  }
}

void system(Out out, const Machine& machine) {
  fmt::format_to(out, "Linux {}; seccomp: {}; CAP_SYS_PTRACE: {}; vm.unprivileged_userfaultfd: {}\n", machine.kernel,
                 seccomp_word(machine.seccomp_mode), machine.may_trace ? "yes" : "no",
                 machine.sysctl < 0 ? "no such file" : std::to_string(machine.sysctl));
}

std::string answer_of(const Way& way) {
  if (way.opens) return "works";
  std::string text = way.signal != 0 ? "kills (SIGSYS)" : errno_name(way.error);
  if (way.refused_by != Refuser::kNone) text += std::string(", refused by ") + name_of(way.refused_by);
  return text;
}

void ways(Out out, const Machine& machine) {
  fmt::format_to(out, "\nWays to open\n");
  std::set<Refuser> refusers;
  for (const Way& way : machine.ways) {
    const std::string name = std::string(way.door) + (way.user_mode_only ? ", USER_MODE_ONLY" : "");
    fmt::format_to(out, "  {:<34} {}\n", name, answer_of(way));
    if (way.refused_by != Refuser::kNone) refusers.insert(way.refused_by);
  }
  fmt::format_to(out, "  {:<34} {}\n", "the user engine",
                 machine.user_engine_opens ? "works" : errno_name(machine.user_engine_error));
  for (const Refuser refuser : refusers)
    fmt::format_to(out, "  To pass {}: {}.\n", name_of(refuser), advice_for(refuser));
  if (machine.engine == EngineKind::kAutomatic) fmt::format_to(out, "  No engine opens: {}\n", machine.why);
  else fmt::format_to(out, "  Picked: the {} engine; {}.\n", name_of(machine.engine), machine.why);
}

void features(Out out, const Machine& machine) {
  fmt::format_to(out, "\nFeatures\n");
  for (const FeatureSupport& feature : machine.features)
    fmt::format_to(out, "  {:<20} {:<4} since Linux {}.{}\n", feature.name, feature.offered ? "yes" : "no",
                   feature.since_major, feature.since_minor);
}

struct Letter {
  Operations operation;
  char letter;
};
constexpr std::array kLetters{Letter{operation::kWake, 'w'},         Letter{operation::kCopy, 'c'},
                              Letter{operation::kZeropage, 'z'},     Letter{operation::kMove, 'm'},
                              Letter{operation::kWriteprotect, 'p'}, Letter{operation::kContinue, 'n'},
                              Letter{operation::kPoison, 'x'}};

std::string letters(const Registration& registration) {
  if (!registration.mapped) return "no memory: " + errno_name(registration.error);
  if (registration.error != 0) return errno_name(registration.error);
  std::string text;
  for (const Letter& each : kLetters) text += registration.operations.has(each.operation) ? each.letter : '-';
  return text;
}

// Each mode alone and all together; the other sets are in the JSON.
void registrations(Out out, const Machine& machine) {
  if (machine.registrations.empty()) return;
  constexpr std::array kColumns{mode::kMissing, mode::kWriteProtect, mode::kMinor,
                                mode::kMissing | mode::kWriteProtect | mode::kMinor};
  fmt::format_to(out,
                 "\nOperations by kind of memory and mode (w WAKE, c COPY, z ZEROPAGE, m MOVE, "
                 "p WRITEPROTECT, n CONTINUE, x POISON)\n");
  fmt::format_to(out, "  {:<18} {:<8} {:<8} {:<8} {}", "", "MISSING", "WP", "MINOR", "all three");
  const char* row = nullptr;
  for (const Registration& registration : machine.registrations) {
    if (row != registration.backing) fmt::format_to(out, "\n  {:<18}", registration.backing);
    row = registration.backing;
    for (const Modes column : kColumns)
      if (registration.modes == column)
        fmt::format_to(out, " {:<{}}", letters(registration), column == kColumns.back() ? 0 : 8);
  }
  fmt::format_to(out, "\n");
}

void facilities(Out out, const Machine& machine) {
  fmt::format_to(out, "\nWhat the system has beside it\n");
  for (const Facility& facility : machine.facilities)
    fmt::format_to(out, "  {:<22} {:<10} {}\n", facility.name, facility.works() ? "works" : errno_name(facility.error),
                   facility.purpose);
}

void settings(Out out, const Machine& machine) {
  fmt::format_to(out, "\nLimits and settings\n");
  for (const Setting& setting : machine.settings)
    fmt::format_to(out, "  {:<30} {}\n", setting.name, setting.value.empty() ? "none here" : setting.value);
}

}  // namespace

std::string doctor_table(const Machine& machine) {
  std::string text;
  const Out out(text);
  system(out, machine);
  ways(out, machine);
  features(out, machine);
  registrations(out, machine);
  facilities(out, machine);
  settings(out, machine);
  return text;
}

}  // namespace userfault::tools
