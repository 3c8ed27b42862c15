// SPDX-License-Identifier: Apache-2.0
// Taking over a descriptor whose handshake somebody else did.
#include <fcntl.h>

#include <cerrno>

#include "base/fdinfo.h"
#include "engine/engine.h"
#include "userfault/descriptor.h"

namespace userfault {

Result<Descriptor> Descriptor::adopt(int fd) {
  const auto failure = [](int code) { return Unexpected(Error{.operation = Operation::kReceive, .code = code}); };
  if (::fcntl(fd, F_GETFD) < 0) return failure(errno);
  if (engine::user_engine().owns(fd)) return Descriptor(fd, EngineKind::kUser, {}, {});
  if (!engine::kernel_engine().owns(fd)) return failure(EINVAL);
  const Features enabled(base::userfaultfd_features(fd).value_or(0));
  return Descriptor(fd, EngineKind::kKernel, enabled & feature::kAll, {});
}

}  // namespace userfault
