// SPDX-License-Identifier: Apache-2.0
#include "support/differential.h"

#include <fcntl.h>

#include <cstring>
#include <fstream>
#include <span>

#include "support/known.h"

namespace userfault::stress {
namespace {

// Low enough that no mapping of anybody else's ever lands in a hole of the arena.
constexpr std::uintptr_t kKernelBase = 0x200000000000;
constexpr std::uintptr_t kUserBase = 0x300000000000;

// What one sequence takes at the most: both arenas, the user engine's copies, and a child's.
constexpr std::size_t kHugePages = 80;

bool has_huge_pages() {
  std::size_t free = 0;
  std::ifstream("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") >> free;
  return free >= kHugePages;
}

bool may_ask_for_fork_events() {
  const int fd = userfault_open(USERFAULT_ENGINE_KERNEL, O_CLOEXEC);
  if (fd < 0) return false;
  const bool may = userfault_ioctl_api(fd, USERFAULT_FEATURE_EVENT_FORK, nullptr, nullptr) == 0;
  userfault_close(fd);
  return may;
}

}  // namespace

Differential::Differential()
    : kernel_(USERFAULT_ENGINE_KERNEL, kKernelBase),
      user_(USERFAULT_ENGINE_USER, kUserBase),
      forking_(kernel_, user_),
      fork_events_(may_ask_for_fork_events()) {}

std::optional<Difference> Differential::finish() {
  static_cast<void>(kernel_.end());
  static_cast<void>(user_.end());
  return std::nullopt;
}

void Differential::begin(const Sequence& sequence) {
  progress();
  Sequence allowed = sequence;
  for (std::uint64_t& features : allowed.features)
    if (!fork_events_) features &= ~std::uint64_t{USERFAULT_FEATURE_EVENT_FORK};
  const int kernel = kernel_.begin(allowed);
  if (kernel != 0)
    skip("the kernel refuses userfaultfd with features %llx or %llx: %s",
         static_cast<unsigned long long>(allowed.features[0]), static_cast<unsigned long long>(allowed.features[1]),
         std::strerror(kernel));
  const int user = user_.begin(allowed);
  if (user != 0) fail("the user engine does not open: %s", std::strerror(user));
}

std::optional<Difference> Differential::run(const Sequence& sequence) {
  if (sequence.huge && !has_huge_pages()) {
    ++left_out_;
    return std::nullopt;
  }
  begin(sequence);
  std::optional<Difference> difference;
  std::vector<Outcome> before;
  std::size_t step = 0;
  for (; step < sequence.operations.size() && !difference; ++step) {
    const Operation& operation = sequence.operations[step];
    Forking::Outcomes both;
    if (operation.kind == Kind::kFork) both = forking_.perform(operation);
    else both = {kernel_.perform(operation), user_.perform(operation)};
    if (both.kernel != both.user) difference = {step, to_string(both.kernel), to_string(both.user)};
    if (is_known(kernel_, std::span(sequence.operations).first(step + 1), before, both.kernel, both.user))
      return finish();
    before.push_back(std::move(both.kernel));
  }
  const Outcome a = kernel_.end();
  const Outcome b = user_.end();
  if (!difference && !kernel_.spun() && a != b) difference = {step, to_string(a), to_string(b)};
  // Somebody else took them meanwhile: then a fault is SIGBUS, sooner for one than for the other.
  if (difference && sequence.huge && !has_huge_pages()) {
    ++left_out_;
    return std::nullopt;
  }
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
              ? "in " + to_string(sequence.operations[difference.step], arena_of(sequence.huge)) + "\n"
              : "in the memory at the end\n";
  return text + "  kernel: " + difference.kernel + "\n  user:   " + difference.user + "\n";
}

}  // namespace userfault::stress
