// SPDX-License-Identifier: Apache-2.0
#include "support/actor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "support/run.h"

namespace userfault::stress {

Actor::Actor(bool raises_events) : raises_events_(raises_events), thread_([this] { loop(); }) {
  while (tid_.load() == 0) std::this_thread::yield();
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid_.load());
  status_ = ::open(path, O_RDONLY | O_CLOEXEC);
  if (status_ < 0) fail("%s: %s", path, std::strerror(errno));
}

Actor::~Actor() {
  end_.store(true);
  command_.fetch_add(1);
  command_.notify_one();
  thread_.join();
  ::close(status_);
}

void Actor::loop() {
  tid_.store(static_cast<int>(::gettid()));
  for (std::uint32_t seen = 0;; ++seen) {
    command_.wait(seen);
    if (end_.load()) return;
    work_();
    done_.store(true);
  }
}

void Actor::start(std::function<void()> work) {
  work_ = std::move(work);
  done_.store(false);
  spins_ = false;
  command_.fetch_add(1);
  command_.notify_one();
}

namespace {

// utime and stime of /proc/PID/stat, in ticks of 10 ms; `after_name` begins at its third field.
unsigned long cpu_ticks(const char* after_name) {
  unsigned long user = 0;
  unsigned long system = 0;
  static_cast<void>(std::sscanf(after_name, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system));
  return user + system;
}

}  // namespace

bool Actor::comes_to_rest() {
  constexpr unsigned long kForever = 100;
  unsigned long first_ticks = 0;
  for (bool was_running = false;; was_running = true) {
    if (done_.load()) return !was_running;
    if (spins_) return true;
    char text[256];
    const ssize_t got = ::pread(status_, text, sizeof text - 1, 0);
    if (got <= 0) fail("reading a thread's stat: %s", std::strerror(errno));
    text[got] = '\0';
    const char* state = std::strrchr(text, ')');
    // 'D' is how the kernel's engine waits for an event to be read (TASK_KILLABLE).
    if (state != nullptr && (state[2] == 'S' || (state[2] == 'D' && raises_events_))) return !was_running;
    const unsigned long ticks = state != nullptr ? cpu_ticks(state + 2) : 0;
    if (!was_running) first_ticks = ticks;
    spins_ = ticks - first_ticks > kForever;
    std::this_thread::yield();
  }
}

}  // namespace userfault::stress
