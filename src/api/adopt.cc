// SPDX-License-Identifier: Apache-2.0
// Taking over a descriptor whose handshake somebody else did.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/fd.h"
#include "engine/engine.h"
#include "userfault/descriptor.h"

namespace userfault {
namespace {

// The kernel's fdinfo ends with "API:\taa:FEATURES:IOCTLS" in hexadecimal (userfaultfd_show_fdinfo,
// fs/userfaultfd.c, since 4.3). FEATURES holds an inner bit of the kernel's above ours.
Features features_in(std::string_view fdinfo) {
  constexpr std::string_view kBefore = "API:\taa:";
  const std::size_t at = fdinfo.find(kBefore);
  if (at == std::string_view::npos) return {};
  std::uint64_t bits = 0;
  const char* first = fdinfo.data() + at + kBefore.size();
  const auto parsed = std::from_chars(first, fdinfo.data() + fdinfo.size(), bits, 16);
  return parsed.ec == std::errc() ? Features(bits) & feature::kAll : Features();
}

Features enabled_features(int fd) {
  char path[40];
  std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  const base::Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t bytes = file.valid() ? ::read(file.get(), text, sizeof text) : -1;
  return bytes > 0 ? features_in({text, static_cast<std::size_t>(bytes)}) : Features();
}

}  // namespace

Result<Descriptor> Descriptor::adopt(int fd) {
  const auto failure = [](int code) { return std::unexpected(Error{.operation = Operation::kReceive, .code = code}); };
  if (::fcntl(fd, F_GETFD) < 0) return failure(errno);
  if (engine::user_engine().owns(fd)) return Descriptor(fd, EngineKind::kUser, {}, {});
  if (engine::kernel_engine().owns(fd)) return Descriptor(fd, EngineKind::kKernel, enabled_features(fd), {});
  return failure(EINVAL);
}

}  // namespace userfault
