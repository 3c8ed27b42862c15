// SPDX-License-Identifier: Apache-2.0
// What `userfault run` is asked to start, and whether a preloaded library can reach it.
#pragma once

#include <string>

#include "userfault/expected.h"

namespace userfault::tools {

// Why a program cannot be run: an exit status as env(1) gives it, and a sentence or two.
struct Refusal {
  int status = 125;
  std::string message;
};

struct Target {
  std::string path;
  bool needs_shell = false;  // neither a binary nor a script with an interpreter: /bin/sh runs it
};

// Finds `name` as execvp(3) does. 127: not found; 126: found, and not to be executed.
[[nodiscard]] Expected<Target, Refusal> find_target(const std::string& name);

// Follows scripts to their interpreters. Refused are static binaries, other machines, loaders that
// are not glibc's, and programs that gain privileges, for which the loader ignores LD_PRELOAD.
[[nodiscard]] Expected<void, Refusal> check_target(const Target& target);

}  // namespace userfault::tools
