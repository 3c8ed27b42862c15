// SPDX-License-Identifier: Apache-2.0
// Packed images: a file compressed in frames that can be read one by one.
//
// The layout is that of zstd's seekable format: independent zstd frames, each with its checksum,
// and a table of them in a skippable frame at the end. So `zstd -d` unpacks such a file, too.
// A damaged frame is an error (EBADMSG), never other bytes.
// Where the library was built without zstd everything here fails with ENOTSUP.
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "userfault/export.h"
#include "userfault/store.h"

namespace userfault {

inline constexpr std::size_t kSmallestFrame = std::size_t{64} << 10;
inline constexpr std::size_t kLargestFrame = std::size_t{2} << 20;

struct PackOptions {
  std::size_t frame_size = std::size_t{128} << 10;  // kSmallestFrame to kLargestFrame, a multiple of 4096
  int level = 3;                                    // zstd's, 1 to 19
  unsigned threads = 0;                             // 0: one a processor
  bool replace = false;                             // else EEXIST where the output is there already
  // Called now and then, one thread at a time.
  void (*progress)(void* context, std::uint64_t done, std::uint64_t total) = nullptr;
  void* context = nullptr;
};

struct PackReport {
  std::uint64_t bytes = 0;  // of the image
  std::uint64_t packed_bytes = 0;
  std::uint64_t frames = 0;
};

// Packs a regular file. The output appears under its name when it is complete and on disk.
// ENODATA: the file became shorter meanwhile.
[[nodiscard]] USERFAULT_EXPORT StoreResult<PackReport> pack_file(const std::string& from, const std::string& to,
                                                                 const PackOptions& options = {});

// The way back; of the options `threads`, `replace` and `progress` count. An empty `to` only checks
// every frame. EBADMSG: damaged, at `offset` bytes into the packed file.
[[nodiscard]] USERFAULT_EXPORT StoreResult<PackReport> unpack_file(const std::string& from, const std::string& to,
                                                                   const PackOptions& options = {});

// The image as a store. EINVAL: not a packed image, truncated, or with a damaged table.
[[nodiscard]] USERFAULT_EXPORT StoreResult<std::shared_ptr<Store>> open_packed_store(const std::string& path);
// The same of a store that holds the packed file's bytes; `name` is for errors.
[[nodiscard]] USERFAULT_EXPORT StoreResult<std::shared_ptr<Store>> open_packed_store(std::shared_ptr<Store> packed,
                                                                                     const std::string& name);

// True when the file ends like a packed image.
[[nodiscard]] USERFAULT_EXPORT bool looks_packed(const std::string& path);

}  // namespace userfault
