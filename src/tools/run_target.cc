// SPDX-License-Identifier: Apache-2.0
#include "tools/run_target.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "base/program_file.h"
#include "tools/last_error.h"

namespace userfault::tools {
namespace {

constexpr const char* kInstead =
    "Link it with libuserfault and open userfaults through userfault.h, or run it where the kernel's userfaultfd "
    "is allowed (userfault doctor)";

Unexpected<Refusal> refuse(int status, std::string message) { return Unexpected(Refusal{status, std::move(message)}); }

// The first bytes of a file.
Expected<std::string, Refusal> head_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return refuse(126, fmt::format("cannot read {} to see how to run it: {}", path, last_error()));
  std::string head(base::kProgramHead, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<std::size_t>(file.gcount()));
  return head;
}

Expected<void, Refusal> check_binary(const std::string& path, const base::ProgramFile& program) {
  switch (program.kind) {
    case base::ProgramKind::kOtherMachine:
      return refuse(126, fmt::format("{} is a binary for another machine than this command's, and a library cannot "
                                     "be preloaded into it",
                                     path));
    case base::ProgramKind::kStatic:
      return refuse(126, fmt::format("{} is statically linked: it has no loader that could preload a library. {}", path,
                                     kInstead));
    case base::ProgramKind::kOtherLoader:
      return refuse(
          126, fmt::format("{} runs on the loader {}, which is not glibc's; the preload library needs glibc. {}", path,
                           program.loader, kInstead));
    default: return {};
  }
}

// Whether execve(2) would change who the process is, and the loader therefore ignore LD_PRELOAD
// (ld.so(8), secure-execution mode). no_new_privs and nosuid mounts take that away again.
bool gains_privileges(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return false;
  if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return false;
  struct statvfs mount {};
  if (::statvfs(path.c_str(), &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0) return false;
  if ((status.st_mode & S_ISUID) != 0 && status.st_uid != ::getuid()) return true;
  if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status.st_gid != ::getgid()) return true;
  return ::getuid() != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

// The interpreter in a script's first line.
std::string interpreter_of(const std::string& head) {
  const std::string line = head.substr(2, head.find('\n') - 2);
  const std::size_t first = line.find_first_not_of(" \t");
  if (first == std::string::npos) return {};
  return line.substr(first, line.find_first_of(" \t\r", first) - first);
}

// The kernel follows scripts of scripts five deep (fs/exec.c).
Expected<void, Refusal> check_file(const std::string& path, int depth) {
  if (gains_privileges(path))
    return refuse(126, fmt::format("{} runs set-user-ID, set-group-ID or with file capabilities: the loader then "
                                   "ignores LD_PRELOAD. Run it from an account that has its rights already",
                                   path));
  const auto head = head_of(path);
  if (!head) return Unexpected(head.error());
  const base::ProgramFile program = base::look_at_program(*head);
  if (program.kind != base::ProgramKind::kNoElf) return check_binary(path, program);
  if (!head->starts_with("#!")) return check_file("/bin/sh", depth + 1);
  const std::string interpreter = interpreter_of(*head);
  if (interpreter.empty() || depth >= 5)
    return refuse(126, fmt::format("{} is a script without a usable interpreter", path));
  if (::access(interpreter.c_str(), X_OK) != 0)
    return refuse(126, fmt::format("{} wants the interpreter {}: {}", path, interpreter, last_error()));
  return check_file(interpreter, depth + 1);
}

bool is_program(const std::string& path, int* error) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(path.c_str(), X_OK) == 0) return true;
  *error = S_ISDIR(status.st_mode) ? EISDIR : last_error_code();
  return false;
}

}  // namespace

Expected<Target, Refusal> find_target(const std::string& name) {
  int error = ENOENT;
  std::vector<std::string> candidates;
  if (name.find('/') != std::string::npos) {
    candidates.push_back(name);
  } else {
    const char* variable = std::getenv("PATH");
    std::string rest = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
    for (std::size_t end = 0; end != std::string::npos; rest.erase(0, end == std::string::npos ? end : end + 1)) {
      end = rest.find(':');
      const std::string directory = rest.substr(0, end);
      candidates.push_back((directory.empty() ? "." : directory) + "/" + name);
    }
  }
  for (const std::string& path : candidates) {
    int why = 0;
    if (!is_program(path, &why)) {
      if (why == EACCES) error = EACCES;
      if (candidates.size() == 1) error = why;
      continue;
    }
    const auto head = head_of(path);
    const bool shell = head && !head->starts_with(ELFMAG) && !head->starts_with("#!");
    return Target{.path = path, .needs_shell = shell};
  }
  return refuse(error == ENOENT ? 127 : 126, fmt::format("cannot run {}: {}", name, std::strerror(error)));
}

Expected<void, Refusal> check_target(const Target& target) { return check_file(target.path, 0); }

}  // namespace userfault::tools
