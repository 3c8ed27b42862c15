// SPDX-License-Identifier: Apache-2.0
// The reader of lines and the builder of short texts, on files of any shape.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

#include "engine/user/rt/text.h"

namespace userfault::engine::user {
namespace {

std::vector<std::string> lines_of(const std::string& text, std::size_t buffer_size, std::size_t most = 100) {
  const int fd = ::memfd_create("text", 0);
  EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  EXPECT_EQ(::lseek(fd, 0, SEEK_SET), 0);
  std::vector<char> buffer(buffer_size);
  std::vector<std::string> lines;
  EXPECT_EQ(read_lines(fd, buffer.data(), buffer.size(),
                       [&](TextCursor line) {
                         lines.emplace_back(line.at, line.end);
                         return lines.size() < most;
                       }),
            0);
  ::close(fd);
  return lines;
}

using Lines = std::vector<std::string>;

TEST(Text, LinesAreReadWhateverTheBuffer) {
  const std::string text = "one\n\nthree 3\nfour\n";
  for (const std::size_t size : {8u, 9u, 16u, 512u})
    EXPECT_EQ(lines_of(text, size), (Lines{"one", "", "three 3", "four"})) << size;
  EXPECT_EQ(lines_of("", 8), Lines{});
}

TEST(Text, OfALongLineTheBeginningIsSeenOnce) {
  EXPECT_EQ(lines_of("a\n0123456789abcdefghij\nb\n", 8), (Lines{"a", "01234567", "b"}));
}

TEST(Text, TheWalkEndsWhereItIsToldTo) { EXPECT_EQ(lines_of("a\nb\nc\n", 8, 2), (Lines{"a", "b"})); }

TEST(Text, AFileThatCannotBeReadIsAnError) {
  char buffer[8];
  EXPECT_EQ(read_lines(-1, buffer, sizeof buffer, [](TextCursor) { return true; }), -EBADF);
}

TEST(Text, ACursorReadsNumbersAndWords) {
  const std::string line = "7f00-7f10 rw  42 - tmpfs x";
  TextCursor cursor{line.data(), line.data() + line.size()};
  EXPECT_EQ(cursor.number(16), 0x7f00u);
  EXPECT_EQ(cursor.take(), '-');
  EXPECT_EQ(cursor.number(16), 0x7f10u);
  cursor.skip_to("w");
  cursor.take();
  cursor.skip(' ');
  EXPECT_EQ(cursor.number(10), 42u);
  EXPECT_TRUE(cursor.is_at(" - tmpfs "));
  cursor.skip_to("nowhere");
  EXPECT_EQ(cursor.at, cursor.end);
  EXPECT_EQ(cursor.number(10), 0u);
  EXPECT_EQ(cursor.take(), '\0');
}

TEST(Text, NumbersAreWrittenInEachBase) {
  ShortText<64> text;
  text.add("a").add_number(0).add('/').add_number(~std::uint64_t{0}).add('/').add_number(0xdead0, 16);
  EXPECT_STREQ(text.c_str(), "a0/18446744073709551615/dead0");
  EXPECT_EQ(text.length(), 29u);
}

TEST(TextDeathTest, ATextThatDoesNotFitEndsTheProcess) {
  EXPECT_EXIT(ShortText<4>().add("abcd"), testing::KilledBySignal(SIGABRT), "a text is longer than its buffer");
}

}  // namespace
}  // namespace userfault::engine::user
