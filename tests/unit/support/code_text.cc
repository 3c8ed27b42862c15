// SPDX-License-Identifier: Apache-2.0
#include "support/code_text.h"

#include <cctype>

namespace userfault::test {
namespace {

// Walks over the text once; `out` gets a copy in which everything but code and newlines is dropped.
class Stripper {
 public:
  explicit Stripper(std::string text) : text_(std::move(text)) {}

  std::string run() {
    while (at_ < text_.size()) {
      if (starts("//")) skip_to("\n", 0);
      else if (starts("/*")) skip_to("*/", 2);
      else if (starts("R\"") && !in_word()) raw_string();
      else if (text_[at_] == '"') quoted('"');
      else if (text_[at_] == '\'' && !in_word()) quoted('\'');
      else out_ += text_[at_++];
    }
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool starts(std::string_view prefix) const { return text_.compare(at_, prefix.size(), prefix) == 0; }
  // 1'000'000 is a number, and the R of FOOR"x" belongs to a name.
  [[nodiscard]] bool in_word() const {
    return !out_.empty() && (std::isalnum(static_cast<unsigned char>(out_.back())) != 0 || out_.back() == '_');
  }

  void skip_to(std::string_view end, std::size_t extra) {
    const std::size_t found = text_.find(end, at_);
    const std::size_t stop = found == std::string::npos ? text_.size() : found + extra;
    for (; at_ < stop; ++at_)
      if (text_[at_] == '\n') out_ += '\n';
  }

  void raw_string() {
    const std::size_t open = text_.find('(', at_);
    const std::string end = ")" + text_.substr(at_ + 2, open - at_ - 2) + "\"";
    out_ += "\"\"";
    skip_to(end, end.size());
  }

  void quoted(char quote) {
    out_ += quote;
    for (++at_; at_ < text_.size() && text_[at_] != quote && text_[at_] != '\n'; ++at_)
      if (text_[at_] == '\\') ++at_;
    if (at_ < text_.size() && text_[at_] == quote) {
      out_ += quote;
      ++at_;
    }
  }

  std::string text_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::vector<std::string> code_lines(const SourceFile& file) {
  std::string text;
  for (const std::string& line : file.lines) text += line + '\n';
  return make_source(file.path, Stripper(std::move(text)).run()).lines;
}

std::string finding(const SourceFile& file, std::size_t line_index, const std::string& what) {
  return file.path + ":" + std::to_string(line_index + 1) + ": " + what;
}

std::string join(const std::vector<std::string>& findings) {
  std::string text;
  for (const std::string& one : findings) text += one + '\n';
  return text;
}

}  // namespace userfault::test
