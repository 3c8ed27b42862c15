// SPDX-License-Identifier: Apache-2.0
// The parts of probe_machine().
#pragma once

#include <vector>

#include "userfault/probe.h"
#include "userfault/userfault.h"

namespace userfault::machine {

// Every kind of memory with every set of modes.
[[nodiscard]] std::vector<Registration> try_registrations(userfault_engine engine);
[[nodiscard]] std::vector<Facility> try_facilities();
[[nodiscard]] std::vector<Setting> read_settings();

}  // namespace userfault::machine
