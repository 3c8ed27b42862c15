// SPDX-License-Identifier: Apache-2.0
#include "userfault/error.h"

#include <cstdio>
#include <cstring>

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
  }
  return "unknown";
}

namespace {

const char* advice_for(Refuser refuser) noexcept {
  switch (refuser) {
    case Refuser::kSeccomp: return "allow userfaultfd in the profile, or use the user engine";
    case Refuser::kSysctl:
      return "set vm.unprivileged_userfaultfd=1, ask for USER_MODE_ONLY, or use the user engine";
    case Refuser::kDeviceMode: return "give yourself access to /dev/userfaultfd, or use the user engine";
    case Refuser::kKernelConfig: return "boot a kernel with CONFIG_USERFAULTFD, or use the user engine";
    case Refuser::kKernelAge: return "ask for less, boot a newer kernel, or use the user engine";
    case Refuser::kCapability: return "run with CAP_SYS_PTRACE";
    case Refuser::kLimit: return "raise the limit (ulimit -n, vm.max_map_count)";
    case Refuser::kNone: break;
  }
  return nullptr;
}

}  // namespace

std::string Error::message() const {
  std::string text = name_of(operation);
  if (length != 0) {
    char range[64];
    std::snprintf(range, sizeof range, " of 0x%llx+0x%llx", static_cast<unsigned long long>(address),
                  static_cast<unsigned long long>(length));
    text += range;
  }
  text += ": ";
  text += std::strerror(code);
  if (refused_by != Refuser::kNone) {
    text += ", refused by ";
    text += name_of(refused_by);
    if (const char* advice = advice_for(refused_by)) {
      text += ": ";
      text += advice;
    }
  }
  return text;
}

}  // namespace userfault
