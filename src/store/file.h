// SPDX-License-Identifier: Apache-2.0
// Files as stores use them: whole extents or an error, never bytes that the file does not have.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "userfault/store.h"

namespace userfault::store {

// What O_DIRECT wants offsets, lengths and addresses to be multiples of, on every device we know.
inline constexpr std::size_t kDirectAlignment = 4096;

struct OpenedFile {
  base::Fd fd;
  base::Fd direct;  // the same file past the page cache, where that was asked for
  std::uint64_t size = 0;
  bool sparse = false;  // fewer blocks than bytes: worth asking for holes
};

struct OpenMode {
  bool writable = false;
  bool direct = false;
};

// Opens a regular file.
[[nodiscard]] StoreResult<OpenedFile> open_regular(const std::string& path, OpenMode mode = {});

[[nodiscard]] StoreError file_error(const std::string& path, const char* what, int code);

struct Outcome {
  int code = 0;           // 0, or a positive errno; ENODATA: the file ended early
  std::size_t bytes = 0;  // good from the start
};

// Reads all of [offset, offset + length) or says why not. With `may_wait` false it answers EAGAIN
// where the page cache does not have it.
[[nodiscard]] Outcome read_exactly(int fd, std::uint64_t offset, std::byte* into, std::size_t length, bool may_wait);

// Whether bytes that were read are the file's, and not zeroes that truncate(2) put behind its new
// end meanwhile.
[[nodiscard]] Outcome check_read(int fd, std::uint64_t offset, const std::byte* bytes, std::size_t length);
// The same of what a read that failed has brought: bytes that the file does not have any more are not good.
[[nodiscard]] Outcome cut_read(int fd, std::uint64_t offset, Outcome failed);

// Writes all of it, or says why not. ENODATA: the file has become shorter; it is not made longer.
[[nodiscard]] Outcome write_exactly(int fd, std::uint64_t offset, const std::byte* from, std::size_t length);
[[nodiscard]] Outcome check_room(int fd, std::uint64_t offset, std::size_t length);

}  // namespace userfault::store
