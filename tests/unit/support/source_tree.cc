// SPDX-License-Identifier: Apache-2.0
#include "support/source_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace userfault::test {
namespace {

namespace fs = std::filesystem;

bool is_ours(const fs::path& name) {
  const std::string text = name.string();
  return !text.starts_with("build") && text != ".git" && text != ".cache";
}

std::vector<SourceFile> find_files() {
  std::vector<SourceFile> files;
  for (auto entry = fs::recursive_directory_iterator(source_root()); entry != fs::recursive_directory_iterator();
       ++entry) {
    const fs::path relative = entry->path().lexically_relative(source_root());
    if (entry.depth() == 0 && !is_ours(relative)) {
      entry.disable_recursion_pending();
      continue;
    }
    if (!entry->is_regular_file()) continue;
    std::string text = read_source(relative.generic_string());
    if (text.find('\0') == std::string::npos) files.push_back(make_source(relative.generic_string(), text));
  }
  std::ranges::sort(files, {}, &SourceFile::path);
  return files;
}

}  // namespace

fs::path source_root() { return USERFAULT_SOURCE_DIR; }

std::string read_source(const std::string& path) {
  std::ifstream file(source_root() / path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

const std::vector<SourceFile>& source_files() {
  static const std::vector<SourceFile> files = find_files();
  return files;
}

SourceFile make_source(std::string path, std::string_view text) {
  SourceFile file{.path = std::move(path), .lines = {}};
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    file.lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return file;
}

}  // namespace userfault::test
