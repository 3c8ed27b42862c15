// SPDX-License-Identifier: Apache-2.0
// From the wire form of a message to the variant.
#include "api/decode.h"

#include <array>

#include "userfault/descriptor.h"

namespace userfault {
namespace api {

Message decode(const userfault_msg& raw) noexcept {
  switch (raw.event) {
    case USERFAULT_EVENT_FORK: return Forked{.fd = static_cast<int>(raw.arg.fork.ufd)};
    case USERFAULT_EVENT_REMAP:
      return Remapped{.from = raw.arg.remap.from, .to = raw.arg.remap.to, .length = raw.arg.remap.len};
    case USERFAULT_EVENT_REMOVE:
      return Removed{{raw.arg.remove.start, raw.arg.remove.end - raw.arg.remove.start}};
    case USERFAULT_EVENT_UNMAP:
      return Unmapped{{raw.arg.remove.start, raw.arg.remove.end - raw.arg.remove.start}};
    default: break;
  }
  const std::uint64_t flags = raw.arg.pagefault.flags;
  return Fault{.address = raw.arg.pagefault.address,
               .write = (flags & USERFAULT_PAGEFAULT_FLAG_WRITE) != 0,
               .write_protect = (flags & USERFAULT_PAGEFAULT_FLAG_WP) != 0,
               .minor = (flags & USERFAULT_PAGEFAULT_FLAG_MINOR) != 0,
               .thread_id = raw.arg.pagefault.feat.ptid};
}

}  // namespace api

// A batch is bounded by what is worth having on the stack: 64 messages are 2 KiB.
Result<std::span<Message>> Descriptor::read(std::span<Message> into) const {
  std::array<userfault_msg, 64> raw;
  const auto batch = read_raw(std::span(raw).first(std::min(into.size(), raw.size())));
  if (!batch) return std::unexpected(batch.error());
  for (std::size_t i = 0; i < batch->size(); ++i) into[i] = api::decode((*batch)[i]);
  return into.first(batch->size());
}

}  // namespace userfault
