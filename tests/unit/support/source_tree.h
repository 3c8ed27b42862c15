// SPDX-License-Identifier: Apache-2.0
// The project's own files, for the tests that read them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace userfault::test {

// A file of the project: its path below the root, with slashes, and its lines without newlines.
struct SourceFile {
  std::string path;
  std::vector<std::string> lines;

  [[nodiscard]] bool under(std::string_view folder) const { return path.starts_with(folder); }
  [[nodiscard]] bool has_extension(std::string_view extension) const { return path.ends_with(extension); }
};

[[nodiscard]] std::filesystem::path source_root();

// The whole text of a file; the test fails when it cannot be read.
[[nodiscard]] std::string read_source(const std::string& path);

// Every file that the project owns, sorted by path: build trees, .git and what is not text are left
// out.
[[nodiscard]] const std::vector<SourceFile>& source_files();

[[nodiscard]] SourceFile make_source(std::string path, std::string_view text);

}  // namespace userfault::test
