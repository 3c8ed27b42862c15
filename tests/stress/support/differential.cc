// SPDX-License-Identifier: Apache-2.0
#include "support/differential.h"

#include <cstring>
#include <span>

#include "support/known.h"

namespace userfault::stress {
namespace {

// Low enough that no mapping of anybody else's ever lands in a hole of the arena.
constexpr std::uintptr_t kKernelBase = 0x200000000000;
constexpr std::uintptr_t kUserBase = 0x300000000000;

}  // namespace

Differential::Differential()
    : kernel_(USERFAULT_ENGINE_KERNEL, kKernelBase), user_(USERFAULT_ENGINE_USER, kUserBase) {}

std::optional<Difference> Differential::finish() {
  static_cast<void>(kernel_.end());
  static_cast<void>(user_.end());
  return std::nullopt;
}

std::optional<Difference> Differential::run(const Sequence& sequence) {
  progress();
  const int kernel = kernel_.begin(sequence.features);
  if (kernel != 0) skip("the kernel refuses userfaultfd with features %llx: %s",
                        static_cast<unsigned long long>(sequence.features), std::strerror(kernel));
  const int user = user_.begin(sequence.features);
  if (user != 0) fail("the user engine does not open: %s", std::strerror(user));
  std::optional<Difference> difference;
  std::size_t step = 0;
  for (; step < sequence.operations.size() && !difference; ++step) {
    const Outcome a = kernel_.perform(sequence.operations[step]);
    const Outcome b = user_.perform(sequence.operations[step]);
    if (a != b) difference = {step, to_string(a), to_string(b)};
    if (is_known(kernel_, std::span(sequence.operations).first(step + 1), a, b)) return finish();
  }
  const Outcome a = kernel_.end();
  const Outcome b = user_.end();
  if (!difference && a != b) difference = {step, to_string(a), to_string(b)};
  return difference;
}

Sequence Differential::shrink(Sequence sequence) {
  for (bool again = true; again;) {
    again = false;
    for (std::size_t i = sequence.operations.size(); i-- > 0;) {
      Sequence shorter = sequence;
      shorter.operations.erase(shorter.operations.begin() + static_cast<std::ptrdiff_t>(i));
      if (!run(shorter)) continue;
      sequence = shorter;
      again = true;
    }
  }
  return sequence;
}

std::string to_string(const Sequence& sequence, const Difference& difference) {
  std::string text = to_string(sequence);
  text += difference.step < sequence.operations.size()
              ? "in " + to_string(sequence.operations[difference.step]) + "\n"
              : "in the memory at the end\n";
  return text + "  kernel: " + difference.kernel + "\n  user:   " + difference.user + "\n";
}

}  // namespace userfault::stress
