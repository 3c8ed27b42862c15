// SPDX-License-Identifier: Apache-2.0
// Typed words of bits: features, register modes, and the operations a range supports.
#pragma once

#include <cstdint>

#include "userfault/abi.h"

namespace userfault {

// A set of bits that cannot be mixed with another kind of set. `Tag` only tells them apart.
template <typename Tag>
class BitSet {
 public:
  constexpr BitSet() = default;
  constexpr explicit BitSet(std::uint64_t bits) : bits_(bits) {}
  [[nodiscard]] constexpr std::uint64_t bits() const { return bits_; }
  [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
  [[nodiscard]] constexpr bool has(BitSet wanted) const { return (bits_ & wanted.bits_) == wanted.bits_; }
  constexpr BitSet& operator|=(BitSet other) {
    bits_ |= other.bits_;
    return *this;
  }
  friend constexpr BitSet operator|(BitSet a, BitSet b) { return BitSet(a.bits_ | b.bits_); }
  friend constexpr BitSet operator&(BitSet a, BitSet b) { return BitSet(a.bits_ & b.bits_); }
  friend constexpr BitSet operator-(BitSet a, BitSet b) { return BitSet(a.bits_ & ~b.bits_); }
  friend constexpr bool operator==(BitSet, BitSet) = default;

 private:
  std::uint64_t bits_ = 0;
};

using Features = BitSet<struct FeaturesTag>;
using Modes = BitSet<struct ModesTag>;
using Operations = BitSet<struct OperationsTag>;

namespace feature {
inline constexpr Features kPagefaultFlagWp{USERFAULT_FEATURE_PAGEFAULT_FLAG_WP};
inline constexpr Features kEventFork{USERFAULT_FEATURE_EVENT_FORK};
inline constexpr Features kEventRemap{USERFAULT_FEATURE_EVENT_REMAP};
inline constexpr Features kEventRemove{USERFAULT_FEATURE_EVENT_REMOVE};
inline constexpr Features kMissingHugetlbfs{USERFAULT_FEATURE_MISSING_HUGETLBFS};
inline constexpr Features kMissingShmem{USERFAULT_FEATURE_MISSING_SHMEM};
inline constexpr Features kEventUnmap{USERFAULT_FEATURE_EVENT_UNMAP};
inline constexpr Features kSigbus{USERFAULT_FEATURE_SIGBUS};
inline constexpr Features kThreadId{USERFAULT_FEATURE_THREAD_ID};
inline constexpr Features kMinorHugetlbfs{USERFAULT_FEATURE_MINOR_HUGETLBFS};
inline constexpr Features kMinorShmem{USERFAULT_FEATURE_MINOR_SHMEM};
inline constexpr Features kExactAddress{USERFAULT_FEATURE_EXACT_ADDRESS};
inline constexpr Features kWpHugetlbfsShmem{USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM};
inline constexpr Features kWpUnpopulated{USERFAULT_FEATURE_WP_UNPOPULATED};
inline constexpr Features kPoison{USERFAULT_FEATURE_POISON};
inline constexpr Features kWpAsync{USERFAULT_FEATURE_WP_ASYNC};
inline constexpr Features kMove{USERFAULT_FEATURE_MOVE};
inline constexpr Features kAll{USERFAULT_FEATURE_ALL};
}  // namespace feature

namespace mode {
inline constexpr Modes kMissing{USERFAULT_REGISTER_MODE_MISSING};
inline constexpr Modes kWriteProtect{USERFAULT_REGISTER_MODE_WP};
inline constexpr Modes kMinor{USERFAULT_REGISTER_MODE_MINOR};
}  // namespace mode

namespace operation {
inline constexpr Operations kRegister{std::uint64_t{1} << USERFAULT_NR_REGISTER};
inline constexpr Operations kUnregister{std::uint64_t{1} << USERFAULT_NR_UNREGISTER};
inline constexpr Operations kWake{std::uint64_t{1} << USERFAULT_NR_WAKE};
inline constexpr Operations kCopy{std::uint64_t{1} << USERFAULT_NR_COPY};
inline constexpr Operations kZeropage{std::uint64_t{1} << USERFAULT_NR_ZEROPAGE};
inline constexpr Operations kMove{std::uint64_t{1} << USERFAULT_NR_MOVE};
inline constexpr Operations kWriteprotect{std::uint64_t{1} << USERFAULT_NR_WRITEPROTECT};
inline constexpr Operations kContinue{std::uint64_t{1} << USERFAULT_NR_CONTINUE};
inline constexpr Operations kPoison{std::uint64_t{1} << USERFAULT_NR_POISON};
inline constexpr Operations kApi{std::uint64_t{1} << USERFAULT_NR_API};
}  // namespace operation

}  // namespace userfault
