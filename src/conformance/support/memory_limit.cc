// SPDX-License-Identifier: Apache-2.0
// Version 1 of cgroups can switch the killer off for a group. Version 2 cannot, but gives up with
// ENOMEM when no task of the group may be killed, which oom_score_adj -1000 says.
#include "support/memory_limit.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/context.h"

namespace userfault::conformance {
namespace {

constexpr const char* kPrefix = "userfault-conform-";

constexpr std::uint64_t kRehearse = 1;
constexpr std::uint64_t kFreeze = 2;
constexpr std::uint64_t kThaw = 3;
// How long a freeze lasts when the program itself has run into it.
constexpr int kPatienceMs = 2000;

struct Hierarchy {
  std::string path;
  bool second_version = false;
};

bool has_word(const std::string& text, const std::string& word) {
  std::istringstream stream(text);
  for (std::string each; std::getline(stream, each, ' ');)
    if (each == word) return true;
  return false;
}

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Where the memory controller is mounted.
Hierarchy find_hierarchy() {
  std::ifstream mounts("/proc/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, path, type, options;
    fields >> device >> path >> type >> options;
    if (type == "cgroup" && ("," + options + ",").find(",memory,") != std::string::npos) return {path, false};
    if (type == "cgroup2" && has_word(read_line(path + "/cgroup.subtree_control"), "memory")) return {path, true};
  }
  throw Skip("no memory cgroup controller is mounted, so page tables cannot be made scarce");
}

void write_value(const std::string& path, const std::string& value) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool written = fd >= 0 && ::write(fd, value.data(), value.size()) == static_cast<ssize_t>(value.size());
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!written) throw Skip("memory cannot be limited here: " + path + ": " + std::strerror(error));
}

// What runs that were killed have left: another one may have made its group and not joined it yet.
void remove_stale(const std::string& parent) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const int owner = std::atoi(name.c_str() + std::strlen(kPrefix));
    if (owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH) ::rmdir(entry.path().c_str());
  }
}

}  // namespace

MemoryLimit::MemoryLimit() {
  const Hierarchy hierarchy = find_hierarchy();
  parent_ = hierarchy.path;
  second_version_ = hierarchy.second_version;
  remove_stale(parent_);
  const std::string group = parent_ + "/" + kPrefix + std::to_string(::getpid());
  if (::mkdir(group.c_str(), 0755) != 0)
    throw Skip("a memory cgroup needs root: " + group + ": " + std::strerror(errno));
  group_ = group;
  if (second_version_) write_value("/proc/self/oom_score_adj", "-1000");
  else write_value(group_ + "/memory.oom_control", "1");
  commands_ = ::eventfd(0, EFD_CLOEXEC);
  answers_ = ::eventfd(0, EFD_CLOEXEC);
  warden_ = std::make_unique<ChildProcess>([this](int) { serve(); });
  write_value(group_ + "/cgroup.procs", std::to_string(::getpid()));
}

MemoryLimit::~MemoryLimit() {
  if (group_.empty()) return;
  try {
    thaw();
    write_value(parent_ + "/cgroup.procs", std::to_string(::getpid()));
  } catch (const Skip&) {
    return;
  }
  ::rmdir(group_.c_str());
}

void MemoryLimit::rehearse() { command(kRehearse); }
void MemoryLimit::freeze() { command(kFreeze); }
void MemoryLimit::thaw() { command(kThaw); }

// This runs while memory is short: eventfds, because a socket or a pipe would have to allocate.
void MemoryLimit::command(std::uint64_t what) {
  std::uint64_t answer = 0;
  (void)!::write(commands_, &what, sizeof what);
  (void)!::read(answers_, &answer, sizeof answer);
}

void MemoryLimit::serve() const {
  std::uint64_t what = kThaw;
  while (true) {
    pollfd entry{commands_, POLLIN, 0};
    if (::poll(&entry, 1, what == kFreeze ? kPatienceMs : -1) == 0) {
      set_limit("");
      what = kThaw;
      continue;
    }
    if (::read(commands_, &what, sizeof what) != sizeof what) return;
    set_limit(what == kFreeze ? usage() : "");
    (void)!::write(answers_, &what, sizeof what);
  }
}

std::string MemoryLimit::usage() const {
  return read_line(group_ + (second_version_ ? "/memory.current" : "/memory.usage_in_bytes"));
}

// An empty value lifts the limit.
void MemoryLimit::set_limit(const std::string& value) const {
  const std::string unlimited = second_version_ ? "max" : "-1";
  write_value(group_ + (second_version_ ? "/memory.max" : "/memory.limit_in_bytes"), value.empty() ? unlimited : value);
}

}  // namespace userfault::conformance
