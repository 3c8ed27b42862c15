// SPDX-License-Identifier: Apache-2.0
// While a change of the layout has been announced and is not over, pages cannot be filled.
#include <sys/mman.h>

#include <array>
#include <cerrno>

#include "support/operations.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr Setup kSetup{.features = USERFAULT_FEATURE_EVENT_REMOVE};

// A thread that drops a registered page, and waits for the monitor to hear of it.
class Pending {
 public:
  Pending(const Context& ctx, const Uffd& uffd) : uffd_(uffd), map_(registered(ctx, uffd)), dropper_(drop(map_)) {
    pollfd entry{uffd.fd(), POLLIN, 0};
    if (userfault_poll(&entry, 1, 10000) != 1) throw Broken("no event came");
  }
  // Reads the event, and waits until the thread is through.
  void end() {
    const userfault_msg message = uffd_.next_message();
    EXPECT_EQ(message.event, USERFAULT_EVENT_REMOVE);
    const Range removed{message.arg.remove.start, message.arg.remove.end - message.arg.remove.start};
    EXPECT_EQ(removed, map_.all());
    dropper_.join();
  }

 private:
  static Mapping registered(const Context& ctx, const Uffd& uffd) {
    Mapping map(ctx, 1);
    uffd.must_register(map.all(), kMissing);
    return map;
  }
  static Task drop(const Mapping& map) {
    return Task([map] { EXPECT_EQ(userfault_madvise(map.page(0), map.size(), MADV_DONTNEED), 0); });
  }

  const Uffd& uffd_;
  Mapping map_;
  Task dropper_;
};

CONFORMANCE_TEST(PendingEvent, FillingIsEagain, "REAL-09 REAL-33 REAL-13 GEN-05", Backings::kAll) {
  const Uffd uffd(ctx, kSetup);
  for (const Filling& filling : fillings(ctx)) {
    const Ground ground(ctx, uffd, filling, 1);
    Faulter faulter = expect_read_faults(uffd, ground.map.page(0), filling.modes == kMinor ? kFaultMinor : 0);
    Pending pending(ctx, uffd);
    EXPECT_EQ(ground.call(uffd, 0, 1), Fails(EAGAIN, -EAGAIN)) << filling.name;
    EXPECT_EQ(ground.call(uffd, 0, 1, filling.dontwake), Fails(EAGAIN, -EAGAIN)) << filling.name;
    faulter.expect_waiting();
    pending.end();
    EXPECT_EQ(ground.call(uffd, 0, 1), Done(ground.map.page_size())) << filling.name;
    ground.expect_filled(0);
    EXPECT_EQ(faulter.join().sigbus, filling.request == USERFAULT_IOC_POISON);
  }
}

// It is the first thing that is looked at: before the arguments.
CONFORMANCE_TEST(PendingEvent, EagainComesBeforeTheArguments, "REAL-33", Backings::kAll) {
  const Uffd uffd(ctx, kSetup);
  const Mapping map(ctx, 1);
  Pending pending(ctx, uffd);
  for (const Filling& filling : fillings(ctx)) {
    EXPECT_EQ(filling.call(uffd, {0, 0}, nullptr, 0), Fails(EAGAIN, -EAGAIN)) << filling.name;
    EXPECT_EQ(filling.call(uffd, {map.all().start + 1, 1}, nullptr, ~std::uint64_t{0}), Fails(EAGAIN, -EAGAIN))
        << filling.name;
    EXPECT_EQ(uffd.raw(filling.request, nullptr), Fails(EFAULT)) << filling.name;
  }
  pending.end();
  for (const Filling& filling : fillings(ctx))
    EXPECT_EQ(filling.call(uffd, {0, 0}, nullptr, 0), Fails(EINVAL)) << filling.name;
}

CONFORMANCE_TEST(PendingEvent, WriteprotectIsEagain, "REAL-09 WP-05", Backings::kAll) {
  require_modes(ctx, kWp);
  const Uffd uffd(ctx, kSetup);
  Mapping map(ctx, 1);
  uffd.must_register(map.all(), kWp);
  expect_writable(uffd, map.page(0));
  Pending pending(ctx, uffd);
  EXPECT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Fails(EAGAIN));
  EXPECT_EQ(uffd.writeprotect(map.all(), 0), Fails(EAGAIN));
  pending.end();
  expect_writable(uffd, map.page(0));
  EXPECT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite | kFaultWp, 7);
  EXPECT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
}

CONFORMANCE_TEST(PendingEvent, TheRestGoesOn, "REAL-09", Backings::kAll) {
  const Uffd uffd(ctx, kSetup);
  Mapping map(ctx, 2);
  uffd.must_register(map.range(0, 1), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  Pending pending(ctx, uffd);
  EXPECT_EQ(uffd.wake(map.range(0, 1)), Succeeds());
  EXPECT_EQ(uffd.register_range(map.all(), kMissing).result, 0);
  EXPECT_EQ(uffd.unregister(map.all()), Succeeds());
  EXPECT_EQ(faulter.join().value, 0u);
  // The thread that was woken may have faulted once more before its range was let go.
  auto message = uffd.next_message();
  if (message.event == USERFAULT_EVENT_PAGEFAULT) message = uffd.next_message();
  EXPECT_EQ(message.event, USERFAULT_EVENT_REMOVE);
}

}  // namespace
}  // namespace userfault::conformance
