// SPDX-License-Identifier: Apache-2.0
#include "support/process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "support/context.h"
#include "support/task.h"
#include "userfault/userfault.h"

namespace userfault::conformance {
namespace {

constexpr int kDeadlineMs = static_cast<int>(std::chrono::milliseconds(kDeadline).count());

void wait_readable(int socket) {
  pollfd entry{socket, POLLIN, 0};
  if (::poll(&entry, 1, kDeadlineMs) != 1) throw Broken("the other process does not answer");
}

[[noreturn]] void run_child(const std::function<void(int)>& body, int socket) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    body(socket);
  } catch (const std::exception& error) {
    ADD_FAILURE() << "in a child process: " << error.what();
  }
  ::_exit(0);
}

}  // namespace

void send_fd(int socket, int fd) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) != 1) throw Broken(std::string("sendmsg: ") + std::strerror(errno));
}

int receive_fd(int socket) {
  wait_readable(socket);
  char byte = 0;
  iovec data{&byte, 1};
  int fd = -1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) throw Broken("the other process sent no descriptor");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) throw Broken("the message carries no descriptor");
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

void send_byte(int socket) {
  if (::send(socket, "", 1, MSG_NOSIGNAL) != 1) throw Broken(std::string("send: ") + std::strerror(errno));
}

void receive_byte(int socket) {
  wait_readable(socket);
  char byte = 0;
  if (::recv(socket, &byte, 1, 0) != 1) throw Broken("the other process is gone");
}

ChildProcess::ChildProcess(const std::function<void(int socket)>& body) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw Broken("socketpair");
  pid_ = userfault_fork();
  if (pid_ < 0) throw Broken(std::string("fork: ") + std::strerror(errno));
  if (pid_ == 0) {
    ::close(ends[0]);
    run_child(body, ends[1]);
  }
  ::close(ends[1]);
  socket_ = ends[0];
}

ChildProcess::~ChildProcess() {
  kill();
  ::close(socket_);
}

void ChildProcess::join() {
  if (pid_ <= 0) return;
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) throw Broken(std::string("waitpid: ") + std::strerror(errno));
  pid_ = -1;
  EXPECT_FALSE(WIFSIGNALED(status)) << "the child was killed by SIG" << ::sigabbrev_np(WTERMSIG(status));
}

void ChildProcess::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace userfault::conformance
