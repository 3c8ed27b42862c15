// SPDX-License-Identifier: Apache-2.0
// Expected<T, E> and the Result<T> that is made of it: the vocabulary of std::expected, in one type.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "userfault/error.h"
#include "userfault/range.h"

namespace userfault {
namespace {

constexpr Error kRefused{.operation = Operation::kCopy, .code = EAGAIN};

using Text = Expected<std::string, std::string>;
using Owner = Expected<std::unique_ptr<int>, std::string>;

// Counts what lives, and what was copied and moved.
struct Counted {
  static inline int alive = 0;
  static inline int copies = 0;
  static void reset() { alive = copies = 0; }

  explicit Counted(int given) : number(given) { ++alive; }
  Counted(const Counted& other) : number(other.number) { ++alive, ++copies; }
  Counted(Counted&& other) noexcept : number(std::exchange(other.number, -1)) { ++alive; }
  Counted& operator=(const Counted& other) {
    number = other.number;
    ++copies;
    return *this;
  }
  Counted& operator=(Counted&& other) noexcept {
    number = std::exchange(other.number, -1);
    return *this;
  }
  ~Counted() { --alive; }

  int number;
};

// What may pass in registers and be copied as bytes has to do so in every language mode alike, or a
// caller in one mode would hand over what the library in the other does not expect.
static_assert(std::is_trivially_copyable_v<Result<void>>);
static_assert(std::is_trivially_copyable_v<Result<bool>>);
static_assert(std::is_trivially_copyable_v<Result<PageRange>>);
static_assert(std::is_trivially_destructible_v<Result<std::size_t>>);
static_assert(sizeof(Result<void>) == sizeof(Error) + alignof(Error));
static_assert(sizeof(Expected<std::uint32_t, std::uint32_t>) == 8);

static_assert(!std::is_trivially_copyable_v<Text>);
static_assert(std::is_nothrow_move_constructible_v<Text> && std::is_nothrow_move_assignable_v<Text>);
static_assert(std::is_copy_constructible_v<Text> && std::is_copy_assignable_v<Text>);
static_assert(!std::is_copy_constructible_v<Owner> && !std::is_copy_assignable_v<Owner>);
static_assert(std::is_move_constructible_v<Owner> && std::is_move_assignable_v<Owner>);

static_assert(std::is_convertible_v<const char*, Text>);
static_assert(std::is_convertible_v<Unexpected<const char*>, Text>);
static_assert(!std::is_convertible_v<std::size_t, Expected<std::vector<int>, int>>, "explicit where the value's is");
static_assert(std::is_constructible_v<Expected<std::vector<int>, int>, std::size_t>);
static_assert(!std::is_constructible_v<Result<bool>, Result<int>>, "has_value() is not the value");
static_assert(!std::is_convertible_v<Text, bool>, "only where a condition is asked for");

TEST(Expected, HasAValueOrAnError) {
  const Result<int> value = 5;
  EXPECT_TRUE(value.has_value());
  EXPECT_TRUE(static_cast<bool>(value));
  EXPECT_EQ(*value, 5);
  EXPECT_EQ(value.value(), 5);

  const Result<int> error = Unexpected(kRefused);
  EXPECT_FALSE(error.has_value());
  EXPECT_FALSE(static_cast<bool>(error));
  EXPECT_EQ(error.error().code, EAGAIN);
}

TEST(Expected, BeginsWithAValue) {
  EXPECT_EQ(*Result<int>(), 0);
  EXPECT_EQ(*Text(), "");
  EXPECT_TRUE(Result<void>().has_value());
}

TEST(Expected, OfVoid) {
  Result<void> done = {};
  EXPECT_TRUE(done);
  *done;
  done.value();
  done = Unexpected(kRefused);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error(), kRefused);
  done = {};
  EXPECT_TRUE(done);
}

TEST(Expected, KeepsAFalseAndANullApartFromAnError) {
  const Result<bool> no = false;
  ASSERT_TRUE(no);
  EXPECT_FALSE(*no);
  const Expected<const char*, int> null = nullptr;
  ASSERT_TRUE(null);
  EXPECT_EQ(*null, nullptr);
}

TEST(Expected, MovesWhatCannotBeCopied) {
  Owner owner = std::make_unique<int>(7);
  Owner next = std::move(owner);
  ASSERT_TRUE(next);
  EXPECT_EQ(**next, 7);
  const std::unique_ptr<int> taken = *std::move(next);
  EXPECT_EQ(*taken, 7);

  Owner assigned = Unexpected("none yet");
  assigned = std::make_unique<int>(8);
  ASSERT_TRUE(assigned);
  EXPECT_EQ(**assigned, 8);
  assigned = Unexpected("gone");
  ASSERT_FALSE(assigned);
  EXPECT_EQ(assigned.error(), "gone");
}

TEST(Expected, HandsOutReferencesToWhatItHolds) {
  Text text = "abc";
  *text += 'd';
  text->push_back('e');
  text.value().push_back('f');
  EXPECT_EQ(*text, "abcdef");
  EXPECT_EQ(&*text, text.operator->());
  EXPECT_EQ(std::as_const(text)->size(), 6u);

  Text broken = Unexpected(std::string("why"));
  broken.error() += '?';
  EXPECT_EQ(std::as_const(broken).error(), "why?");
  EXPECT_EQ(&broken.error(), &std::as_const(broken).error());
  const std::string taken = std::move(broken).error();
  EXPECT_EQ(taken, "why?");

  static_assert(std::is_same_v<decltype(std::declval<Result<int>&>().error()), Error&>);
  static_assert(std::is_same_v<decltype(std::declval<const Result<int>&>().error()), const Error&>);
  static_assert(std::is_same_v<decltype(std::declval<Result<int>>().error()), Error&&>);
  static_assert(std::is_same_v<decltype(*std::declval<Result<int>&>()), int&>);
  static_assert(std::is_same_v<decltype(*std::declval<const Result<int>&>()), const int&>);
  static_assert(std::is_same_v<decltype(*std::declval<Result<int>>()), int&&>);
  static_assert(std::is_same_v<decltype(*std::declval<const Result<void>&>()), void>);
}

TEST(Expected, AssignsEverySideToEverySide) {
  const Text values[] = {"a value that is too long to be stored in place", "another",
                         Unexpected("an error that is too long to be stored in place"), Unexpected("e")};
  for (const Text& from : values) {
    for (const Text& to : values) {
      Text copied = to;
      copied = from;
      EXPECT_EQ(copied, from);
      Text source = from;
      Text moved = to;
      moved = std::move(source);
      EXPECT_EQ(moved, from);
    }
  }
  Text self = values[0];
  const Text& same = self;
  self = same;
  EXPECT_EQ(self, values[0]);
}

TEST(Expected, EndsTheLifeOfWhatItHolds) {
  Counted::reset();
  {
    Expected<Counted, std::string> held(Counted(1));
    EXPECT_EQ(Counted::alive, 1);
    held = Unexpected("an error");
    EXPECT_EQ(Counted::alive, 0);
    held = Counted(2);
    EXPECT_EQ(Counted::alive, 1);
    const Expected<Counted, std::string> copy = held;
    EXPECT_EQ(Counted::alive, 2);
    EXPECT_EQ(copy->number, 2);
  }
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_EQ(Counted::copies, 1);
}

TEST(Expected, AnotherValueInTheErrorsPlace) {
  EXPECT_EQ(Result<int>(3).value_or(4), 3);
  EXPECT_EQ(Result<int>(Unexpected(kRefused)).value_or(4), 4);
  const Text text = "here";
  EXPECT_EQ(text.value_or("there"), "here");
  EXPECT_EQ(Owner(Unexpected("none")).value_or(nullptr), nullptr);
  EXPECT_EQ(*Owner(std::make_unique<int>(5)).value_or(nullptr), 5);
}

TEST(Expected, AndThenGoesOnWithAValueOnly) {
  const auto half = [](int number) -> Expected<int, std::string> {
    if (number % 2 != 0) return Unexpected("odd");
    return number / 2;
  };
  using Number = Expected<int, std::string>;
  EXPECT_EQ(Number(8).and_then(half).and_then(half), Number(2));
  EXPECT_EQ(Number(6).and_then(half).and_then(half), Number(Unexpected("odd")));
  EXPECT_EQ(Number(Unexpected("before")).and_then(half), Number(Unexpected("before")));

  const Result<void> done;
  EXPECT_EQ(done.and_then([] { return Result<int>(1); }), Result<int>(1));
  EXPECT_EQ(Result<void>(Unexpected(kRefused)).and_then([] { return Result<int>(1); }), Unexpected(kRefused));
}

TEST(Expected, TransformMakesAnotherValue) {
  const Text text = "four";
  EXPECT_EQ(text.transform(&std::string::size), std::size_t{4});
  EXPECT_EQ(text.transform([](const std::string& s) { return s + "!"; }), "four!");
  EXPECT_EQ(Text(Unexpected("none")).transform(&std::string::size), Unexpected(std::string("none")));

  const Result<PageRange> range = PageRange{4096, 8192};
  EXPECT_EQ(range.transform(&PageRange::start), std::uintptr_t{4096});

  int calls = 0;
  const Result<void> counted = Result<int>(1).transform([&](int) { ++calls; });
  EXPECT_TRUE(counted);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(Result<void>().transform([] { return 9; }), 9);

  const std::unique_ptr<int> moved =
      Owner(std::make_unique<int>(1)).transform([](std::unique_ptr<int>&& p) { return std::move(p); }).value();
  EXPECT_EQ(*moved, 1);
}

TEST(Expected, OrElseGoesOnWithAnErrorOnly) {
  const auto mend = [](const Error& error) -> Result<int> {
    if (error.code == EAGAIN) return 0;
    return Unexpected(error);
  };
  EXPECT_EQ(Result<int>(4).or_else(mend), 4);
  EXPECT_EQ(Result<int>(Unexpected(kRefused)).or_else(mend), 0);
  EXPECT_EQ(Result<int>(Unexpected(Error{.code = EIO})).or_else(mend), Unexpected(Error{.code = EIO}));
  EXPECT_TRUE(Result<void>().or_else([](const Error& error) { return Result<void>(Unexpected(error)); }));
}

TEST(Expected, TransformErrorMakesAnotherError) {
  const Expected<int, int> code = Result<int>(Unexpected(kRefused)).transform_error(&Error::code);
  EXPECT_EQ(code, Unexpected(EAGAIN));
  const Expected<int, int> value = Result<int>(6).transform_error(&Error::code);
  EXPECT_EQ(value, 6);
  const Expected<void, int> done = Result<void>().transform_error(&Error::code);
  EXPECT_TRUE(done);
  const Owner kept = Expected<std::unique_ptr<int>, int>(std::make_unique<int>(2)).transform_error([](int number) {
    return std::to_string(number);
  });
  EXPECT_EQ(**kept, 2);
}

TEST(Expected, Compares) {
  const Result<int> one = 1;
  const Result<int> error = Unexpected(kRefused);
  EXPECT_TRUE(one == Result<int>(1));
  EXPECT_TRUE(one == Result<long>(1));
  EXPECT_TRUE(one == 1);
  EXPECT_TRUE(1 == one);
  EXPECT_TRUE(one != 2);
  EXPECT_TRUE(one != Result<int>(2));
  EXPECT_TRUE(one != error);
  EXPECT_TRUE(error != 1);
  EXPECT_TRUE(error == Unexpected(kRefused));
  EXPECT_TRUE(Unexpected(kRefused) == error);
  EXPECT_TRUE(error != Unexpected(Error{.operation = Operation::kCopy, .code = EEXIST}));
  EXPECT_TRUE(one != Unexpected(kRefused));
  EXPECT_TRUE(Result<void>() == Result<void>());
  EXPECT_TRUE(Result<void>() != Result<void>(Unexpected(kRefused)));
  EXPECT_TRUE(Unexpected(1) == Unexpected(1L));
}

struct Ending {
  int number;
  constexpr explicit Ending(int given) : number(given) {}
  constexpr Ending(const Ending& other) = default;
  constexpr Ending(Ending&& other) noexcept : number(other.number) {}
  constexpr Ending& operator=(const Ending& other) = default;
  constexpr Ending& operator=(Ending&& other) noexcept {
    number = other.number;
    return *this;
  }
  constexpr ~Ending() { number = 0; }
};

// All of it while compiling, with types that need a destructor as well as with those that do not.
constexpr bool works_while_compiling() {
  Expected<int, int> number = 4;
  number = Unexpected(2);
  number = number.or_else([](int error) { return Expected<int, int>(error + 1); });
  Expected<void, int> done;
  done = Unexpected(7);
  Expected<Ending, int> ending = Ending{1};
  ending = Unexpected(5);
  ending = Ending{2};
  const Expected<Ending, int> copy = ending;
  return number == 3 && done.error() == 7 && number.transform([](int n) { return n * 2; }).value_or(0) == 6 &&
         copy->number == 2;
}
static_assert(works_while_compiling());
static_assert(Result<int>(Unexpected(kRefused)).error().code == EAGAIN);

TEST(ExpectedDeathTest, ReadingWhatIsNotThereAborts) {
  const Result<int> error = Unexpected(kRefused);
  EXPECT_DEATH(std::ignore = error.value(), "userfault: the value of a result was read, which holds an error: copy");
  EXPECT_DEATH(std::ignore = *error, "the value of a result was read");
  EXPECT_DEATH(Result<void>(Unexpected(kRefused)).value(), "the value of a result was read");
  EXPECT_DEATH(std::ignore = Text(Unexpected("x"))->size(), "its error has no message");
  EXPECT_DEATH(std::ignore = Result<int>(1).error(), "the error of a result was read, which holds a value");
}

#ifdef __cpp_lib_expected
TEST(Expected, BecomesAStdExpected) {
  const std::expected<bool, Error> no = to_std(Result<bool>(false));
  ASSERT_TRUE(no.has_value());
  EXPECT_FALSE(*no);
  const std::expected<bool, Error> error = to_std(Result<bool>(Unexpected(kRefused)));
  ASSERT_FALSE(error.has_value());
  EXPECT_EQ(error.error(), kRefused);
  EXPECT_TRUE(to_std(Result<void>()).has_value());
  EXPECT_EQ(**to_std(Owner(std::make_unique<int>(3))), 3);
}
#endif

}  // namespace
}  // namespace userfault
