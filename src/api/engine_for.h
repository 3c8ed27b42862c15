// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/engine.h"
#include "userfault/descriptor.h"

namespace userfault::api {

// The engine behind a Descriptor. A Descriptor never has kAutomatic: open() settles it.
[[nodiscard]] inline engine::Engine& engine_for(EngineKind kind) noexcept {
  return kind == EngineKind::kUser ? engine::user_engine() : engine::kernel_engine();
}

}  // namespace userfault::api
