// SPDX-License-Identifier: Apache-2.0
// userfaultfd implemented in user space, behind the contract.
#pragma once

#include "engine/engine.h"

namespace userfault::engine::user {

[[nodiscard]] Engine& instance() noexcept;
// Whether a descriptor or a piece of its memory is left anywhere in this process.
[[nodiscard]] bool is_active() noexcept;

}  // namespace userfault::engine::user
