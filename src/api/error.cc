// SPDX-License-Identifier: Apache-2.0
#include "userfault/error.h"

#include <cstdio>
#include <cstring>

#include "abi/names.h"
#include "api/hints.h"

namespace userfault {

const char* name_of(Operation operation) noexcept {
  switch (operation) {
    case Operation::kOpen: return "open";
    case Operation::kApi: return "api";
    case Operation::kRegister: return "register";
    case Operation::kUnregister: return "unregister";
    case Operation::kCopy: return "copy";
    case Operation::kZeropage: return "zeropage";
    case Operation::kWake: return "wake";
    case Operation::kWriteprotect: return "writeprotect";
    case Operation::kContinue: return "continue";
    case Operation::kPoison: return "poison";
    case Operation::kMove: return "move";
    case Operation::kRead: return "read";
    case Operation::kPoll: return "poll";
    case Operation::kMap: return "mmap";
    case Operation::kUnmap: return "munmap";
    case Operation::kRemap: return "mremap";
    case Operation::kAdvise: return "madvise";
    case Operation::kProtect: return "mprotect";
    case Operation::kFork: return "fork";
    case Operation::kScan: return "pagemap scan";
    case Operation::kSend: return "send descriptor";
    case Operation::kReceive: return "receive descriptor";
    case Operation::kInThread: return "in-thread handler";
    case Operation::kStore: return "store";
  }
  return "operation";
}

const char* name_of(Refuser refuser) noexcept {
  switch (refuser) {
    case Refuser::kNone: return "none";
    case Refuser::kSeccomp: return "seccomp";
    case Refuser::kSysctl: return "vm.unprivileged_userfaultfd";
    case Refuser::kDeviceMode: return "the mode of /dev/userfaultfd";
    case Refuser::kKernelConfig: return "the kernel's configuration";
    case Refuser::kKernelAge: return "the kernel's age";
    case Refuser::kCapability: return "a missing capability";
    case Refuser::kLimit: return "a limit";
    case Refuser::kSecurityModule: return "a security module";
  }
  return "unknown";
}

const char* advice_for(Refuser refuser) noexcept {
  switch (refuser) {
    case Refuser::kNone: break;
    case Refuser::kSeccomp:
      return "allow userfaultfd(2) in the seccomp profile (docker: --security-opt seccomp=PROFILE), or use the user "
             "engine";
    case Refuser::kSysctl:
      return "set vm.unprivileged_userfaultfd to 1, run with CAP_SYS_PTRACE, ask for USER_MODE_ONLY, or use the user "
             "engine";
    case Refuser::kDeviceMode: return "give yourself read and write access to /dev/userfaultfd, or use the user engine";
    case Refuser::kKernelConfig: return "boot a kernel with CONFIG_USERFAULTFD, or use the user engine";
    case Refuser::kKernelAge: return "ask for less, boot a newer kernel, or use the user engine";
    case Refuser::kCapability: return "run with CAP_SYS_PTRACE";
    case Refuser::kLimit: return "raise the limit (ulimit -n, fs.file-max, memory), or close something";
    case Refuser::kSecurityModule:
      return "allow the anonymous inode [userfaultfd] in its policy, or use the user engine";
  }
  return "";
}

namespace {

void add_range(std::string& text, const Error& error) {
  if (error.length == 0) return;
  char range[64];
  std::snprintf(range, sizeof range, " of 0x%llx+0x%llx", static_cast<unsigned long long>(error.address),
                static_cast<unsigned long long>(error.length));
  text += range;
}

void add_missing_features(std::string& text, std::uint64_t missing) {
  const char* separator = ", not offered here: ";
  for (const abi::Name& feature : abi::features()) {
    if ((missing & feature.bit) == 0) continue;
    char entry[64];
    std::snprintf(entry, sizeof entry, "%s%s (Linux %d.%d)", separator, feature.name, feature.since.major,
                  feature.since.minor);
    text += entry;
    separator = ", ";
  }
}

}  // namespace

std::string Error::message() const {
  std::string text = name_of(operation);
  add_range(text, *this);
  text += ": ";
  text += std::strerror(code);
  add_missing_features(text, missing_features);
  if (const char* hint = api::hint_for(operation, code); hint != nullptr && refused_by == Refuser::kNone) {
    text += ": ";
    text += hint;
  }
  if (refused_by == Refuser::kNone) return text;
  text += ", refused by ";
  text += name_of(refused_by);
  text += ": ";
  text += advice_for(refused_by);
  return text;
}

}  // namespace userfault
