// SPDX-License-Identifier: Apache-2.0
// A second process in a test.
#pragma once

#include <sys/types.h>

#include <functional>

namespace userfault::conformance {

// Passes a descriptor over a Unix socket (SCM_RIGHTS); both throw Broken when that fails.
void send_fd(int socket, int fd);
[[nodiscard]] int receive_fd(int socket);
// One byte each way, to agree on who goes on. receive_byte throws Broken when the other side is
// gone or does not answer.
void send_byte(int socket);
void receive_byte(int socket);

// A child made by userfault_fork(). Failed assertions in it count as the test's own; exceptions
// become failures. It ends when `body` returns. Forking from a test that already has threads is
// fine as long as the body keeps to what a child of threads may do.
class ChildProcess {
 public:
  // `body` gets its end of a socket pair.
  explicit ChildProcess(const std::function<void(int socket)>& body);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int socket() const { return socket_; }
  // Waits until it has ended; a child that crashed or was killed is a failure of the test.
  void join();
  // Ends it where it stands, and waits for that.
  void kill();

 private:
  pid_t pid_;
  int socket_ = -1;
};

}  // namespace userfault::conformance
