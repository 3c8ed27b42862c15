// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_EVENT_FORK and UFFD_EVENT_FORK: the child's memory under a descriptor of its own.
//
// The forking thread waits until the event is read, so it is a Task; it also keeps the child, since
// a child of the suite dies with the thread that made it.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/events.h"
#include "support/process.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kFork = USERFAULT_FEATURE_EVENT_FORK;
constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;

// With the kernel's engine ThreadSanitizer's locks are taken while fork(2) waits for the monitor, whose
// next call needs them. The user engine waits before.
Uffd open_for_forks(const Context& ctx, std::uint64_t features = 0) {
  if (!ctx.stand_in) skip_under_thread_sanitizer("fork(2) waits for the monitor and holds locks that it needs");
  return Uffd(ctx, {.features = kFork | features});
}

// Forks in a thread of its own and stays until the child has ended.
Task fork_in_thread(std::function<void(int socket)> body) {
  return Task([body = std::move(body)] {
    ChildProcess child(body);
    child.join();
  });
}

CONFORMANCE_TEST(EventFork, ChildsFaultsComeThroughTheChildsDescriptor, "FEAT-01", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd = open_for_forks(ctx);
  uffd.must_register(map.all(), kMissing);
  Task forking = fork_in_thread([&](int) { expect_pattern(map.page(1), map.page_size(), 5); });
  Uffd child = expect_forked(uffd);
  child.expect_fault(map.page(1), 0);
  uffd.expect_no_message();
  fill_page(child, map, 1, 5);
  forking.join();
}

// The two have the same addresses; private memory that is filled through one descriptor stays
// missing for the other.
CONFORMANCE_TEST(EventFork, MonitorFillsTheChildsMemoryNotTheParents, "FEAT-01",
                 Backings::kPrivate | Backings::kHugetlbPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd = open_for_forks(ctx);
  uffd.must_register(map.all(), kMissing);
  Task forking = fork_in_thread([&](int) { expect_pattern(map.page(0), map.page_size(), 8); });
  Uffd child = expect_forked(uffd);
  fill_page(child, map, 0, 8);
  forking.join();

  Faulter faulter = expect_read_faults(uffd, map.page(0));
  fill_page(uffd, map, 0, 9);
  faulter.join();
  expect_pattern(map.page(0), map.page_size(), 9);
}

CONFORMANCE_TEST(EventFork, ForkWaitsForTheReader, "MSG-04 FEAT-01", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd = open_for_forks(ctx);
  uffd.must_register(map.all(), kMissing);
  Task forking = fork_in_thread([](int) {});
  forking.expect_waiting_for_reader();
  Uffd child = expect_forked(uffd);
  forking.join();
}

// The child's descriptor is a whole one: of the same engine, with the parent's flags, and its own
// fork is told through it.
CONFORMANCE_TEST(EventFork, ChildsDescriptorIsAWholeOne, "FEAT-01", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd = open_for_forks(ctx);
  uffd.must_register(map.all(), kMissing);
  Task forking = fork_in_thread([&](int) {
    ChildProcess grandchild([&](int) { expect_pattern(map.page(0), map.page_size(), 3); });
    grandchild.join();
  });
  Uffd child = expect_forked(uffd);
  EXPECT_EQ(userfault_engine_of(child.fd()), userfault_engine_of(uffd.fd()));
  EXPECT_EQ(::fcntl(child.fd(), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
  userfault_api again{USERFAULT_API, 0, 0};
  EXPECT_EQ(child.raw(USERFAULT_IOC_API, &again), Fails(EINVAL)) << "the handshake is done";
  Uffd grandchild = expect_forked(child);
  fill_page(grandchild, map, 0, 3);
  forking.join();
}

CONFORMANCE_TEST(EventFork, WithoutItTheChildIsNotWatched, "REAL-23 FEAT-01", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  ChildProcess child([&](int) { expect_zero(map.page(0), map.page_size()); });
  child.join();
  uffd.expect_no_message();
}

// Without the event an inherited descriptor goes on meaning the memory of the process that made it.
CONFORMANCE_TEST(EventFork, WithoutItAnInheritedDescriptorMeansTheParent, "REAL-23 FD-04",
                 Backings::kPrivate | Backings::kHugetlbPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(map.page_size(), 4);
  ChildProcess child([&](int) {
    EXPECT_EQ(uffd.copy(map.all(), source.data()), Done(map.page_size()));
    expect_zero(map.page(0), map.page_size());
  });
  child.join();
  expect_readable(uffd, map.page(0));
  expect_pattern(map.page(0), map.page_size(), 4);
}

CONFORMANCE_TEST(EventFork, ChildGetsSigbusWhereTheParentWould, "REAL-41 FEAT-07", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd = open_for_forks(ctx, USERFAULT_FEATURE_SIGBUS);
  uffd.must_register(map.all(), kMissing);
  Task forking = fork_in_thread([&](int) { EXPECT_TRUE(touch_read(map.page(0)).sigbus); });
  Uffd child = expect_forked(uffd);
  forking.join();
  child.expect_no_message();
}

// vfork shares the memory: there is no second one to tell of.
CONFORMANCE_TEST(EventFork, VforkTellsNothing, "REAL-25", Backings::kPrivate) {
  skip_under_thread_sanitizer("vfork(2) is a fork(2)");
  Mapping map(ctx, 1);
  Uffd uffd = open_for_forks(ctx);
  uffd.must_register(map.all(), kMissing);
  const pid_t child = ::vfork();
  if (child == 0) ::_exit(0);
  ASSERT_GT(child, 0);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  uffd.expect_no_message();
}

}  // namespace
}  // namespace userfault::conformance
