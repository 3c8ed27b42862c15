// SPDX-License-Identifier: Apache-2.0
#include "support/task.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>

#include "support/context.h"

namespace userfault::conformance {
namespace {

struct Landing {
  sigjmp_buf place;
  Touch touch;
};
thread_local Landing* t_landing = nullptr;

void on_sigbus(int, siginfo_t* info, void*) {
  if (t_landing == nullptr) {
    ::signal(SIGBUS, SIG_DFL);
    ::raise(SIGBUS);
    return;
  }
  t_landing->touch = Touch{true, info->si_code, info->si_addr, 0};
  siglongjmp(t_landing->place, 1);
}

template <typename Access>
Touch touch(Access access) {
  Landing landing;
  t_landing = &landing;
  // The mask is saved: SIGBUS is blocked while its handler runs.
  if (sigsetjmp(landing.place, 1) == 0) landing.touch.value = access();
  t_landing = nullptr;
  return landing.touch;
}

// The letter after the name in /proc/PID/task/TID/stat: S sleeps, R runs or will at once.
char state_of(pid_t tid) {
  std::ifstream file("/proc/self/task/" + std::to_string(tid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return 'X';
  const std::size_t name_end = line.rfind(')');
  return name_end + 2 < line.size() ? line[name_end + 2] : 'X';
}

// The state of a thread and how often it has been scheduled, read without an allocation: while a
// thread waits inside fork(2), glibc holds the locks of malloc and stdio.
class Switches {
 public:
  Switches() = default;
  explicit Switches(pid_t tid) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%d/status", static_cast<int>(tid));
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    const ssize_t bytes = ::read(file, text_, sizeof text_ - 1);
    ::close(file);
    text_[bytes > 0 ? bytes : 0] = '\0';
  }
  [[nodiscard]] bool asleep() const {
    const char* const state = std::strstr(text_, "State:\t");
    return state != nullptr && (state[7] == 'S' || state[7] == 'D');
  }
  friend bool operator==(const Switches& a, const Switches& b) {
    return std::strcmp(counts_of(a.text_), counts_of(b.text_)) == 0;
  }

 private:
  static const char* counts_of(const char* text) {
    const char* const counts = std::strstr(text, "voluntary_ctxt_switches");
    return counts != nullptr ? counts : "";
  }

  char text_[4096] = "";
};

}  // namespace

struct Task::State {
  mutable std::mutex mutex;
  std::condition_variable changed;
  pid_t tid = 0;
  bool done = false;
};

Task::Task(std::function<void()> work) : state_(std::make_shared<State>()) {
  std::thread([state = state_, work = std::move(work)] {
    {
      const std::lock_guard lock(state->mutex);
      state->tid = static_cast<pid_t>(::syscall(SYS_gettid));
      state->changed.notify_all();
    }
    try {
      work();
    } catch (const std::exception& error) {
      ADD_FAILURE() << "in a thread of the test: " << error.what();
    }
    const std::lock_guard lock(state->mutex);
    state->done = true;
    state->changed.notify_all();
  }).detach();
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->tid != 0; });
}

pid_t Task::tid() const {
  const std::lock_guard lock(state_->mutex);
  return state_->tid;
}

bool Task::done() const {
  const std::lock_guard lock(state_->mutex);
  return state_->done;
}

void Task::join() {
  std::unique_lock lock(state_->mutex);
  if (!state_->changed.wait_for(lock, kDeadline, [&] { return state_->done; }))
    throw Broken("a thread that should have gone on is still blocked");
}

void Task::expect_waiting() const {
  const auto end = std::chrono::steady_clock::now() + kDeadline;
  while (!done() && state_of(tid()) != 'S') {
    if (std::chrono::steady_clock::now() > end) throw Broken("a thread neither blocks nor ends");
    ::sched_yield();
  }
  EXPECT_FALSE(done()) << "a thread that should still be blocked has gone on";
}

void Task::expect_waiting_for_reader() const {
  const auto end = std::chrono::steady_clock::now() + kDeadline;
  constexpr int kLooks = 200;
  const pid_t thread = tid();
  Switches before;
  for (int still = 0; still < kLooks && !done();) {
    if (std::chrono::steady_clock::now() > end) throw Broken("a thread neither waits for the reader nor ends");
    const Switches now(thread);
    still = now.asleep() && now == before ? still + 1 : 0;
    before = now;
    ::sched_yield();
  }
  EXPECT_FALSE(done()) << "a thread that should wait for the reader of its event has gone on";
}

// Atomic: two threads may be sent to one word on purpose.
Touch touch_read(const void* address) {
  return touch([&] { return __atomic_load_n(static_cast<const volatile std::uint64_t*>(address), __ATOMIC_RELAXED); });
}

Touch touch_write(void* address, std::uint64_t value) {
  return touch([&] {
    __atomic_store_n(static_cast<volatile std::uint64_t*>(address), value, __ATOMIC_RELAXED);
    return value;
  });
}

Faulter Faulter::read(const void* address) {
  return Faulter([address] { return touch_read(address); });
}

Faulter Faulter::write(void* address, std::uint64_t value) {
  return Faulter([address, value] { return touch_write(address, value); });
}

Faulter::Faulter(const std::function<Touch()>& access)
    : touch_(std::make_shared<Touch>()), task_([touch = touch_, access] { *touch = access(); }) {}

Touch Faulter::join() {
  task_.join();
  return *touch_;
}

void install_sigbus_handler() {
  struct sigaction action {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace userfault::conformance
