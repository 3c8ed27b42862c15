// SPDX-License-Identifier: Apache-2.0
#include "support/uffd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <ostream>
#include <string>

#include "support/task.h"

namespace userfault::conformance {
namespace {

std::string error_name(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : std::to_string(error);
}

Outcome outcome(int result, int error, std::int64_t output = kUntouched) {
  return {result, result == 0 ? 0 : error, output};
}

std::uint64_t number(const void* address) { return reinterpret_cast<std::uint64_t>(address); }

// The kernel writes nothing but the output field; a caller may reuse the struct.
template <typename Argument>
Outcome operate(int fd, unsigned long request, const Argument& input, std::int64_t Argument::*output) {
  Argument argument = input;
  argument.*output = kUntouched;
  const int result = userfault_ioctl(fd, request, &argument);
  const int error = errno;
  const std::int64_t written = argument.*output;
  argument.*output = input.*output;
  EXPECT_EQ(std::memcmp(&argument, &input, sizeof input), 0) << "an input field was changed";
  return outcome(result, error, written);
}

userfault_range raw_range(Range range) { return {range.start, range.length}; }

void expect_page_fault(const userfault_msg& message, const void* page, std::uint64_t flags) {
  EXPECT_EQ(message.event, USERFAULT_EVENT_PAGEFAULT);
  const std::uint64_t address = message.arg.pagefault.address;
  const std::uint64_t seen = message.arg.pagefault.flags;
  EXPECT_EQ(address, number(page)) << std::hex << "the message is about " << address << ", not " << number(page);
  EXPECT_EQ(seen, flags);
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const Outcome& outcome) {
  stream << (outcome.result == 0 ? "success" : error_name(outcome.error));
  if (outcome.result != 0 && outcome.result != -1) stream << " (result " << outcome.result << ")";
  if (outcome.output == kUntouched) return stream << ", output untouched";
  return stream << ", output " << outcome.output << std::hex << " (0x" << outcome.output << ")" << std::dec;
}

Outcome Done(std::size_t bytes) { return {0, 0, static_cast<std::int64_t>(bytes)}; }
Outcome Succeeds() { return {0, 0, kUntouched}; }
Outcome Fails(int error, std::int64_t output) { return {-1, error, output}; }

Uffd::Uffd(const Context& context, const Setup& setup) {
  context.require(setup.features);
  const int flags = O_CLOEXEC | context.open_flags | setup.flags | (setup.nonblocking ? O_NONBLOCK : 0);
  fd_ = userfault_open(context.engine, flags);
  if (fd_ < 0) throw Broken("userfault_open: " + error_name(errno));
  if (!setup.handshake) return;
  api_ = {USERFAULT_API, setup.features, 0};
  if (userfault_ioctl(fd_, USERFAULT_IOC_API, &api_) == 0) return;
  const int error = errno;
  close();
  if (error == EPERM && (setup.features & USERFAULT_FEATURE_EVENT_FORK) != 0)
    throw Skip("EVENT_FORK needs CAP_SYS_PTRACE");
  throw Broken("UFFDIO_API with " + feature_names(setup.features) + ": " + error_name(error));
}

int Uffd::release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

int Uffd::close() {
  const int fd = release();
  return fd < 0 ? 0 : userfault_close(fd);
}

Outcome Uffd::register_range(Range range, std::uint64_t mode) const {
  userfault_register argument{raw_range(range), mode, static_cast<std::uint64_t>(kUntouched)};
  const int result = userfault_ioctl(fd_, USERFAULT_IOC_REGISTER, &argument);
  return outcome(result, errno, static_cast<std::int64_t>(argument.ioctls));
}

Outcome Uffd::unregister(Range range) const {
  userfault_range argument = raw_range(range);
  return raw(USERFAULT_IOC_UNREGISTER, &argument);
}

Outcome Uffd::copy(Range to, const void* from, std::uint64_t mode) const {
  const userfault_copy argument{to.start, number(from), to.length, mode, 0};
  return operate(fd_, USERFAULT_IOC_COPY, argument, &userfault_copy::copy);
}

Outcome Uffd::zeropage(Range range, std::uint64_t mode) const {
  const userfault_zeropage argument{raw_range(range), mode, 0};
  return operate(fd_, USERFAULT_IOC_ZEROPAGE, argument, &userfault_zeropage::zeropage);
}

Outcome Uffd::wake(Range range) const {
  userfault_range argument = raw_range(range);
  return raw(USERFAULT_IOC_WAKE, &argument);
}

Outcome Uffd::writeprotect(Range range, std::uint64_t mode) const {
  userfault_writeprotect argument{raw_range(range), mode};
  return raw(USERFAULT_IOC_WRITEPROTECT, &argument);
}

Outcome Uffd::map_cached(Range range, std::uint64_t mode) const {
  const userfault_continue argument{raw_range(range), mode, 0};
  return operate(fd_, USERFAULT_IOC_CONTINUE, argument, &userfault_continue::mapped);
}

Outcome Uffd::poison(Range range, std::uint64_t mode) const {
  const userfault_poison argument{raw_range(range), mode, 0};
  return operate(fd_, USERFAULT_IOC_POISON, argument, &userfault_poison::updated);
}

Outcome Uffd::move(Range to, const void* from, std::uint64_t mode) const {
  const userfault_move argument{to.start, number(from), to.length, mode, 0};
  return operate(fd_, USERFAULT_IOC_MOVE, argument, &userfault_move::move);
}

Outcome Uffd::raw(unsigned long request, void* argument) const {
  const int result = userfault_ioctl(fd_, request, argument);
  return outcome(result, errno);
}

void Uffd::must_register(Range range, std::uint64_t mode) const {
  const Outcome outcome = register_range(range, mode);
  if (outcome.result != 0) throw Broken("UFFDIO_REGISTER: " + error_name(outcome.error));
}

void Uffd::fill_with_zeros(Range range) const {
  const std::vector<char> zeros(range.length);
  const Outcome filled = copy(range, zeros.data());
  if (filled.result != 0) throw Broken("UFFDIO_COPY of zeros: " + error_name(filled.error));
}

std::optional<userfault_msg> Uffd::message_now() const {
  userfault_msg message;
  const ssize_t bytes = userfault_read(fd_, &message, sizeof message);
  if (bytes == sizeof message) return message;
  if (bytes >= 0) throw Broken("a read of " + std::to_string(bytes) + " bytes");
  if (errno != EAGAIN) throw Broken("userfault_read: " + error_name(errno));
  return std::nullopt;
}

userfault_msg Uffd::next_message() const {
  const auto end = std::chrono::steady_clock::now() + kDeadline;
  while (std::chrono::steady_clock::now() < end) {
    pollfd entry{fd_, POLLIN, 0};
    if (userfault_poll(&entry, 1, 1000) < 0 && errno != EINTR) throw Broken("userfault_poll: " + error_name(errno));
    if (entry.revents & (POLLERR | POLLNVAL)) throw Broken("poll reports an error of the descriptor");
    if (const auto message = message_now()) return *message;
  }
  throw Broken("no message came");
}

void Uffd::expect_no_message() const {
  const auto message = message_now();
  EXPECT_FALSE(message.has_value()) << "unexpected message, event " << std::hex << int{message->event};
}

userfault_msg Uffd::expect_fault(const void* page, std::uint64_t flags) const {
  const userfault_msg message = next_message();
  expect_page_fault(message, page, flags);
  return message;
}

Faulter expect_read_faults(const Uffd& uffd, const void* page, std::uint64_t flags) {
  Faulter faulter = Faulter::read(page);
  uffd.expect_fault(page, flags);
  return faulter;
}

Faulter expect_write_faults(const Uffd& uffd, void* page, std::uint64_t flags, std::uint64_t value) {
  Faulter faulter = Faulter::write(page, value);
  uffd.expect_fault(page, flags);
  return faulter;
}

std::uint64_t expect_readable(const Uffd& uffd, const void* page) {
  const Touch touch = Faulter::read(page).join();
  EXPECT_FALSE(touch.sigbus);
  uffd.expect_no_message();
  return touch.value;
}

void expect_writable(const Uffd& uffd, void* page, std::uint64_t value) {
  EXPECT_FALSE(Faulter::write(page, value).join().sigbus);
  uffd.expect_no_message();
}

}  // namespace userfault::conformance
