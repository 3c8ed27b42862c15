// SPDX-License-Identifier: Apache-2.0
// A piece of a test in a child process, for what kills, changes dispositions or must start clean.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <type_traits>

namespace userfault::test {

// What became of the child, and the bytes it left behind with Report.
struct ChildEnd {
  int status = 0;
  std::string bytes;

  [[nodiscard]] bool exited(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
  [[nodiscard]] bool killed_by(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
  template <typename T>
  [[nodiscard]] T as() const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (bytes.size() >= sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
};

// Where the child writes; usable from a signal handler.
class Report {
 public:
  explicit Report(int fd) : fd_(fd) {}
  template <typename T>
  void operator()(const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    if (::write(fd_, &value, sizeof value) != sizeof value) ::_exit(125);
  }

 private:
  int fd_;
};

// Runs `body(report)` in a child and waits for it. A child that hangs is killed by SIGALRM.
template <typename Body>
ChildEnd run_in_child(Body&& body, unsigned guard_seconds = 20) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    ::alarm(guard_seconds);
    body(Report(ends[1]));
    ::_exit(0);
  }
  ::close(ends[1]);
  ChildEnd end;
  char buffer[4096];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    end.bytes.append(buffer, static_cast<std::size_t>(n));
  ::close(ends[0]);
  ::waitpid(child, &end.status, 0);
  return end;
}

}  // namespace userfault::test
