// SPDX-License-Identifier: Apache-2.0
// Tests whose failure is a hang, a crash or a corrupted process.
//
// Such a body runs in a child, and what became of it is compared with the empty sentence. The child
// is ended from outside, because a thread that hangs in the engine has its signals blocked, so that
// alarm(2) would not end a process that consists of such threads.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace userfault::test {

inline constexpr std::chrono::seconds kPatience{10};  // never waited out where nothing is wrong

// Whether `condition` holds before the patience ends.
template <typename Condition>
bool comes_true(Condition condition, std::chrono::milliseconds patience = kPatience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

inline pid_t thread_number() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

// Whether the thread sleeps in the kernel (proc(5), /proc/pid/task/tid/stat).
inline bool is_asleep(pid_t tid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return false;
  char text[256] = {};
  const bool got = std::fgets(text, sizeof text, file) != nullptr;
  std::fclose(file);
  const char* state = got ? std::strrchr(text, ')') : nullptr;
  return state != nullptr && (state[2] == 'S' || state[2] == 'D');
}

// Waits until the thread that is to put its number into `tid` has done so and sleeps.
inline bool comes_to_sleep(const std::atomic<pid_t>& tid) {
  return comes_true([&] { return tid.load() != 0 && is_asleep(tid.load()); });
}

// Ends the child with a sentence; from any thread of it, and the first one has the word.
[[noreturn]] inline void end_with(int report, const char* what) {
  static std::atomic<bool> said{false};
  while (said.exchange(true)) ::pause();
  static_cast<void>(!::write(report, what, std::strlen(what)));
  ::_exit(1);
}

// What a body says that is wrong, where it runs. Usable from any thread and from a signal handler.
class Complaint {
 public:
  explicit Complaint(int report) : report_(report) {}
  void unless(bool fine, const char* what) const {
    if (!fine) end_with(report_, what);
  }

 private:
  int report_;
};

// Runs `body(complaint)` in a child. Empty when it came to its end; otherwise what went wrong.
template <typename Body>
std::string ending_of(Body body, std::chrono::seconds guard = std::chrono::seconds(30)) {
  int ends[2];
  if (::pipe(ends) != 0) return "pipe failed";
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    body(Complaint(ends[1]));
    ::_exit(0);
  }
  ::close(ends[1]);
  const auto end = std::chrono::steady_clock::now() + guard;
  std::string said;
  bool hangs = false;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd entry{.fd = ends[0], .events = POLLIN, .revents = 0};
    hangs = left.count() <= 0 || ::poll(&entry, 1, static_cast<int>(left.count())) == 0;
    char text[256];
    const ssize_t got = hangs ? 0 : ::read(ends[0], text, sizeof text);
    if (got <= 0) break;
    said.append(text, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  if (hangs) ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (hangs) return "it hangs";
  if (WIFSIGNALED(status)) return "killed by " + std::string(::strsignal(WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0 && said.empty()) return "ended with status " + std::to_string(WEXITSTATUS(status));
  return said;
}

}  // namespace userfault::test
