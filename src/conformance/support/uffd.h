// SPDX-License-Identifier: Apache-2.0
// A descriptor under test, and its operations as values that can be compared.
//
//   EXPECT_EQ(uffd.copy(map.range(0, 1), source), Done(map.page_size()));
//   EXPECT_EQ(uffd.copy(map.range(0, 1), source), Fails(EEXIST, -EEXIST));
//   EXPECT_EQ(uffd.wake(map.all()), Succeeds());
//
// Before each call the output field holds kUntouched, a value that no kernel writes: so that every
// test sees whether the field was written, and that its old value did not matter.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>

#include "support/context.h"
#include "support/mapping.h"

namespace userfault::conformance {

inline constexpr std::int64_t kUntouched = 0x5a5a5a5a5a5a5a5a;

// What an operation returned, its errno (0 when it returned 0) and its output field.
struct Outcome {
  int result = 0;
  int error = 0;
  std::int64_t output = kUntouched;

  friend bool operator==(const Outcome&, const Outcome&) = default;
  friend std::ostream& operator<<(std::ostream& stream, const Outcome& outcome);
};

// It did all of `bytes`.
[[nodiscard]] Outcome Done(std::size_t bytes);
// It succeeded and has no output field.
[[nodiscard]] Outcome Succeeds();
// It failed; without `output` the output field, if there is one, was left alone.
[[nodiscard]] Outcome Fails(int error, std::int64_t output = kUntouched);

struct Setup {
  std::uint64_t features = 0;
  // Beside the context's.
  int flags = 0;
  // Off: the test does the handshake itself.
  bool handshake = true;
  bool nonblocking = true;
};

class Uffd {
 public:
  // Opens and shakes hands. Throws Skip when the engine lacks a feature or the user a privilege.
  explicit Uffd(const Context& context, const Setup& setup = {});
  // Takes over a descriptor that came in a message or from another process.
  explicit Uffd(int fd) : fd_(fd) {}
  Uffd(Uffd&& other) noexcept : fd_(other.release()), api_(other.api_) {}
  Uffd(const Uffd&) = delete;
  Uffd& operator=(const Uffd&) = delete;
  Uffd& operator=(Uffd&&) = delete;
  ~Uffd() { close(); }

  [[nodiscard]] int fd() const { return fd_; }
  int release();
  // What the handshake answered.
  [[nodiscard]] const userfault_api& api() const { return api_; }

  // Output: the `ioctls` word. Every wrapper also checks that the input fields were left alone.
  Outcome register_range(Range range, std::uint64_t mode) const;
  Outcome unregister(Range range) const;
  Outcome copy(Range to, const void* from, std::uint64_t mode = 0) const;
  Outcome zeropage(Range range, std::uint64_t mode = 0) const;
  Outcome wake(Range range) const;
  Outcome writeprotect(Range range, std::uint64_t mode) const;
  Outcome map_cached(Range range, std::uint64_t mode = 0) const;  // UFFDIO_CONTINUE
  Outcome poison(Range range, std::uint64_t mode = 0) const;
  Outcome move(Range to, const void* from, std::uint64_t mode = 0) const;
  // Any request with any argument; no output field.
  Outcome raw(unsigned long request, void* argument) const;

  // register_range that throws Broken when it fails: for tests that are about something else.
  void must_register(Range range, std::uint64_t mode) const;

  // Fills missing pages with zeros by COPY, which every backing offers, and wakes; throws Broken when
  // that fails. For tests that are about something else.
  void fill_with_zeros(Range range) const;

  // The next message; throws Broken when none comes.
  [[nodiscard]] userfault_msg next_message() const;
  // A message that is there now.
  [[nodiscard]] std::optional<userfault_msg> message_now() const;
  // Nothing is there to read.
  void expect_no_message() const;
  // The next message is a page fault of that page with exactly these flags.
  userfault_msg expect_fault(const void* page, std::uint64_t flags) const;

  // Idempotent; the destructor calls it.
  int close();

 private:
  int fd_;
  userfault_api api_{};
};

// A thread that reads `page` blocks with a missing (`flags` 0) or minor fault; the caller resolves
// it and joins the Faulter.
class Faulter;
[[nodiscard]] Faulter expect_read_faults(const Uffd& uffd, const void* page, std::uint64_t flags = 0);
[[nodiscard]] Faulter expect_write_faults(const Uffd& uffd, void* page, std::uint64_t flags, std::uint64_t value = 1);
// A read of the page goes through at once, without a message; what it read.
std::uint64_t expect_readable(const Uffd& uffd, const void* page);
void expect_writable(const Uffd& uffd, void* page, std::uint64_t value = 1);

}  // namespace userfault::conformance
