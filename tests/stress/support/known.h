// SPDX-License-Identifier: Apache-2.0
// The rows of docs/divergences.md that a sequence can meet.
#pragma once

#include "support/world.h"

namespace userfault::stress {

// Whether the last of `done` ended in a difference that docs/divergences.md has, or in one of the
// results that it says nobody can compare after. `world` is the kernel's.
// `before` is what the kernel's operations before it came to.
[[nodiscard]] bool is_known(const World& world, std::span<const Operation> done, std::span<const Outcome> before,
                            const Outcome& kernel, const Outcome& user);

}  // namespace userfault::stress
