// SPDX-License-Identifier: Apache-2.0
// Capabilities of the calling thread, and seccomp filters: what a test takes away from itself. Both
// end with the test's process.
#pragma once

#include <cstdint>

namespace userfault::conformance {

// `capability` as in capabilities(7), CAP_SYS_PTRACE for example.
[[nodiscard]] bool has_capability(int capability);
// From the effective set; threads that start later have it neither.
void drop_capability(int capability);

// From now on system call `number` answers `action` (SECCOMP_RET_ERRNO | errno …). Throws Broken.
void filter_system_call(long number, std::uint32_t action);

}  // namespace userfault::conformance
