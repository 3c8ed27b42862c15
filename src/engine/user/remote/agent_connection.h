// SPDX-License-Identifier: Apache-2.0
// Connections to the agents of other processes, one for each descriptor in use, made when it is
// first needed and again when it broke.
#pragma once

#include "engine/user/remote/protocol.h"
#include "engine/user/rt/lock.h"

namespace userfault::engine::user::remote {

struct AgentConnection {
  Mutex lock;               // held for one request and its reply
  std::uint64_t inode = 0;  // of the doorbell; 0: free
  int users = 0;            // under connections_mutex
  std::uint64_t last_use = 0;
  int socket = -1;
  std::uint64_t socket_inode = 0;  // the number may be closed behind our back and be something else's
  int staging_fd = -1;
  std::uintptr_t staging = 0;
  bool staging_known = false;  // the agent has it
};

// The connection for a doorbell, locked, with signals blocked as long as it lives. Null when all are busy, and for
// inode 0.
class ConnectionGuard {
 public:
  explicit ConnectionGuard(std::uint64_t inode) noexcept;
  ~ConnectionGuard();
  ConnectionGuard(const ConnectionGuard&) = delete;
  ConnectionGuard& operator=(const ConnectionGuard&) = delete;
  [[nodiscard]] AgentConnection* get() const noexcept { return connection_; }

 private:
  SignalsBlocked blocked_;
  AgentConnection* connection_ = nullptr;
};

// Where the data of the next COPY goes; its last byte is the staging area's. -errno.
[[nodiscard]] long prepare_staging(AgentConnection& connection) noexcept;
// One request and its reply; descriptors that came along go to `fds` (kMostMessages of them).
// -ESRCH: the owner is gone, or will not talk to us. -EPIPE: it took the request and was gone before
// it replied, most likely because a thread that the operation woke has ended the process.
[[nodiscard]] long exchange(AgentConnection& connection, const Request& request, Reply* reply, int* fds,
                            std::size_t* count) noexcept;
// In the child of a fork.
void forget_connections() noexcept;

}  // namespace userfault::engine::user::remote
