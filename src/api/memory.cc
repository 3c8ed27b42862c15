// SPDX-License-Identifier: Apache-2.0
#include "userfault/memory.h"

#include <sys/mman.h>

#include "engine/engine.h"

namespace userfault::memory {
namespace {

Unexpected<Error> failure(Operation operation, std::intptr_t negative, PageRange range = {}) {
  return Unexpected(Error{
      .operation = operation, .code = static_cast<int>(-negative), .address = range.start, .length = range.length});
}

Result<void> done(Operation operation, int result, PageRange range) {
  if (result < 0) return failure(operation, result, range);
  return {};
}

}  // namespace

Result<PageRange> map(std::size_t length, const MapOptions& options) noexcept {
  const std::intptr_t start = engine::layout_engine().mmap(options.start, length, options.protection, options.flags,
                                                           options.fd, options.offset);
  if (start < 0) return failure(Operation::kMap, start, {options.start, length});
  return PageRange{static_cast<std::uintptr_t>(start), length};
}

Result<void> unmap(PageRange range) noexcept {
  return done(Operation::kUnmap, engine::layout_engine().munmap(range.start, range.length), range);
}

Result<PageRange> remap(PageRange from, std::size_t new_length, const RemapOptions& options) noexcept {
  constexpr int kDontUnmap = 4;  // MREMAP_DONTUNMAP; libc before 2.32 has no name for it
  const int flags = (options.may_move || options.keep_old || options.to != 0 ? MREMAP_MAYMOVE : 0) |
                    (options.keep_old ? kDontUnmap : 0) | (options.to != 0 ? MREMAP_FIXED : 0);
  const std::intptr_t start = engine::layout_engine().mremap(from.start, from.length, new_length, flags, options.to);
  if (start < 0) return failure(Operation::kRemap, start, from);
  return PageRange{static_cast<std::uintptr_t>(start), new_length};
}

Result<void> advise(PageRange range, int advice) noexcept {
  return done(Operation::kAdvise, engine::layout_engine().madvise(range.start, range.length, advice), range);
}

Result<void> protect(PageRange range, int protection) noexcept {
  return done(Operation::kProtect, engine::layout_engine().mprotect(range.start, range.length, protection), range);
}

Result<pid_t> fork() noexcept {
  const pid_t child = engine::layout_engine().fork();
  if (child < 0) return failure(Operation::kFork, child);
  return child;
}

}  // namespace userfault::memory
