// SPDX-License-Identifier: Apache-2.0
// The two faces of `userfault doctor`.
#pragma once

#include <string>

#include "userfault/probe.h"

namespace userfault::tools {

[[nodiscard]] std::string doctor_table(const Machine& machine);
[[nodiscard]] std::string doctor_json(const Machine& machine);

// "EPERM"; the number where the C library has no name for it.
[[nodiscard]] std::string errno_name(int error);

}  // namespace userfault::tools
