// SPDX-License-Identifier: Apache-2.0
// Opening and the handshake: probe on one descriptor, enable on another (real-kernel row 1).
#pragma once

#include "userfault/descriptor.h"

namespace userfault::api {

struct Opened {
  int fd = -1;
  EngineKind engine = EngineKind::kKernel;
  Features enabled{};
  Features available{};
};

[[nodiscard]] Result<Opened> open_with_handshake(const OpenOptions& options);

}  // namespace userfault::api
