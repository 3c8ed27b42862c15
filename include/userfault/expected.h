// SPDX-License-Identifier: Apache-2.0
// Expected<T, E>: a value, or the error that says why there is none. Result<T> and StoreResult<T> are
// made of it.
//
// The words are those of std::expected (C++23), and it is one type in every language mode: a program
// in C++20 links to a library that was built as C++23, and the other way round. docs/design.md says
// why neither std::expected nor a package could be that type. to_std() makes a std::expected of it.
//
// One difference: where std::expected has undefined behaviour or throws, this one aborts. To read a
// value that is not there, by *, -> or value(), or an error that is not there, ends the program with
// one line that says so, whether the program has exceptions or not.
//
// T and E move without throwing; T may be void. Threads: as for any plain value.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>
#include <version>

#ifdef __cpp_lib_expected
#include <expected>
#endif

#include "userfault/export.h"

namespace userfault {

template <typename T, typename E>
class Expected;

// An error on its way into an Expected: return Unexpected(Error{...});
template <typename E>
class Unexpected {
 public:
  constexpr explicit Unexpected(E error) : error_(std::move(error)) {}

  [[nodiscard]] constexpr const E& error() const& noexcept { return error_; }
  [[nodiscard]] constexpr E& error() & noexcept { return error_; }
  [[nodiscard]] constexpr E&& error() && noexcept { return std::move(error_); }

  template <typename G>
  [[nodiscard]] friend constexpr bool operator==(const Unexpected& left, const Unexpected<G>& right) {
    return left.error() == right.error();
  }

 private:
  E error_;
};

namespace detail {

// Writes "userfault: BROKEN: MESSAGE" and a newline to standard error, and aborts.
[[noreturn]] USERFAULT_EXPORT void abort_access(const char* broken, const char* message) noexcept;

// What Expected<void, E> has in the place of a value.
struct Nothing {};

template <typename T>
inline constexpr bool is_expected = false;
template <typename T, typename E>
inline constexpr bool is_expected<Expected<T, E>> = true;

template <typename T>
inline constexpr bool is_unexpected = false;
template <typename E>
inline constexpr bool is_unexpected<Unexpected<E>> = true;

// std::invoke with one argument; its header, <functional>, is a heavy one.
template <typename F, typename X>
constexpr decltype(auto) call(F&& function, X&& argument) {
  if constexpr (std::is_member_object_pointer_v<std::remove_cvref_t<F>>) return (std::forward<X>(argument).*function);
  else if constexpr (std::is_member_function_pointer_v<std::remove_cvref_t<F>>)
    return (std::forward<X>(argument).*function)();
  else return std::forward<F>(function)(std::forward<X>(argument));
}

}  // namespace detail

template <typename T, typename E>
class [[nodiscard]] Expected {
  static constexpr bool kVoid = std::is_void_v<T>;
  using Stored = std::conditional_t<kVoid, detail::Nothing, T>;

  static_assert(std::is_object_v<Stored> && std::is_object_v<E>, "a value or an error is no reference");
  static_assert(!detail::is_unexpected<Stored>, "an error is not a value");
  static_assert(std::is_nothrow_move_constructible_v<Stored> && std::is_nothrow_move_constructible_v<E>,
                "an assignment that throws half-way would leave neither a value nor an error");

  static constexpr bool kCopies = std::is_copy_constructible_v<Stored> && std::is_copy_constructible_v<E>;
  static constexpr bool kAssigns = kCopies && std::is_copy_assignable_v<Stored> && std::is_copy_assignable_v<E>;
  static constexpr bool kMoveAssigns = std::is_move_assignable_v<Stored> && std::is_move_assignable_v<E>;
  static constexpr bool kTrivialEnd = std::is_trivially_destructible_v<Stored> && std::is_trivially_destructible_v<E>;
  static constexpr bool kTrivialCopies =
      std::is_trivially_copy_constructible_v<Stored> && std::is_trivially_copy_constructible_v<E>;
  static constexpr bool kTrivialMoves =
      std::is_trivially_move_constructible_v<Stored> && std::is_trivially_move_constructible_v<E>;
  static constexpr bool kTrivialAssigns = kTrivialEnd && kTrivialCopies &&
                                          std::is_trivially_copy_assignable_v<Stored> &&
                                          std::is_trivially_copy_assignable_v<E>;
  static constexpr bool kTrivialMoveAssigns = kTrivialEnd && kTrivialMoves &&
                                              std::is_trivially_move_assignable_v<Stored> &&
                                              std::is_trivially_move_assignable_v<E>;

  using Reference = std::conditional_t<kVoid, void, Stored&>;
  using ConstReference = std::conditional_t<kVoid, void, const Stored&>;
  using MovedReference = std::conditional_t<kVoid, void, Stored&&>;

 public:
  using value_type = T;
  using error_type = E;

  // A value: T{}, or that of void.
  constexpr Expected() noexcept(std::is_nothrow_default_constructible_v<Stored>) requires(
      std::is_default_constructible_v<Stored>)
      : value_(), has_value_(true) {}

  template <typename U = Stored>
  requires(!kVoid && !std::is_same_v<std::remove_cvref_t<U>, Expected> &&
           !detail::is_unexpected<std::remove_cvref_t<U>> &&
           // Else a bool would be made of another Expected by asking whether it has a value.
           !(std::is_same_v<T, bool> && detail::is_expected<std::remove_cvref_t<U>>)&&std::is_constructible_v<
               T, U>) constexpr explicit(!std::is_convertible_v<U, Stored>) Expected(U&& value)
      : value_(std::forward<U>(value)), has_value_(true) {}

  template <typename G>
  requires(std::is_constructible_v<E, const G&>) constexpr explicit(!std::is_convertible_v<const G&, E>)
      Expected(const Unexpected<G>& unexpected)
      : error_(unexpected.error()), has_value_(false) {}
  template <typename G>
  requires(std::is_constructible_v<E, G>) constexpr explicit(!std::is_convertible_v<G, E>)
      Expected(Unexpected<G>&& unexpected)
      : error_(std::move(unexpected).error()), has_value_(false) {}

  constexpr Expected(const Expected&) requires(kCopies&& kTrivialCopies) = default;
  constexpr Expected(const Expected& other) requires(kCopies && !kTrivialCopies) : has_value_(other.has_value_) {
    construct_from(other);
  }
  constexpr Expected(Expected&&) requires(kTrivialMoves) = default;
  constexpr Expected(Expected&& other) noexcept requires(!kTrivialMoves) : has_value_(other.has_value_) {
    construct_from(std::move(other));
  }

  constexpr Expected& operator=(const Expected&) requires(kAssigns&& kTrivialAssigns) = default;
  // By a copy that is moved in: whatever throws, throws before anything has changed.
  constexpr Expected& operator=(const Expected& other) requires(kAssigns && !kTrivialAssigns) {
    if (this != std::addressof(other)) replace(Expected(other));
    return *this;
  }
  constexpr Expected& operator=(Expected&&) requires(kMoveAssigns&& kTrivialMoveAssigns) = default;
  constexpr Expected& operator=(Expected&& other) noexcept requires(kMoveAssigns && !kTrivialMoveAssigns) {
    if (this != std::addressof(other)) replace(std::move(other));
    return *this;
  }

  constexpr ~Expected() requires(kTrivialEnd) = default;
  constexpr ~Expected() { destroy(); }

  [[nodiscard]] constexpr bool has_value() const noexcept { return has_value_; }
  [[nodiscard]] constexpr explicit operator bool() const noexcept { return has_value_; }

  // The value. Aborts where there is none, with the error's message() if it has one.
  constexpr Reference operator*() & noexcept { return value(); }
  constexpr ConstReference operator*() const& noexcept { return value(); }
  constexpr MovedReference operator*() && noexcept { return std::move(*this).value(); }
  constexpr Stored* operator->() noexcept requires(!kVoid) { return std::addressof(value()); }
  constexpr const Stored* operator->() const noexcept requires(!kVoid) { return std::addressof(value()); }
  constexpr Reference value() & noexcept {
    demand_value();
    if constexpr (!kVoid) return value_;
  }
  constexpr ConstReference value() const& noexcept {
    demand_value();
    if constexpr (!kVoid) return value_;
  }
  constexpr MovedReference value() && noexcept {
    demand_value();
    if constexpr (!kVoid) return std::move(value_);
  }

  // The value, or what is given in its place.
  template <typename U>
  requires(!kVoid) [[nodiscard]] constexpr Stored value_or(U&& other) const& {
    return has_value_ ? value_ : static_cast<Stored>(std::forward<U>(other));
  }
  template <typename U>
  requires(!kVoid) [[nodiscard]] constexpr Stored value_or(U&& other) && {
    return has_value_ ? std::move(value_) : static_cast<Stored>(std::forward<U>(other));
  }

  // The error. Aborts where there is a value.
  [[nodiscard]] constexpr E& error() & noexcept {
    demand_error();
    return error_;
  }
  [[nodiscard]] constexpr const E& error() const& noexcept {
    demand_error();
    return error_;
  }
  [[nodiscard]] constexpr E&& error() && noexcept {
    demand_error();
    return std::move(error_);
  }

  // and_then: what function(value) returns, an Expected<U, E>; or the error.
  template <typename F>
  constexpr auto and_then(F&& function) & {
    return and_then_of(*this, std::forward<F>(function));
  }
  template <typename F>
  constexpr auto and_then(F&& function) const& {
    return and_then_of(*this, std::forward<F>(function));
  }
  template <typename F>
  constexpr auto and_then(F&& function) && {
    return and_then_of(std::move(*this), std::forward<F>(function));
  }

  // transform: an Expected<U, E> of what function(value) returns; or the error.
  template <typename F>
  constexpr auto transform(F&& function) & {
    return transform_of(*this, std::forward<F>(function));
  }
  template <typename F>
  constexpr auto transform(F&& function) const& {
    return transform_of(*this, std::forward<F>(function));
  }
  template <typename F>
  constexpr auto transform(F&& function) && {
    return transform_of(std::move(*this), std::forward<F>(function));
  }

  // or_else: the value; or what function(error) returns, an Expected<T, G>.
  template <typename F>
  constexpr auto or_else(F&& function) & {
    return or_else_of(*this, std::forward<F>(function));
  }
  template <typename F>
  constexpr auto or_else(F&& function) const& {
    return or_else_of(*this, std::forward<F>(function));
  }
  template <typename F>
  constexpr auto or_else(F&& function) && {
    return or_else_of(std::move(*this), std::forward<F>(function));
  }

  // transform_error: the value; or an Expected<T, G> of what function(error) returns.
  template <typename F>
  constexpr auto transform_error(F&& function) & {
    return transform_error_of(*this, std::forward<F>(function));
  }
  template <typename F>
  constexpr auto transform_error(F&& function) const& {
    return transform_error_of(*this, std::forward<F>(function));
  }
  template <typename F>
  constexpr auto transform_error(F&& function) && {
    return transform_error_of(std::move(*this), std::forward<F>(function));
  }

  // Equal are two equal values, and two equal errors.
  template <typename U, typename G>
  requires(std::is_void_v<U> == kVoid) [[nodiscard]] friend constexpr bool operator==(const Expected& left,
                                                                                      const Expected<U, G>& right) {
    if (left.has_value() != right.has_value()) return false;
    if (!left.has_value()) return left.error() == right.error();
    if constexpr (kVoid) return true;
    else return *left == *right;
  }
  template <typename U>
  requires(!kVoid && !detail::is_expected<U> && !detail::is_unexpected<U>) [[nodiscard]] friend constexpr bool
  operator==(const Expected& left, const U& right) {
    return left.has_value() && *left == right;
  }
  template <typename G>
  [[nodiscard]] friend constexpr bool operator==(const Expected& left, const Unexpected<G>& right) {
    return !left.has_value() && left.error() == right.error();
  }

 private:
  template <typename Other>
  constexpr void construct_from(Other&& other) {
    if (has_value_) std::construct_at(std::addressof(value_), std::forward<Other>(other).value_);
    else std::construct_at(std::addressof(error_), std::forward<Other>(other).error_);
  }
#if defined(__GNUC__) && !defined(__clang__)
// Where g++ (12, -O2) loses sight of has_value_ it takes the side that was never made for one that is read.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
  constexpr void destroy() noexcept {
    if (has_value_) std::destroy_at(std::addressof(value_));
    else std::destroy_at(std::addressof(error_));
  }
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
  constexpr void replace(Expected&& other) noexcept {
    if (has_value_ != other.has_value_) {
      destroy();
      has_value_ = other.has_value_;
      construct_from(std::move(other));
    } else if (has_value_) {
      value_ = std::move(other.value_);
    } else {
      error_ = std::move(other.error_);
    }
  }

  constexpr void demand_value() const noexcept {
    if (has_value_) return;
    constexpr const char* kBroken = "the value of a result was read, which holds an error";
    if constexpr (requires { error_.message().c_str(); }) detail::abort_access(kBroken, error_.message().c_str());
    else detail::abort_access(kBroken, "its error has no message");
  }
  constexpr void demand_error() const noexcept {
    if (has_value_) detail::abort_access("the error of a result was read, which holds a value", "nothing had failed");
  }

  template <typename Self, typename F>
  static constexpr decltype(auto) call_with_value(Self&& self, F&& function) {
    if constexpr (kVoid) return std::forward<F>(function)();
    else return detail::call(std::forward<F>(function), std::forward<Self>(self).value_);
  }
  // The value of `self` as one of To, an Expected with another error.
  template <typename To, typename Self>
  static constexpr To value_of(Self&& self) {
    if constexpr (kVoid) return To();
    else return To(std::forward<Self>(self).value_);
  }

  template <typename Self, typename F>
  static constexpr auto and_then_of(Self&& self, F&& function) {
    using Next = std::remove_cvref_t<decltype(call_with_value(std::forward<Self>(self), std::forward<F>(function)))>;
    static_assert(std::is_same_v<typename Next::error_type, E>, "and_then() wants an Expected with the same error");
    if (self.has_value_) return Next(call_with_value(std::forward<Self>(self), std::forward<F>(function)));
    return Next(Unexpected<E>(std::forward<Self>(self).error_));
  }
  template <typename Self, typename F>
  static constexpr auto transform_of(Self&& self, F&& function) {
    using Value = std::remove_cvref_t<decltype(call_with_value(std::forward<Self>(self), std::forward<F>(function)))>;
    using Next = Expected<Value, E>;
    if (!self.has_value_) return Next(Unexpected<E>(std::forward<Self>(self).error_));
    if constexpr (std::is_void_v<Value>) {
      call_with_value(std::forward<Self>(self), std::forward<F>(function));
      return Next();
    } else {
      return Next(call_with_value(std::forward<Self>(self), std::forward<F>(function)));
    }
  }
  template <typename Self, typename F>
  static constexpr auto or_else_of(Self&& self, F&& function) {
    using Next =
        std::remove_cvref_t<decltype(detail::call(std::forward<F>(function), std::forward<Self>(self).error_))>;
    static_assert(std::is_same_v<typename Next::value_type, T>, "or_else() wants an Expected with the same value");
    if (!self.has_value_) return Next(detail::call(std::forward<F>(function), std::forward<Self>(self).error_));
    return value_of<Next>(std::forward<Self>(self));
  }
  template <typename Self, typename F>
  static constexpr auto transform_error_of(Self&& self, F&& function) {
    using Other =
        std::remove_cvref_t<decltype(detail::call(std::forward<F>(function), std::forward<Self>(self).error_))>;
    using Next = Expected<T, Other>;
    if (self.has_value_) return value_of<Next>(std::forward<Self>(self));
    return Next(Unexpected<Other>(detail::call(std::forward<F>(function), std::forward<Self>(self).error_)));
  }

  union {
    Stored value_;
    E error_;
  };
  bool has_value_;
};

#ifdef __cpp_lib_expected
// The same as a std::expected, where the standard library has that. A function with a name: were it a
// conversion, std::expected<bool, E>(result) would ask whether there is a value, and take that for it.
template <typename T, typename E>
[[nodiscard]] constexpr std::expected<T, E> to_std(Expected<T, E> result) {
  if (!result.has_value()) return std::unexpected<E>(std::move(result).error());
  if constexpr (std::is_void_v<T>) return {};
  else return std::expected<T, E>(std::in_place, *std::move(result));
}
#endif

}  // namespace userfault
