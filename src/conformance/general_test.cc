// SPDX-License-Identifier: Apache-2.0
// What holds for every operation: the argument pointer, the order of the checks, unknown requests.
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "support/test.h"

namespace userfault::conformance {
namespace {

struct Request {
  const char* name;
  unsigned long number;
  std::size_t size;
  bool has_output;
};

constexpr std::array kRequests{
    Request{"REGISTER", USERFAULT_IOC_REGISTER, sizeof(userfault_register), true},
    Request{"UNREGISTER", USERFAULT_IOC_UNREGISTER, sizeof(userfault_range), false},
    Request{"WAKE", USERFAULT_IOC_WAKE, sizeof(userfault_range), false},
    Request{"COPY", USERFAULT_IOC_COPY, sizeof(userfault_copy), true},
    Request{"ZEROPAGE", USERFAULT_IOC_ZEROPAGE, sizeof(userfault_zeropage), true},
    Request{"MOVE", USERFAULT_IOC_MOVE, sizeof(userfault_move), true},
    Request{"WRITEPROTECT", USERFAULT_IOC_WRITEPROTECT, sizeof(userfault_writeprotect), false},
    Request{"CONTINUE", USERFAULT_IOC_CONTINUE, sizeof(userfault_continue), true},
    Request{"POISON", USERFAULT_IOC_POISON, sizeof(userfault_poison), true},
};

bool offered(const Context& ctx, const Request& request) {
  switch (request.number) {
    case USERFAULT_IOC_MOVE: return ctx.has(USERFAULT_FEATURE_MOVE);
    case USERFAULT_IOC_POISON: return ctx.has(USERFAULT_FEATURE_POISON);
    case USERFAULT_IOC_WRITEPROTECT: return ctx.has(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP);
    case USERFAULT_IOC_CONTINUE: return ctx.has(USERFAULT_FEATURE_MINOR_SHMEM);
    default: return true;
  }
}

// Two pages, the second of which is not there to be read.
char* page_before_a_hole() {
  auto* memory = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ::munmap(memory + 4096, 4096);
  return memory;
}

CONFORMANCE_TEST(General, ArgumentOutOfReach, "GEN-01 GEN-03", Backings::kNone) {
  Uffd uffd(ctx);
  char* page = page_before_a_hole();
  const std::array<char*, 5> addresses{nullptr, page + 4096, page + 4096 - 8,
                                       reinterpret_cast<char*>(~std::uintptr_t{0} - 4095),
                                       reinterpret_cast<char*>(std::uintptr_t{1} << 63)};
  for (const Request& request : kRequests) {
    if (!offered(ctx, request)) continue;
    for (char* address : addresses)
      EXPECT_EQ(uffd.raw(request.number, address), Fails(EFAULT))
          << request.name << " at " << static_cast<void*>(address);
  }
  for (char* address : addresses) EXPECT_EQ(uffd.raw(USERFAULT_IOC_API, address), Fails(EFAULT));
}

// What can be read but not written to: the operation is done, cannot say so, and wakes nobody.
CONFORMANCE_TEST(General, ArgumentReadOnly, "GEN-01 GEN-04 REAL-60", Backings::kNone) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(map.page_size(), 1);
  auto* argument =
      static_cast<userfault_copy*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  *argument = {map.range(0, 1).start, reinterpret_cast<std::uintptr_t>(source.data()), map.page_size(), 0, 0};
  ::mprotect(argument, 4096, PROT_READ);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  EXPECT_EQ(uffd.raw(USERFAULT_IOC_COPY, argument), Fails(EFAULT));
  expect_pattern(map.page(0), map.page_size(), 1);
  faulter.expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  EXPECT_EQ(faulter.join().value, pattern_word(1, 0));
}

CONFORMANCE_TEST(General, BeforeTheHandshake, "GEN-02 GEN-03", Backings::kNone) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.handshake = false});
  alignas(8) std::array<char, 64> argument;
  for (const Request& request : kRequests) {
    // The answer does not depend on the argument, which is not even looked at.
    argument.fill(0);
    EXPECT_EQ(uffd.raw(request.number, argument.data()), Fails(EINVAL)) << request.name;
    EXPECT_EQ(uffd.raw(request.number, nullptr), Fails(EINVAL)) << request.name;
  }
  EXPECT_EQ(uffd.register_range(map.all(), kMissing), Fails(EINVAL));
  EXPECT_EQ(uffd.wake(map.all()), Fails(EINVAL));
  // The refusals did not spoil it.
  userfault_api api{USERFAULT_API, 0, 0};
  EXPECT_EQ(uffd.raw(USERFAULT_IOC_API, &api), Succeeds());
  uffd.must_register(map.all(), kMissing);
}

CONFORMANCE_TEST(General, AfterAFailedHandshake, "GEN-02 API-09", Backings::kNone) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.handshake = false});
  userfault_api api{USERFAULT_API + 1, 0, 0};
  EXPECT_EQ(uffd.raw(USERFAULT_IOC_API, &api), Fails(EINVAL));
  EXPECT_EQ(uffd.register_range(map.all(), kMissing), Fails(EINVAL));
}

CONFORMANCE_TEST(General, UnknownRequests, "GEN-03", Backings::kNone) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  alignas(8) std::array<std::uint64_t, 8> argument{map.all().start, map.all().length};
  const auto copy_number = USERFAULT_IOC_COPY;
  const std::array<unsigned long, 5> unknown{
      (copy_number & ~0xffUL) | 0x3e,  // a number that no operation has
      copy_number & ~(3UL << 30),      // no direction
      copy_number - (8UL << 16),       // a shorter struct
      copy_number ^ (1UL << 8),        // another type
      USERFAULT_DEV_IOC_NEW,           // belongs to the device, not to a descriptor
  };
  for (const unsigned long request : unknown) {
    EXPECT_EQ(uffd.raw(request, argument.data()), Fails(EINVAL)) << std::hex << request;
    EXPECT_EQ(uffd.raw(request, nullptr), Fails(EINVAL)) << std::hex << request;
  }
  EXPECT_EQ(argument[0], map.all().start);
  EXPECT_EQ(argument[1], map.all().length);
}

CONFORMANCE_TEST(General, NotADescriptor, "GEN-03", Backings::kNone) {
  userfault_range range{4096, 4096};
  EXPECT_EQ(Uffd(-1).raw(USERFAULT_IOC_WAKE, &range), Fails(EBADF));
  Uffd uffd(ctx);
  const int number = uffd.fd();
  uffd.close();
  errno = 0;
  EXPECT_EQ(userfault_ioctl(number, USERFAULT_IOC_WAKE, &range), -1);
  EXPECT_EQ(errno, EBADF);
}

}  // namespace
}  // namespace userfault::conformance
