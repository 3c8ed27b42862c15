// SPDX-License-Identifier: Apache-2.0
// The register modes, and what each backing offers in them.
#pragma once

#include <cstdint>

#include "support/context.h"

namespace userfault::conformance {

inline constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;
inline constexpr std::uint64_t kWp = USERFAULT_REGISTER_MODE_WP;
inline constexpr std::uint64_t kMinor = USERFAULT_REGISTER_MODE_MINOR;

inline constexpr std::uint64_t kFaultWrite = USERFAULT_PAGEFAULT_FLAG_WRITE;
inline constexpr std::uint64_t kFaultWp = USERFAULT_PAGEFAULT_FLAG_WP;
inline constexpr std::uint64_t kFaultMinor = USERFAULT_PAGEFAULT_FLAG_MINOR;

// The feature that says that the context's backing can be registered in all of `modes`. They are
// reported, not gates (real-kernel row 2): a test requires them, and need not enable them.
[[nodiscard]] std::uint64_t features_for(const Context& context, std::uint64_t modes);

// Skips when one of them is not there.
void require_modes(const Context& context, std::uint64_t modes);

// The `ioctls` word that REGISTER answers (real-kernel rows 4 and 35), of the operations that the
// features word says exist.
[[nodiscard]] std::uint64_t expected_ioctls(const Context& context, std::uint64_t modes);

}  // namespace userfault::conformance
