// SPDX-License-Identifier: Apache-2.0
#include "support/privilege.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "support/context.h"

namespace userfault::conformance {
namespace {

struct Capabilities {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
};

Capabilities current() {
  Capabilities capabilities;
  if (::syscall(SYS_capget, &capabilities.header, capabilities.data.data()) != 0) throw Broken("capget");
  return capabilities;
}

}  // namespace

bool has_capability(int capability) {
  const auto index = static_cast<std::size_t>(capability / 32);
  return (current().data[index].effective >> (capability % 32) & 1) != 0;
}

void drop_capability(int capability) {
  Capabilities capabilities = current();
  capabilities.data[static_cast<std::size_t>(capability / 32)].effective &= ~(1u << (capability % 32));
  if (::syscall(SYS_capset, &capabilities.header, capabilities.data.data()) != 0) throw Broken("capset");
}

void filter_system_call(long number, std::uint32_t action) {
  std::array filter{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, action),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    throw Broken("a seccomp filter cannot be installed");
}

}  // namespace userfault::conformance
