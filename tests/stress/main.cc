// SPDX-License-Identifier: Apache-2.0
// usage: stress_tests SCENARIO|all [--engine user|kernel] [--seconds N] [--seed N]
// USERFAULT_STRESS_SECONDS overrides --seconds, so that `make stress` can say how long.
#include <signal.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "support/run.h"

namespace {

using namespace userfault::stress;

constexpr Scenario kScenarios[] = {
    {"fill", run_fill},
    {"overlap", run_overlap},
    {"remove", run_remove},
    {"write_protect", run_write_protect},
    {"write_protect_fill", run_write_protect_fill},
    {"release", run_release},
};

void on_alarm(int) {
  constexpr char kText[] = "FAILED: nothing happened for two minutes: a thread hangs\n";
  static_cast<void>(!::write(STDOUT_FILENO, kText, sizeof kText - 1));
  std::abort();
}

Options parse(int argc, char** argv) {
  Options options;
  options.seed = std::random_device{}();
  for (int i = 2; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--engine") == 0 && std::strcmp(argv[i + 1], "kernel") == 0) {
      options.engine = USERFAULT_ENGINE_KERNEL;
      options.engine_name = "kernel";
    }
    if (std::strcmp(argv[i], "--seconds") == 0) options.seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--seed") == 0) options.seed = std::strtoull(argv[i + 1], nullptr, 0);
  }
  if (const char* seconds = std::getenv("USERFAULT_STRESS_SECONDS"); seconds != nullptr && *seconds != '\0')
    options.seconds = std::atof(seconds);
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) fail("usage: %s SCENARIO|all [--engine user|kernel] [--seconds N] [--seed N]", argv[0]);
  const Options options = parse(argc, argv);
  ::signal(SIGALRM, on_alarm);
  bool found = false;
  for (const Scenario& scenario : kScenarios) {
    if (std::strcmp(argv[1], "all") != 0 && std::strcmp(argv[1], scenario.name) != 0) continue;
    found = true;
    std::printf("%s on the %s engine, %g s, --seed %" PRIu64 "\n", scenario.name, options.engine_name, options.seconds,
                options.seed);
    std::fflush(stdout);
    progress();
    std::printf("%s: %" PRIu64 " rounds, nothing wrong\n", scenario.name, scenario.run(options));
  }
  if (!found) fail("there is no scenario %s", argv[1]);
  return 0;
}
