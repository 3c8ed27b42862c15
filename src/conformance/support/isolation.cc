// SPDX-License-Identifier: Apache-2.0
// The child reports through a pipe, a record at a time, so that what was found before a crash or a
// hang is not lost. It is the leader of a process group: what it leaves behind goes with it.
#include "support/isolation.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string_view>

#include "support/task.h"

namespace userfault::conformance {
namespace {

// A record: one of these letters, the text, a zero byte. One write each, below PIPE_BUF, so that
// threads and children of the test cannot mix theirs.
constexpr char kFailure = 'F';
constexpr char kSkipped = 'S';
constexpr char kEnd = 'E';
constexpr std::size_t kMaxText = 2000;

int g_pipe = -1;

void send_record(char kind, std::string_view text) {
  std::string record(1, kind);
  record.append(text.substr(0, kMaxText));
  std::ranges::replace(record, '\0', ' ');
  record.push_back('\0');
  (void)!::write(g_pipe, record.data(), record.size());
}

// GoogleTest tells listeners about every failed assertion at once, also outside of its own tests.
class Listener final : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.skipped()) send_record(kSkipped, result.message());
    if (!result.failed()) return;
    std::string_view file = result.file_name() != nullptr ? result.file_name() : "";
    file.remove_prefix(std::min(file.size(), file.rfind('/') + 1));
    send_record(kFailure, std::string(file) + ":" + std::to_string(result.line_number()) + ": " + result.message());
  }
};

void install_listener() {
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new Listener);
}

void run_body(const Test& test, userfault_engine engine, Backing backing) {
  try {
    test.body(make_context(engine, backing));
  } catch (const Skip& skip) {
    send_record(kSkipped, skip.what());
  } catch (const std::exception& error) {
    send_record(kFailure, error.what());
  }
  send_record(kEnd, "");
}

void prepare_child(int write_end) {
  g_pipe = write_end;
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  install_sigbus_handler();
  install_listener();
}

struct Child {
  pid_t pid;
  int pipe;
};

struct Records {
  std::string failures;
  std::string skips;
  bool ended = false;
};

void append(std::string& list, std::string_view item) {
  if (!list.empty()) list += "; ";
  list += item;
}

Records parse(const std::string& bytes) {
  Records records;
  for (std::size_t start = 0; start < bytes.size();) {
    const std::size_t end = std::min(bytes.find('\0', start), bytes.size());
    const std::string_view text(bytes.data() + start + 1, end - start - 1);
    if (bytes[start] == kFailure) append(records.failures, text);
    if (bytes[start] == kSkipped) append(records.skips, text.empty() ? "no reason given" : text);
    if (bytes[start] == kEnd) records.ended = true;
    start = end + 1;
  }
  return records;
}

// Reads until the child has ended; false when the time is up first.
bool collect(const Child& child, int pidfd, unsigned time_limit_s, std::string& bytes) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(time_limit_s);
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd entries[2] = {{child.pipe, POLLIN, 0}, {pidfd, POLLIN, 0}};
    const int ready = ::poll(entries, 2, static_cast<int>(std::max<long long>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    char buffer[4096];
    ssize_t count = 0;
    while ((count = ::read(child.pipe, buffer, sizeof buffer)) > 0) bytes.append(buffer, static_cast<size_t>(count));
    if (entries[1].revents != 0) return true;
  }
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return std::string("killed by SIG") + ::sigabbrev_np(WTERMSIG(status));
  return "ended early with exit status " + std::to_string(WEXITSTATUS(status));
}

Verdict judge(const Records& records, bool in_time, int status, unsigned time_limit_s) {
  std::string failures = records.failures;
  if (!in_time) append(failures, "hung: no end within " + std::to_string(time_limit_s) + " s");
  else if (!records.ended) append(failures, how_it_ended(status));
  if (!failures.empty()) return {Status::kFail, failures};
  if (!records.skips.empty()) return {Status::kSkip, records.skips};
  return {Status::kPass, ""};
}

template <typename Body>
Child fork_child(Body body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return {-1, -1};
  ::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
    prepare_child(ends[1]);
    body();
    ::_exit(0);
  }
  ::close(ends[1]);
  return {pid, ends[0]};
}

}  // namespace

Verdict run_isolated(const Test& test, userfault_engine engine, Backing backing, unsigned time_limit_s) {
  const Child child = fork_child([&] { run_body(test, engine, backing); });
  if (child.pid < 0) return {Status::kFail, std::string("fork: ") + ::strerror(errno)};
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0));
  std::string bytes;
  const bool in_time = collect(child, pidfd, time_limit_s, bytes);
  ::kill(-child.pid, SIGKILL);
  ::kill(child.pid, SIGKILL);
  int status = 0;
  ::waitpid(child.pid, &status, 0);
  ::close(pidfd);
  ::close(child.pipe);
  return judge(parse(bytes), in_time, status, time_limit_s);
}

Opened try_open(userfault_engine engine) {
  const Child child = fork_child([&] {
    Opened opened;
    int fd = userfault_open(engine, O_CLOEXEC);
    opened.error = fd < 0 ? errno : 0;
    if (fd < 0) {
      opened.user_mode_only = true;
      fd = userfault_open(engine, O_CLOEXEC | USERFAULT_USER_MODE_ONLY);
    }
    if (fd >= 0) {
      opened.error = 0;
      opened.engine = static_cast<userfault_engine>(userfault_engine_of(fd));
    }
    (void)!::write(g_pipe, &opened, sizeof opened);
  });
  Opened opened{ECHILD, engine, false};
  if (child.pid < 0) return opened;
  ::waitpid(child.pid, nullptr, 0);
  (void)!::read(child.pipe, &opened, sizeof opened);
  ::close(child.pipe);
  return opened;
}

}  // namespace userfault::conformance
