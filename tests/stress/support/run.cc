// SPDX-License-Identifier: Apache-2.0
#include "support/run.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace userfault::stress {
namespace {

[[noreturn]] void end_with(int status, const char* word, const char* format, va_list arguments) {
  std::printf("%s", word);
  std::vprintf(format, arguments);
  std::printf("\n");
  std::fflush(stdout);
  ::_exit(status);
}

}  // namespace

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  end_with(1, "FAILED: ", format, arguments);
}

void skip(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  end_with(77, "SKIPPED: ", format, arguments);
}

void progress() { ::alarm(120); }

bool Clock::more() const {
  progress();
  return std::chrono::steady_clock::now() < end_;
}

void pin(unsigned index) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  unsigned nth = index % static_cast<unsigned>(CPU_COUNT(&allowed));
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || nth-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    static_cast<void>(::sched_setaffinity(0, sizeof one, &one));
    return;
  }
}

}  // namespace userfault::stress
