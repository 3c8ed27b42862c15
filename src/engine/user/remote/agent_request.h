// SPDX-License-Identifier: Apache-2.0
// One request to the agent, and its reply.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user::agent {

struct Connection {
  int socket = -1;
  Instance* instance = nullptr;
  std::uint64_t inode = 0;  // of the instance's doorbell: the slot may be another one's by now
  std::uint64_t last_request = 0;
  std::uintptr_t staging = 0;  // the requester's data for COPY, and as much that nothing is mapped to
};

// Takes one request and answers it; false when the connection has to end. Never waits.
[[nodiscard]] bool answer(Connection& connection) noexcept;
void close_connection(Connection& connection) noexcept;

}  // namespace userfault::engine::user::agent
