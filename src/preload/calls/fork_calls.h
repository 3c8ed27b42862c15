// SPDX-License-Identifier: Apache-2.0
// Copies of the process that go past fork(3).
#pragma once

namespace userfault::preload {

// clone(2) without CLONE_VM, the child on a copy of the caller's stack: its result, or -errno. The last
// three arguments are in the architecture's order.
[[nodiscard]] long clone_process(long flags, long third, long fourth, long fifth) noexcept;

// clone3(2) likewise: without CLONE_VM, on the caller's stack.
long clone3_process(long request, long size) noexcept;

}  // namespace userfault::preload
