// SPDX-License-Identifier: Apache-2.0
// Command lines of benches: a wrong option is an error, and --help tells the right ones.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "userfault/descriptor.h"

namespace userfault::bench {

inline const CLI::CheckedTransformer& engine_names() {
  static const std::map<std::string, EngineKind> names{{"kernel", EngineKind::kKernel}, {"user", EngineKind::kUser}};
  static const CLI::CheckedTransformer transformer(names);
  return transformer;
}

// Ends the program after --help and after a wrong option.
inline void parse_or_exit(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
}

}  // namespace userfault::bench
