// SPDX-License-Identifier: Apache-2.0
#include "support/forking.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace userfault::stress {
namespace {

constexpr std::size_t kMostMessages = 64;

struct Report {
  std::uint64_t kernel[kMostArenaPages] = {};
  std::uint64_t user[kMostArenaPages] = {};
};

}  // namespace

// In the child, which is a copy of the one thread.
void Forking::be_child() {
  ::alarm(100);
  char go = 0;
  Report report;
  if (::read(go_[0], &go, 1) != 1) ::_exit(1);
  kernel_.read_memory(report.kernel);
  user_.read_memory(report.user);
  ::_exit(::write(back_[1], &report, sizeof report) == sizeof report ? 0 : 2);
}

void Forking::start_child() {
  if (::pipe2(go_, O_CLOEXEC) != 0 || ::pipe2(back_, O_CLOEXEC) != 0) fail("pipe: %s", std::strerror(errno));
  forker_.start([this] {
    child_ = userfault_fork();
    if (child_ == 0) be_child();
  });
}

void Forking::wait_for_fork(Outcomes& outcomes) {
  while (!forker_.is_done()) {
    kernel_.read_messages(outcomes.kernel);
    if (user_.has_message()) user_.read_messages(outcomes.user);
    std::this_thread::yield();
  }
}

void Forking::hear_child(Outcomes& outcomes) {
  Report report;
  if (::write(go_[1], "g", 1) != 1) fail("the child is gone");
  // A short pipe takes a report in one piece.
  if (::read(back_[0], &report, sizeof report) != sizeof report) fail("the child has said nothing");
  int status = 0;
  if (::waitpid(child_, &status, 0) != child_ || status != 0) fail("the child ended with %x", status);
  for (const int fd : {go_[0], go_[1], back_[0], back_[1]}) ::close(fd);
  const std::size_t pages = kernel_.arena().pages;
  outcomes.kernel.extra.assign(report.kernel, report.kernel + pages);
  outcomes.user.extra.assign(report.user, report.user + pages);
}

Forking::Outcomes Forking::perform(const Operation& operation) {
  Outcomes outcomes;
  outcomes.kernel.messages.reserve(kMostMessages);
  outcomes.user.messages.reserve(kMostMessages);
  start_child();
  wait_for_fork(outcomes);
  if (child_ < 0) fail("fork: %d", child_.load());
  kernel_.settle(outcomes.kernel);
  user_.settle(outcomes.user);
  kernel_.use_child(operation, outcomes.kernel);
  user_.use_child(operation, outcomes.user);
  hear_child(outcomes);
  return outcomes;
}

}  // namespace userfault::stress
