// SPDX-License-Identifier: Apache-2.0
// The descriptors of the user engine: how a number leads to an instance of this process, or is known
// as another process's.
//
// Threads: everything from any thread. Lock order: `opening`, then Space::lock, then Instance::lock.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

// Held while an instance is made or ended, and across a fork.
extern constinit Mutex opening;

struct Pipe {
  int reader = -1;
  int writer = -1;
};
// A doorbell: the read end has the flags O_CLOEXEC and O_NONBLOCK of `flags` and the mark by which
// is_marked knows it; the write end is close-on-exec and out of the way. 0 or -errno.
[[nodiscard]] long make_pipe(int flags, Pipe* pipe) noexcept;
[[nodiscard]] std::uint64_t inode_of(int fd) noexcept;

// Whether a read(2) of the descriptor waits: O_NONBLOCK is not set.
[[nodiscard]] bool is_blocking(int fd) noexcept;

// For lifetime.cc; `opening` is held. The instance stands for the pipe from now on; and does so no more.
void enter_instance(Instance& instance, const Pipe& pipe) noexcept;
void leave_instance(Instance& instance) noexcept;

// The instance of this process that `fd` leads to, or null.
[[nodiscard]] Instance* find_instance(int fd) noexcept;
// Whether `fd` is the read end of a doorbell, of this process or another one, living or not.
[[nodiscard]] bool is_marked(int fd) noexcept;
// Whether an instance was ever opened in this process or in one that it was forked from.
[[nodiscard]] bool was_used() noexcept;
[[nodiscard]] bool has_instances() noexcept;
// Whether is_marked ever said yes.
[[nodiscard]] bool met_remote() noexcept;

// ---- for fork.cc; `opening` is held ----

// In the child: the instance is this process's no more.
void forget_instance(Instance& instance) noexcept;
// In the child: the parent's instance, features and all, becomes this process's, with a doorbell of
// its own. Nobody waits, nothing is to be read.
void inherit_instance(Instance& instance, const Pipe& pipe) noexcept;

}  // namespace userfault::engine::user
