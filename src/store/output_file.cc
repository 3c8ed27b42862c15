// SPDX-License-Identifier: Apache-2.0
#include "store/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "store/file.h"

namespace userfault::store {

OutputFile::OutputFile(std::string path, std::string temporary, base::Fd fd, bool replace) noexcept
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)), replace_(replace) {}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)),
      replace_(other.replace_) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Unexpected<StoreError> OutputFile::failed(const char* what, int code) const {
  return Unexpected(file_error(path_, what, code));
}

StoreResult<OutputFile> OutputFile::create(const std::string& path, bool replace) {
  struct stat status {};
  if (!replace && ::lstat(path.c_str(), &status) == 0)
    return Unexpected(file_error(path, "is there already and is not replaced", EEXIST));
  std::string temporary = path + ".XXXXXX";
  base::Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return Unexpected(file_error(path, "cannot make a file beside it", errno));
  return OutputFile(path, std::move(temporary), std::move(fd), replace);
}

StoreResult<void> OutputFile::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return failed("cannot write", count < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

StoreResult<void> OutputFile::set_size(std::uint64_t size) const {
  if (size > INT64_MAX) return failed("cannot make it so long", EFBIG);
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return failed("cannot set its length", errno);
  return {};
}

// rename(2) replaces what is there. Where that is not wanted link(2) does the same and refuses.
int OutputFile::take_name() const {
  if (replace_) return ::rename(temporary_.c_str(), path_.c_str());
  const int linked = ::link(temporary_.c_str(), path_.c_str());
  if (linked == 0) ::unlink(temporary_.c_str());
  return linked;
}

StoreResult<void> OutputFile::commit(unsigned mode) {
  if (::fchmod(fd_.get(), mode & 0777u) != 0) return failed("cannot set its mode", errno);
  if (::fsync(fd_.get()) != 0) return failed("cannot bring it to the disk", errno);
  if (take_name() != 0) return failed("cannot give the finished file its name", errno);
  temporary_.clear();
  return {};
}

}  // namespace userfault::store
