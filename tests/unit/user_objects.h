// SPDX-License-Identifier: Apache-2.0
// The memfds behind private memory that the user engine serves, looked for from outside.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <set>
#include <string>

#include "user_support.h"

namespace userfault::test {

struct Objects {
  std::size_t descriptors = 0;
  std::size_t pages = 0;  // that hold something
};

inline Objects find_objects() {
  Objects objects;
  std::set<ino_t> seen;
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return objects;
  while (const dirent* entry = ::readdir(directory)) {
    char target[64] = "";
    const std::string name = entry->d_name;
    if (::readlinkat(::dirfd(directory), name.c_str(), target, sizeof target - 1) <= 0) continue;
    struct stat status {};
    if (std::string(target) != "/memfd:userfault (deleted)") continue;
    if (::fstat(std::atoi(name.c_str()), &status) != 0 || !seen.insert(status.st_ino).second) continue;
    ++objects.descriptors;
    objects.pages += static_cast<std::size_t>(status.st_blocks) * 512 / kPage;
  }
  ::closedir(directory);
  return objects;
}

}  // namespace userfault::test
