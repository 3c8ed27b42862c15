// SPDX-License-Identifier: Apache-2.0
// userfault run: starts a program with the preload library in front of its libc, or says why that
// cannot work. It never starts the program without the library.
#include <fmt/core.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "tools/command.h"
#include "tools/last_error.h"
#include "tools/options.h"
#include "tools/run_target.h"

namespace userfault::tools {
namespace {

constexpr const char* kLibrary = "libuserfault-preload.so";

Expected<std::string, Refusal> find_library() {
  char self[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  const std::string program(self, length > 0 ? static_cast<std::size_t>(length) : 0);
  const std::string prefix = program.substr(0, program.rfind('/')) + "/../";
  for (const std::string& directory : {prefix + USERFAULT_LIBDIR, prefix + "lib"}) {
    char* found = ::realpath((directory + "/" + kLibrary).c_str(), nullptr);
    if (found == nullptr) continue;
    const std::string path(found);
    ::free(found);
    if (path.find_first_of(" :") != std::string::npos)
      return Unexpected(Refusal{125, fmt::format("LD_PRELOAD cannot name {}: a space or a colon is in it. "
                                                 "Install userfault elsewhere",
                                                 path)});
    if (::access(path.c_str(), R_OK) == 0) return path;
  }
  return Unexpected(Refusal{125, fmt::format("{} is not beside this command (in {}{} or {}lib), or cannot be read. "
                                             "Install both from the same build",
                                             kLibrary, prefix, USERFAULT_LIBDIR, prefix)});
}

// Before or behind what stands in the variable already.
void prepend(const char* variable, const std::string& value) {
  const char* old = ::getenv(variable);
  const std::string all = old != nullptr && *old != '\0' ? value + ":" + old : value;
  ::setenv(variable, all.c_str(), 1);
}
void append(const char* variable, const std::string& value) {
  const char* old = ::getenv(variable);
  const std::string all = old != nullptr && *old != '\0' ? std::string(old) + ":" + value : value;
  ::setenv(variable, all.c_str(), 1);
}

class Run final : public Command {
 public:
  const char* name() const override { return "run"; }
  const char* summary() const override { return "run a program on userfaultfd in user space, unmodified"; }

  void add_options(OptionSet& options) override {
    options.add("--engine", engine_, "auto (the kernel's where it opens, else ours; default), user, or kernel")
        .one_of({"auto", "user", "kernel"});
    options.add_flag("--no-trap", no_trap_, "do not look for system calls that go past libc (no seccomp filter)");
    options.add_flag("--verbose", verbose_, "say on standard error which engine each descriptor got, and why");
    options.add("--log", log_, "say it in this file instead");
    options.add("program", words_, "the program and its arguments, after --").show_as("PROGRAM ARGUMENT...");
  }

  // On success the program has taken this process's place.
  int run() override {
    if (words_.empty()) return fail({2, "which program? userfault run [OPTIONS] -- PROGRAM [ARGUMENT...]"});
    const auto target = find_target(words_.front());
    if (!target) return fail(target.error());
    if (const auto usable = check_target(*target); !usable) return fail(usable.error());
    const auto library = find_library();
    if (!library) return fail(library.error());
    if (const auto prepared = prepare_environment(*library); !prepared) return fail(prepared.error());
    return start(*target, words_);
  }

 private:
  static int fail(const Refusal& refusal) {
    fmt::print(stderr, "userfault run: {}.\n", refusal.message);
    return refusal.status;
  }

  Expected<void, Refusal> prepare_environment(const std::string& library) const {
    prepend("LD_PRELOAD", library);
    // AddressSanitizer wants to be the first library and refuses to start otherwise. It works behind
    // another one all the same, since that one goes on to the next definition of each name.
    append("ASAN_OPTIONS", "verify_asan_link_order=0");
    ::setenv("USERFAULT_ENGINE", engine_.c_str(), 1);
    if (no_trap_) ::setenv("USERFAULT_TRAP", "0", 1);
    // The kernel keeps UFFD_FEATURE_EVENT_FORK for CAP_SYS_PTRACE, because its monitor reaches into
    // another process. Ours serves one user's processes only, so there is nothing to keep.
    ::setenv("USERFAULT_EVENT_FORK", "unprivileged", 0);
    if (log_.empty()) {
      if (verbose_) ::setenv("USERFAULT_LOG", "-", 1);
      return {};
    }
    // The program may change its directory.
    std::FILE* file = std::fopen(log_.c_str(), "a");
    if (file == nullptr) return Unexpected(Refusal{125, fmt::format("cannot write to {}: {}", log_, last_error())});
    std::fclose(file);
    char* absolute = ::realpath(log_.c_str(), nullptr);
    ::setenv("USERFAULT_LOG", absolute != nullptr ? absolute : log_.c_str(), 1);
    ::free(absolute);
    return {};
  }

  static int start(const Target& target, const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    std::string shell = "sh";
    std::string path = target.path;
    if (target.needs_shell) arguments.push_back(shell.data());
    std::vector<std::string> copies = words;
    if (target.needs_shell) copies.front() = path;
    for (std::string& word : copies) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execv(target.needs_shell ? "/bin/sh" : path.c_str(), arguments.data());
    return fail({126, fmt::format("cannot run {}: {}", path, last_error())});
  }

  std::vector<std::string> words_;
  std::string engine_ = "auto";
  std::string log_;
  bool verbose_ = false;
  bool no_trap_ = false;
};

}  // namespace

std::unique_ptr<Command> make_run_command() { return std::make_unique<Run>(); }

}  // namespace userfault::tools
