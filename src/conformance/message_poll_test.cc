// SPDX-License-Identifier: Apache-2.0
// poll(2), select(2) and epoll(7) on a userfaultfd.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;
constexpr int kDeadlineMs = 10000;

short polled(const Uffd& uffd, int timeout_ms, short events = POLLIN) {
  pollfd entry{uffd.fd(), events, 0};
  const int ready = userfault_poll(&entry, 1, timeout_ms);
  EXPECT_EQ(ready, entry.revents != 0 ? 1 : 0);
  return entry.revents;
}

int selected(const Uffd& uffd, int timeout_s) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(uffd.fd(), &set);
  timeval timeout{timeout_s, 0};
  return ::select(uffd.fd() + 1, &set, nullptr, nullptr, &timeout);
}

int epolled(const Uffd& uffd, epoll_event& event, int timeout_ms) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event interest{};
  interest.events = EPOLLIN;
  EXPECT_EQ(::epoll_ctl(epoll, EPOLL_CTL_ADD, uffd.fd(), &interest), 0);
  const int count = ::epoll_wait(epoll, &event, 1, timeout_ms);
  ::close(epoll);
  return count;
}

CONFORMANCE_TEST(MessagePoll, SaysThatAMessageIsThere, "MSG-02", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  epoll_event event{};
  EXPECT_EQ(polled(uffd, 0), 0);
  EXPECT_EQ(selected(uffd, 0), 0);
  EXPECT_EQ(epolled(uffd, event, 0), 0);
  Faulter faulter = Faulter::read(map.page(0));
  EXPECT_EQ(polled(uffd, kDeadlineMs), POLLIN);
  EXPECT_EQ(selected(uffd, 10), 1);
  EXPECT_EQ(epolled(uffd, event, kDeadlineMs), 1);
  EXPECT_EQ(event.events, static_cast<std::uint32_t>(EPOLLIN));
  uffd.expect_fault(map.page(0), 0);
  EXPECT_EQ(polled(uffd, 0), 0);
  EXPECT_EQ(selected(uffd, 0), 0);
  uffd.fill_with_zeros(map.all());
  faulter.join();
}

CONFORMANCE_TEST(MessagePoll, WhoWaitsInPollIsWoken, "MSG-02", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Task poller([&] { EXPECT_EQ(polled(uffd, -1), POLLIN); });
  poller.expect_waiting();
  Faulter faulter = Faulter::read(map.page(0));
  poller.join();
  uffd.fill_with_zeros(map.all());
  faulter.join();
}

// The message goes with the fault: what poll has said may no longer be true at the read.
CONFORMANCE_TEST(MessagePoll, SaysNothingOnceTheFaultIsResolved, "MSG-02 REAL-11", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = Faulter::read(map.page(0));
  EXPECT_EQ(polled(uffd, kDeadlineMs), POLLIN);
  uffd.fill_with_zeros(map.all());
  faulter.join();
  EXPECT_EQ(polled(uffd, 0), 0);
  uffd.expect_no_message();
}

CONFORMANCE_TEST(MessagePoll, SaysThatAnEventIsThere, "MSG-02", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_EVENT_UNMAP});
  uffd.must_register(map.all(), kMissing);
  Task unmapping([&] { EXPECT_EQ(userfault_munmap(map.page(0), map.size()), 0); });
  EXPECT_EQ(polled(uffd, kDeadlineMs), POLLIN);
  EXPECT_EQ(uffd.next_message().event, USERFAULT_EVENT_UNMAP);
  unmapping.join();
}

// Polling one that blocks could end in a read that never returns; Linux says POLLERR at once.
CONFORMANCE_TEST(MessagePoll, BlockingDescriptorIsAnError, "MSG-02 REAL-20", Backings::kNone) {
  Uffd uffd(ctx, {.nonblocking = false});
  EXPECT_EQ(polled(uffd, -1), POLLERR);
}

CONFORMANCE_TEST(MessagePoll, BeforeTheHandshakeIsAnError, "MSG-02 REAL-20", Backings::kNone) {
  Uffd uffd(ctx, {.handshake = false});
  EXPECT_EQ(polled(uffd, -1), POLLERR);
  userfault_api api{USERFAULT_API, 0, 0};
  ASSERT_EQ(uffd.raw(USERFAULT_IOC_API, &api), Succeeds());
  EXPECT_EQ(polled(uffd, 0), 0);
}

CONFORMANCE_TEST(MessagePoll, BlockingDescriptorIsAnErrorForEpollToo, "REAL-20", Backings::kNone) {
  ctx.differs_on_user("MSG-02: epoll and select see the stand-in, which has no POLLERR to give");
  Uffd uffd(ctx, {.nonblocking = false});
  epoll_event event{};
  EXPECT_EQ(epolled(uffd, event, kDeadlineMs), 1);
  EXPECT_EQ(event.events, static_cast<std::uint32_t>(EPOLLERR));
}

CONFORMANCE_TEST(MessagePoll, NonblockingTakesEffectAtOnce, "REAL-39 REAL-20", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.nonblocking = false});
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(polled(uffd, 0), POLLERR);
  ASSERT_EQ(::fcntl(uffd.fd(), F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(polled(uffd, 0), 0);
  userfault_msg message;
  EXPECT_EQ(userfault_read(uffd.fd(), &message, sizeof message), -1);
  EXPECT_EQ(errno, EAGAIN);
  ASSERT_EQ(::fcntl(uffd.fd(), F_SETFL, 0), 0);
  EXPECT_EQ(polled(uffd, 0), POLLERR);
}

}  // namespace
}  // namespace userfault::conformance
