// SPDX-License-Identifier: Apache-2.0
// One table of names: features with the Linux version they came with, operations, register modes
// and events. Error texts, the doctor and the tests all read it.
#pragma once

#include <cstdint>
#include <span>

namespace userfault::abi {

struct Version {
  int major = 0;
  int minor = 0;
  friend constexpr auto operator<=>(const Version&, const Version&) = default;
};

// `bit` is the value, not the number, of the bit.
struct Name {
  std::uint64_t bit = 0;
  const char* name = "";
  Version since{};
};

// "EVENT_FORK" …, without the kernel's prefix; in the order of the bits.
[[nodiscard]] std::span<const Name> features() noexcept;
// "REGISTER", "COPY" …, by their bit in the `ioctls` words; in the order of the bits.
[[nodiscard]] std::span<const Name> operations() noexcept;
// "MISSING", "WP", "MINOR".
[[nodiscard]] std::span<const Name> modes() noexcept;

}  // namespace userfault::abi
