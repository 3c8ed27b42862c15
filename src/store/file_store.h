// SPDX-License-Identifier: Apache-2.0
// Files as stores read them: whole extents or an error, never bytes that the file does not have.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/fd.h"
#include "userfault/store.h"

namespace userfault::store {

struct OpenedFile {
  base::Fd fd;
  std::uint64_t size = 0;
  bool sparse = false;  // fewer blocks than bytes: worth asking for holes
};

// Opens a regular file for reading.
[[nodiscard]] StoreResult<OpenedFile> open_regular(const std::string& path);

// The part of `file` that `options` names, which must lie inside it.
[[nodiscard]] std::shared_ptr<Store> make_file_store(std::shared_ptr<const OpenedFile> file,
                                                     const FileStoreOptions& options);

struct ReadOutcome {
  int code = 0;           // 0, or a positive errno; ENODATA: the file ended early
  std::size_t bytes = 0;  // good from the start
};

// Reads all of [offset, offset + length) or says why not. With `may_wait` false it answers EAGAIN
// where the page cache does not have it.
[[nodiscard]] ReadOutcome read_exactly(int fd, std::uint64_t offset, std::byte* into, std::size_t length,
                                       bool may_wait);

}  // namespace userfault::store
