// SPDX-License-Identifier: Apache-2.0
// A file that appears under its name complete, or not at all.
#pragma once

#include <span>
#include <string>

#include "base/fd.h"
#include "userfault/store.h"

namespace userfault::store {

class OutputFile {
 public:
  // Makes a temporary file beside `path`. EEXIST: it is there already, and must not be replaced.
  [[nodiscard]] static StoreResult<OutputFile> create(const std::string& path, bool replace);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  // Takes the temporary file away again, unless it was committed.
  ~OutputFile();

  [[nodiscard]] StoreResult<void> write(std::uint64_t offset, std::span<const std::byte> bytes) const;
  [[nodiscard]] StoreResult<void> set_size(std::uint64_t size) const;
  // To disk, with this mode, under its name.
  [[nodiscard]] StoreResult<void> commit(unsigned mode);

 private:
  OutputFile(std::string path, std::string temporary, base::Fd fd, bool replace) noexcept;
  [[nodiscard]] Unexpected<StoreError> failed(const char* what, int code) const;
  [[nodiscard]] int take_name() const;

  std::string path_;
  std::string temporary_;  // empty once it is gone
  base::Fd fd_;
  bool replace_ = false;
};

}  // namespace userfault::store
