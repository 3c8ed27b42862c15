// SPDX-License-Identifier: Apache-2.0
// What this machine offers: every way to open, every feature, what each kind of memory can be
// registered for, and the system facilities that the user engine rests on. `userfault doctor`
// prints it.
//
// All of it is found out by trying, nothing from a version number. Trying is safe under a seccomp
// filter that kills, touches only memory and descriptors of its own, and changes no setting. It
// takes a few milliseconds. Any thread; not in a signal handler.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "userfault/descriptor.h"
#include "userfault/export.h"
#include "userfault/features.h"
#include "userfault/refuser.h"

namespace userfault {

// One door with one setting of USER_MODE_ONLY.
struct Way {
  const char* door = "";  // "userfaultfd(2)", "/dev/userfaultfd"
  bool user_mode_only = false;
  bool opens = false;
  int error = 0;   // a positive errno when it does not open, 0 when `signal` says why
  int signal = 0;  // SIGSYS: a seccomp filter kills whoever tries
  Refuser refused_by = Refuser::kNone;
};

struct FeatureSupport {
  const char* name = "";  // "EVENT_FORK" …
  Features bit{};
  int since_major = 0;  // the first Linux that has it
  int since_minor = 0;
  bool offered = false;
};

// What UFFDIO_REGISTER answered for a kind of memory and a set of modes.
struct Registration {
  const char* backing = "";  // "private-anonymous", "memfd", "file" …
  Modes modes{};
  bool mapped = false;  // false: such memory could not be had, `error` says why
  int error = 0;        // a positive errno; 0: registered
  Operations operations{};
};

// Something beside userfaultfd that an engine or a tool builds on.
struct Facility {
  const char* name = "";     // "guard-pages-anonymous" …
  const char* purpose = "";  // what it is for, a few words
  int error = 0;             // 0: works
  [[nodiscard]] bool works() const { return error == 0; }
};

struct Setting {
  const char* name = "";  // "vm.max_map_count" …
  std::string value;      // as the system spells it; empty where the system has none
};

struct Machine {
  std::string kernel;      // uname -r
  int seccomp_mode = -1;   // of the calling thread: 0 none, 1 strict, 2 filter, -1 not known
  int sysctl = -1;         // vm.unprivileged_userfaultfd; -1: no such file
  bool may_trace = false;  // CAP_SYS_PTRACE, in the initial user namespace
  std::vector<Way> ways;
  bool user_engine_opens = false;
  int user_engine_error = 0;

  EngineKind engine = EngineKind::kAutomatic;  // whose features and registrations follow; kAutomatic: none opens
  std::string why;                             // why that one
  std::vector<FeatureSupport> features;
  std::vector<Registration> registrations;  // empty when no engine opens
  std::vector<Facility> facilities;
  std::vector<Setting> settings;
};

// `engine`: whose features and registrations to look at. kAutomatic: those of the one it picks.
[[nodiscard]] USERFAULT_EXPORT Machine probe_machine(EngineKind engine = EngineKind::kAutomatic);

// "WAKE", "COPY" … in the order of the bits, and "MISSING", "WP", "MINOR".
[[nodiscard]] USERFAULT_EXPORT std::vector<const char*> names_of(Operations operations);
[[nodiscard]] USERFAULT_EXPORT std::vector<const char*> names_of(Modes modes);

}  // namespace userfault
