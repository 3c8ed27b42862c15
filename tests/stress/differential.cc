// SPDX-License-Identifier: Apache-2.0
// usage: differential_tests [--seed N] [--sequences N] [--keep-going]
// Both engines in lock-step on random sequences; USERFAULT_STRESS_SEQUENCES overrides --sequences.
// Sequence number i of a run with --seed S is the first one of a run with --seed S+i.
#include <signal.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>

#include "support/differential.h"

namespace {

using namespace userfault::stress;

volatile std::uint64_t running = 0;  // its seed

void on_alarm(int) {
  char text[120];
  const int length = std::snprintf(
      text, sizeof text, "FAILED: nothing happened for two minutes: a thread hangs, --seed %" PRIu64 "\n", running);
  static_cast<void>(!::write(STDOUT_FILENO, text, static_cast<std::size_t>(length)));
  std::abort();
}

void report(Differential& both, const Sequence& sequence, const Difference& first, std::uint64_t seed) {
  const Sequence shorter = both.shrink(sequence);
  const auto difference = both.run(shorter);
  std::printf("the engines differ, --seed %" PRIu64 "\n%s", seed,
              difference ? to_string(shorter, *difference).c_str()
                         : ("not when it was tried again; the first time:\n" + to_string(sequence, first)).c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seed = std::random_device{}();
  std::uint64_t count = 300;
  bool keep_going = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--keep-going") == 0) keep_going = true;
    if (i + 1 < argc && std::strcmp(argv[i], "--seed") == 0) seed = std::strtoull(argv[i + 1], nullptr, 0);
    if (i + 1 < argc && std::strcmp(argv[i], "--sequences") == 0) count = std::strtoull(argv[i + 1], nullptr, 0);
  }
  if (const char* text = std::getenv("USERFAULT_STRESS_SEQUENCES"); text != nullptr && *text != '\0')
    count = std::strtoull(text, nullptr, 0);
  std::printf("%" PRIu64 " sequences, --seed %" PRIu64 "\n", count, seed);
  std::fflush(stdout);
  ::signal(SIGALRM, on_alarm);
  catch_access_signals();
  Differential both;
  std::uint64_t differ = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    running = seed + i;
    Choices choices(running);
    const Sequence sequence = make_sequence(choices);
    const auto difference = both.run(sequence);
    if (!difference) continue;
    ++differ;
    report(both, sequence, *difference, seed + i);
    if (!keep_going) break;
  }
  if (both.left_out() != 0)
    std::printf("%zu sequences on huge pages were left out: too few of them are free\n", both.left_out());
  std::printf("%" PRIu64 " sequences differ\n", differ);
  std::fflush(stdout);
  // Threads of a world may be left waiting after a failure.
  ::_exit(differ == 0 ? 0 : 1);
}
