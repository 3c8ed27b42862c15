// SPDX-License-Identifier: Apache-2.0
// A descriptor that outlives the process whose memory it is about.
#include <cerrno>

#include "support/operations.h"
#include "support/process.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

// A child registers memory, hands over the descriptor and ends.
struct Orphan {
  explicit Orphan(const Context& ctx, std::uint64_t modes)
      : map(ctx, 2),
        child([&, modes](int socket) {
          const Uffd own(ctx);
          own.must_register(map.all(), modes);
          send_fd(socket, own.fd());
          receive_byte(socket);
        }),
        uffd(receive_fd(child.socket())) {}

  void end_child() {
    send_byte(child.socket());
    child.join();
  }

  Mapping map;
  ChildProcess child;
  Uffd uffd;
};

CONFORMANCE_TEST(ExitedProcess, FillingIsEsrch, "GEN-08 REAL-15", Backings::kAll) {
  Orphan orphan(ctx, kMissing);
  const auto source = pattern(orphan.map.size(), 1);
  // As long as it lives, its memory is filled from here.
  EXPECT_EQ(orphan.uffd.copy(orphan.map.range(1, 1), source.data()), Done(orphan.map.page_size()));
  orphan.end_child();
  for (const Filling& filling : fillings(ctx)) {
    if (filling.request == USERFAULT_IOC_MOVE) continue;
    EXPECT_EQ(filling.call(orphan.uffd, orphan.map.range(0, 1), orphan.map.page(1), 0), Fails(ESRCH)) << filling.name;
    EXPECT_EQ(filling.call(orphan.uffd, orphan.map.all(), orphan.map.page(0), filling.dontwake), Fails(ESRCH))
        << filling.name;
    // The arguments are checked first.
    Range bad = orphan.map.all();
    bad.start += 1;
    EXPECT_EQ(filling.call(orphan.uffd, bad, orphan.map.page(0), 0), Fails(EINVAL)) << filling.name;
  }
}

// MOVE takes the caller's own pages, so it refuses another process's memory, alive or not.
CONFORMANCE_TEST(ExitedProcess, MoveIsNeverBetweenProcesses, "MOVE-01 GEN-08 REAL-56", Backings::kPrivate) {
  ctx.require(USERFAULT_FEATURE_MOVE);
  Orphan orphan(ctx, kMissing);
  const Mapping source(ctx, 1);
  fill_pattern(source.page(0), source.size(), 1);
  EXPECT_EQ(orphan.uffd.move(orphan.map.range(0, 1), source.page(0)), Fails(EINVAL));
  orphan.end_child();
  EXPECT_EQ(orphan.uffd.move(orphan.map.range(0, 1), source.page(0)), Fails(EINVAL));
  expect_pattern(source.page(0), source.size(), 1);
}

CONFORMANCE_TEST(ExitedProcess, TheRest, "GEN-08 REAL-15", Backings::kAll) {
  require_modes(ctx, kMissing | kWp);
  Orphan orphan(ctx, kMissing | kWp);
  orphan.end_child();
  EXPECT_EQ(orphan.uffd.register_range(orphan.map.all(), kMissing), Fails(ENOMEM));
  EXPECT_EQ(orphan.uffd.unregister(orphan.map.all()), Fails(ENOMEM));
  EXPECT_EQ(orphan.uffd.writeprotect(orphan.map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Fails(ESRCH));
  EXPECT_EQ(orphan.uffd.writeprotect(orphan.map.all(), 0), Fails(ESRCH));
  EXPECT_EQ(orphan.uffd.wake(orphan.map.all()), Succeeds());
  orphan.uffd.expect_no_message();
}

}  // namespace
}  // namespace userfault::conformance
