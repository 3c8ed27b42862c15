// SPDX-License-Identifier: Apache-2.0
// A monitor in another process: the descriptor is inherited or sent, and means the memory of the
// process that registered.
#include "support/events.h"
#include "support/process.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;

// Reads a fault and fills its page: what a monitor does, `seed` and address known to both.
void serve_one(const Uffd& uffd, const Mapping& map, std::size_t page, std::uint64_t seed) {
  uffd.expect_fault(map.page(page), 0);
  fill_page(uffd, map, page, seed);
}

CONFORMANCE_TEST(DescriptorPassing, InheritedDescriptorServesTheParent, "FD-04", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  ChildProcess monitor([&](int) {
    serve_one(uffd, map, 0, 4);
    serve_one(uffd, map, 1, 5);
  });
  EXPECT_EQ(Faulter::read(map.page(0)).join().value, pattern_word(4, 0));
  EXPECT_EQ(Faulter::read(map.page(1)).join().value, pattern_word(5, 0));
  monitor.join();
  expect_pattern(map.page(0), map.page_size(), 4);
  expect_pattern(map.page(1), map.page_size(), 5);
}

CONFORMANCE_TEST(DescriptorPassing, SentDescriptorServesTheSender, "FD-04", Backings::kAll) {
  Mapping map(ctx, 1);
  ChildProcess monitor([&](int socket) {
    const Uffd received(receive_fd(socket));
    EXPECT_EQ(userfault_engine_of(received.fd()) >= 0, true);
    serve_one(received, map, 0, 4);
  });
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  send_fd(monitor.socket(), uffd.fd());
  EXPECT_EQ(Faulter::read(map.page(0)).join().value, pattern_word(4, 0));
  monitor.join();
}

// The monitor is often the parent, which gets the descriptor from the child it serves.
CONFORMANCE_TEST(DescriptorPassing, ParentServesTheChild, "FD-04", Backings::kPrivate | Backings::kHugetlbPrivate) {
  Mapping map(ctx, 1);
  ChildProcess served([&](int socket) {
    Uffd uffd(ctx);
    uffd.must_register(map.all(), kMissing);
    send_fd(socket, uffd.fd());
    expect_pattern(map.page(0), map.page_size(), 6);
    receive_byte(socket);
  });
  const Uffd uffd(receive_fd(served.socket()));
  serve_one(uffd, map, 0, 6);
  expect_zero(map.page(0), map.page_size());
  send_byte(served.socket());
  served.join();
}

// Every operation goes where the memory is: register, protect, wake and unregister from outside.
CONFORMANCE_TEST(DescriptorPassing, OtherProcessUsesEveryKindOfOperation, "FD-04", Backings::kPrivate) {
  ctx.require(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP);
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  ChildProcess monitor([&](int socket) {
    uffd.must_register(map.all(), kMissing | USERFAULT_REGISTER_MODE_WP);
    fill_page(uffd, map, 0, 4);
    EXPECT_EQ(uffd.writeprotect(map.range(0, 1), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
    send_byte(socket);
    uffd.expect_fault(map.page(0), USERFAULT_PAGEFAULT_FLAG_WP | USERFAULT_PAGEFAULT_FLAG_WRITE);
    EXPECT_EQ(uffd.writeprotect(map.range(0, 1), USERFAULT_WRITEPROTECT_MODE_DONTWAKE), Succeeds());
    EXPECT_EQ(uffd.wake(map.range(0, 1)), Succeeds());
    uffd.expect_fault(map.page(1), 0);
    EXPECT_EQ(uffd.zeropage(map.range(1, 1)), Done(map.page_size()));
    receive_byte(socket);
    EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
    send_byte(socket);
  });
  receive_byte(monitor.socket());
  EXPECT_EQ(Faulter::write(map.page(0), 9).join().value, 9u);
  EXPECT_EQ(Faulter::read(map.page(1)).join().value, 0u);
  send_byte(monitor.socket());
  receive_byte(monitor.socket());
  EXPECT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Fails(ENOENT));
  monitor.join();
}

}  // namespace
}  // namespace userfault::conformance
