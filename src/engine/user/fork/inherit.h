// SPDX-License-Identifier: Apache-2.0
// What a forked child does with the served memory it was born with: fork.cc says why.
#pragma once

#include "engine/user/memory/address_space.h"

namespace userfault::engine::user {

// In the parent, under Space::lock exclusive. Whether there is memory that the child has to copy.
[[nodiscard]] bool has_converted_memory() noexcept;
// Keeps writers off converted memory, and lets them in again.
void freeze_writers() noexcept;
void thaw_writers() noexcept;

// In the child, as its first thing. Areas whose instance is used stay registered with it, the others
// become ordinary memory; of both, poisoned pages stay poisoned. -errno: the memory could not be
// made, and the process must not go on.
[[nodiscard]] long inherit_memory() noexcept;

}  // namespace userfault::engine::user
