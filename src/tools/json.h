// SPDX-License-Identifier: Apache-2.0
// Writes JSON as it goes: a comma where one is due, two spaces a level, no tree in memory.
//
//   Json json;
//   json.open('{');
//   json.key("engine").string("kernel");
//   json.key("faults").number(12);
//   json.close('}');
//   json.text() == "{\n  \"engine\": \"kernel\",\n  \"faults\": 12\n}\n"
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace userfault::tools {

class Json {
 public:
  Json& open(char bracket) {
    begin();
    text_ += bracket;
    ++depth_;
    first_ = true;
    return *this;
  }
  Json& close(char bracket) {
    --depth_;
    if (!first_) new_line();
    first_ = false;
    text_ += bracket;
    if (depth_ == 0) text_ += '\n';
    return *this;
  }
  Json& key(std::string_view name) {
    begin();
    quote(name);
    text_ += ": ";
    after_key_ = true;
    return *this;
  }
  Json& string(std::string_view value) {
    begin();
    quote(value);
    return *this;
  }
  Json& number(std::int64_t value) { return literal(std::to_string(value)); }
  Json& boolean(bool value) { return literal(value ? "true" : "false"); }
  Json& null() { return literal("null"); }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  Json& literal(std::string_view value) {
    begin();
    text_ += value;
    return *this;
  }
  void begin() {
    if (after_key_) {
      after_key_ = false;
      return;
    }
    if (depth_ == 0) return;
    if (!first_) text_ += ',';
    first_ = false;
    new_line();
  }
  void new_line() {
    text_ += '\n';
    text_.append(static_cast<std::size_t>(depth_) * 2, ' ');
  }
  void quote(std::string_view value) {
    constexpr char kHex[] = "0123456789abcdef";
    text_ += '"';
    for (const char c : value) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        text_ += '\\';
        text_ += c;
      } else if (byte < 0x20) {
        text_ += "\\u00";
        text_ += kHex[byte >> 4];
        text_ += kHex[byte & 15];
      } else {
        text_ += c;
      }
    }
    text_ += '"';
  }

  std::string text_;
  int depth_ = 0;
  bool first_ = true;
  bool after_key_ = false;
};

}  // namespace userfault::tools
