// SPDX-License-Identifier: Apache-2.0
// What a process that holds a descriptor of another one's memory says to the owner's agent.
//
// A sequenced-packet socket in the abstract name space, named after the owner's user and the
// doorbell's inode, which is the same number in every process. One packet each way: a Request, with
// the memfd of the staging area as ancillary data when that is new; a Reply, cut behind its last
// message, with the descriptors of fork events as ancillary data in the order of the messages.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>

#include "engine/user/rt/syscall.h"
#include "engine/user/rt/text.h"
#include "userfault/abi.h"

namespace userfault::engine::user {

enum class RequestKind : std::uint32_t { kOperate = 1, kRead = 2, kState = 3 };

inline constexpr std::size_t kMostArgument = 64;  // the largest struct of an operation has 40 bytes
inline constexpr std::size_t kMostMessages = 32;
// The data of a COPY lies at the end of the staging area, whose mapping in the agent ends there: a
// source that cannot be read to its end faults for the agent where it would for the kernel. Large
// enough for one huge page.
inline constexpr std::size_t kStagingBytes = std::size_t{2} << 20;

struct Request {
  RequestKind kind = RequestKind::kState;
  std::uint32_t count = 0;         // kRead: messages wanted
  std::uint64_t operation = 0;     // kOperate: USERFAULT_IOC_*
  std::uint64_t staged = 0;        // COPY: bytes at the end of the staging area
  std::uint64_t whole_length = 0;  // COPY: of the call that this is a part of
  char argument[kMostArgument] = {};
};

struct Reply {
  std::int64_t result = 0;       // 0 or -errno; kRead: messages
  std::uint32_t enabled = 0;     // the handshake was made
  std::uint32_t open_flags = 0;  // O_CLOEXEC for the descriptors that come along
  char argument[kMostArgument] = {};
  userfault_msg messages[kMostMessages] = {};
};

struct AgentName {
  sockaddr_un address{};
  std::size_t length = 0;
};

inline std::uint32_t effective_user() noexcept { return static_cast<std::uint32_t>(raw_syscall(SYS_geteuid)); }

inline AgentName name_of_agent(std::uint64_t inode) noexcept {
  AgentName name;
  name.address.sun_family = AF_UNIX;
  ShortText<sizeof name.address.sun_path - 1> text;
  text.add("userfault-").add_number(effective_user()).add('-').add_number(inode);
  // An abstract name begins with a zero byte and ends where its length says (unix(7)).
  for (std::size_t i = 0; i < text.length(); ++i) name.address.sun_path[1 + i] = text.c_str()[i];
  name.length = offsetof(sockaddr_un, sun_path) + 1 + text.length();
  return name;
}

// Whether the other end of a connected socket is a process of our user.
inline bool is_same_user(int socket) noexcept {
  struct {
    std::int32_t pid;
    std::uint32_t uid;
    std::uint32_t gid;
  } peer{};
  std::uint32_t length = sizeof peer;
  const long result = raw_syscall(SYS_getsockopt, socket, SOL_SOCKET, SO_PEERCRED, as_long(&peer), as_long(&length));
  return result == 0 && peer.uid == effective_user();
}

// Not memcpy(3): a sanitizer's wants thread storage, which the agent's thread does not have.
inline void copy_numbers(int* to, const int* from, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) to[i] = from[i];
}

// The ancillary data of one packet: descriptors.
struct PassedDescriptors {
  alignas(cmsghdr) char buffer[CMSG_SPACE(kMostMessages * sizeof(int))] = {};

  // Makes it part of an outgoing message.
  void attach(msghdr& message, const int* fds, std::size_t count) noexcept {
    auto* header = reinterpret_cast<cmsghdr*>(buffer);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    copy_numbers(reinterpret_cast<int*>(CMSG_DATA(header)), fds, count);
    message.msg_control = buffer;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
  }
  void await(msghdr& message) noexcept {
    message.msg_control = buffer;
    message.msg_controllen = sizeof buffer;
  }
  // Those of a received message, at most kMostMessages; they are the caller's.
  static std::size_t take(const msghdr& message, int* fds) noexcept {
    if (message.msg_controllen < CMSG_LEN(0)) return 0;
    const auto* header = static_cast<const cmsghdr*>(message.msg_control);
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return 0;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    copy_numbers(fds, reinterpret_cast<const int*>(CMSG_DATA(header)), count);
    return count;
  }
};

}  // namespace userfault::engine::user
