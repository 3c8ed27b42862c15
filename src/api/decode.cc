// SPDX-License-Identifier: Apache-2.0
// From the wire form of a message to the variant.
#include "api/decode.h"

#include <cstdio>
#include <cstdlib>

namespace userfault::api {

namespace {

Fault decode_fault(const userfault_msg& raw) noexcept {
  const std::uint64_t flags = raw.arg.pagefault.flags;
  return {.address = raw.arg.pagefault.address,
          .write = (flags & USERFAULT_PAGEFAULT_FLAG_WRITE) != 0,
          .write_protect = (flags & USERFAULT_PAGEFAULT_FLAG_WP) != 0,
          .minor = (flags & USERFAULT_PAGEFAULT_FLAG_MINOR) != 0,
          .thread_id = raw.arg.pagefault.feat.ptid};
}

PageRange decode_range(const userfault_msg& raw) noexcept {
  return {raw.arg.remove.start, raw.arg.remove.end - raw.arg.remove.start};
}

// An engine sends no event that no feature asked for. Guessing here would fill the wrong page.
[[noreturn]] void broken(unsigned event) noexcept {
  std::fprintf(stderr, "userfault: a message with the unknown event 0x%x was read\n", event);
  std::abort();
}

}  // namespace

Message decode(const userfault_msg& raw) noexcept {
  switch (raw.event) {
    case USERFAULT_EVENT_PAGEFAULT: return decode_fault(raw);
    case USERFAULT_EVENT_FORK: return Forked{.fd = static_cast<int>(raw.arg.fork.ufd)};
    case USERFAULT_EVENT_REMAP:
      return Remapped{.from = raw.arg.remap.from, .to = raw.arg.remap.to, .length = raw.arg.remap.len};
    case USERFAULT_EVENT_REMOVE: return Removed{decode_range(raw)};
    case USERFAULT_EVENT_UNMAP: return Unmapped{decode_range(raw)};
    default: broken(raw.event);
  }
}

}  // namespace userfault::api
