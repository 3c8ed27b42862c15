// SPDX-License-Identifier: Apache-2.0
// UFFDIO_API: the handshake.
#include <linux/capability.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "support/privilege.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kUnheardOf = std::uint64_t{1} << 63;
constexpr std::uint64_t kDescriptorOperations = std::uint64_t{1} << USERFAULT_NR_API |
                                                std::uint64_t{1} << USERFAULT_NR_REGISTER |
                                                std::uint64_t{1} << USERFAULT_NR_UNREGISTER;

// What the call left in the struct, and how it ended.
struct Answer {
  Outcome outcome;
  userfault_api api;
};

Answer shake(const Uffd& uffd, std::uint64_t api, std::uint64_t features) {
  Answer answer{{}, {api, features, static_cast<std::uint64_t>(kUntouched)}};
  answer.outcome = uffd.raw(USERFAULT_IOC_API, &answer.api);
  return answer;
}

void expect_zeroed(const userfault_api& api) {
  EXPECT_EQ(api.api, 0u);
  EXPECT_EQ(api.features, 0u);
  EXPECT_EQ(api.ioctls, 0u);
}

CONFORMANCE_TEST(Api, AnotherNumberIsInvalid, "API-01", Backings::kNone) {
  for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{0xAB}, USERFAULT_API << 32 | USERFAULT_API}) {
    Uffd uffd(ctx, {.handshake = false});
    EXPECT_EQ(shake(uffd, number, 0).outcome, Fails(EINVAL)) << number;
  }
  Uffd uffd(ctx, {.handshake = false});
  const Answer answer = shake(uffd, USERFAULT_API, 0);
  EXPECT_EQ(answer.outcome, Succeeds());
  EXPECT_EQ(answer.api.api, USERFAULT_API);
}

// A caller learns all that there is, also while it enables one feature only.
CONFORMANCE_TEST(Api, ReportsAllFeaturesWhateverIsEnabled, "API-02", Backings::kNone) {
  Uffd none(ctx, {.handshake = false});
  const Answer reported = shake(none, USERFAULT_API, 0);
  EXPECT_EQ(reported.outcome, Succeeds());
  EXPECT_NE(reported.api.features, 0u);
  for (int bit = 0; bit < 64; ++bit) {
    const std::uint64_t feature = reported.api.features & std::uint64_t{1} << bit;
    if (feature == 0 || (feature == USERFAULT_FEATURE_EVENT_FORK && !has_capability(CAP_SYS_PTRACE))) continue;
    Uffd uffd(ctx, {.handshake = false});
    const Answer answer = shake(uffd, USERFAULT_API, feature);
    EXPECT_EQ(answer.outcome, Succeeds()) << "bit " << bit;
    EXPECT_EQ(answer.api.features, reported.api.features) << "bit " << bit;
  }
}

// The pages of one age also list WRITEPROTECT here; Linux 6.18 does not (measured).
CONFORMANCE_TEST(Api, ListsTheOperationsOfADescriptor, "API-03 REAL-03", Backings::kNone) {
  Uffd uffd(ctx);
  EXPECT_EQ(uffd.api().ioctls & kDescriptorOperations, kDescriptorOperations);
  EXPECT_EQ(uffd.api().ioctls, 0x8000000000000003u);
}

CONFORMANCE_TEST(Api, OffersTheFeaturesOfItsKernel, "REAL-03", Backings::kNone) {
  ctx.differs_on_user("REAL-03: the word holds what the user engine implements");
  utsname name{};
  int major = 0;
  int minor = 0;
  ASSERT_EQ(::uname(&name), 0);
  ASSERT_EQ(std::sscanf(name.release, "%d.%d", &major, &minor), 2);
  if (major < 6 || (major == 6 && minor < 8)) GTEST_SKIP() << "measured on Linux 6.18; this is " << name.release;
  EXPECT_EQ(ctx.features & USERFAULT_FEATURE_ALL, 0x1ffffu);
}

// Before 4.11 the field had to be zero and came back zero. No such kernel runs this; what is left
// of the rule is that zero is always a valid wish.
CONFORMANCE_TEST(Api, NoFeaturesIsAValidWish, "API-04", Backings::kNone) {
  Uffd uffd(ctx, {.handshake = false});
  EXPECT_EQ(shake(uffd, USERFAULT_API, 0).outcome, Succeeds());
}

CONFORMANCE_TEST(Api, UnsupportedFeatureZeroesTheStruct, "API-05", Backings::kNone) {
  // Without EVENT_FORK: where that is not allowed, EPERM comes first.
  for (const std::uint64_t features : {kUnheardOf, kUnheardOf | (ctx.features & ~USERFAULT_FEATURE_EVENT_FORK)}) {
    Uffd uffd(ctx, {.handshake = false});
    const Answer answer = shake(uffd, USERFAULT_API, features);
    EXPECT_EQ(answer.outcome, Fails(EINVAL));
    expect_zeroed(answer.api);
  }
}

// Report on one descriptor, enable on another: the way that works on every kernel.
CONFORMANCE_TEST(Api, ReportsOnOneDescriptorAndEnablesOnAnother, "API-06 REAL-01", Backings::kPrivate) {
  ctx.require(USERFAULT_FEATURE_THREAD_ID);
  Uffd first(ctx, {.handshake = false});
  const Answer reported = shake(first, USERFAULT_API, 0);
  EXPECT_EQ(reported.outcome, Succeeds());
  first.close();

  Uffd second(ctx, {.handshake = false});
  EXPECT_EQ(shake(second, USERFAULT_API, reported.api.features & USERFAULT_FEATURE_THREAD_ID).outcome, Succeeds());
  Mapping map(ctx, 1);
  second.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  Faulter faulter = Faulter::read(map.page(0));
  EXPECT_EQ(second.expect_fault(map.page(0), 0).arg.pagefault.feat.ptid, static_cast<std::uint32_t>(faulter.tid()));
  second.fill_with_zeros(map.all());
  faulter.join();
}

// Linux refuses every second call, also after one that asked for nothing (measured on 6.18; the
// pages of man-pages 6.7 to 6.9 allow it).
CONFORMANCE_TEST(Api, SecondCallIsInvalid, "API-07 REAL-01", Backings::kNone) {
  for (const std::uint64_t features : {std::uint64_t{0}, ctx.features & USERFAULT_FEATURE_THREAD_ID}) {
    Uffd uffd(ctx, {.features = features});
    EXPECT_EQ(shake(uffd, USERFAULT_API, 0).outcome, Fails(EINVAL));
    EXPECT_EQ(shake(uffd, USERFAULT_API, features).outcome, Fails(EINVAL));
  }
}

// `userfault run` sets it.
void skip_where_forks_are_open() {
  const char* setting = std::getenv("USERFAULT_EVENT_FORK");
  if (setting != nullptr && std::strcmp(setting, "unprivileged") == 0)
    throw Skip("differs on purpose, see docs/divergences.md: REAL-46: USERFAULT_EVENT_FORK lifts the condition");
}

CONFORMANCE_TEST(Api, EventForkWantsTheCapability, "API-08 REAL-46 FEAT-01", Backings::kNone) {
  if (ctx.stand_in) skip_where_forks_are_open();
  ctx.require(USERFAULT_FEATURE_EVENT_FORK);
  // Opened before the capability goes: opening may need it too.
  Uffd uffd(ctx, {.handshake = false});
  Uffd privileged(ctx, {.handshake = false});
  if (has_capability(CAP_SYS_PTRACE)) {
    EXPECT_EQ(shake(privileged, USERFAULT_API, USERFAULT_FEATURE_EVENT_FORK).outcome, Succeeds());
  }
  drop_capability(CAP_SYS_PTRACE);
  const Answer answer = shake(uffd, USERFAULT_API, USERFAULT_FEATURE_EVENT_FORK);
  EXPECT_EQ(answer.outcome, Fails(EPERM));
  expect_zeroed(answer.api);
  EXPECT_EQ(shake(uffd, USERFAULT_API, 0).outcome, Succeeds());
}

CONFORMANCE_TEST(Api, MissingCapabilityComesBeforeMissingFeature, "REAL-48", Backings::kNone) {
  if (ctx.stand_in) skip_where_forks_are_open();
  ctx.require(USERFAULT_FEATURE_EVENT_FORK);
  Uffd uffd(ctx, {.handshake = false});
  drop_capability(CAP_SYS_PTRACE);
  EXPECT_EQ(shake(uffd, USERFAULT_API, kUnheardOf | USERFAULT_FEATURE_EVENT_FORK).outcome, Fails(EPERM));
}

// After a failure the struct has to be filled in again; then the same descriptor works.
CONFORMANCE_TEST(Api, FailedCallDoesNotLockTheDescriptor, "API-09 REAL-01", Backings::kNone) {
  Uffd uffd(ctx, {.handshake = false});
  Answer answer = shake(uffd, USERFAULT_API, kUnheardOf);
  EXPECT_EQ(answer.outcome, Fails(EINVAL));
  EXPECT_EQ(uffd.raw(USERFAULT_IOC_API, &answer.api), Fails(EINVAL)) << "what a failure left behind is no request";
  EXPECT_EQ(shake(uffd, USERFAULT_API + 1, 0).outcome, Fails(EINVAL));
  EXPECT_EQ(shake(uffd, USERFAULT_API, 0).outcome, Succeeds());
}

// The system's header may be older than the kernel: ours has the numbers all the same.
CONFORMANCE_TEST(Api, NumbersNewerThanTheSystemsHeader, "REAL-28", Backings::kPrivate) {
  ctx.require(USERFAULT_FEATURE_POISON | USERFAULT_FEATURE_MOVE);
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  const Outcome registered = uffd.register_range(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  EXPECT_NE(registered.output & std::int64_t{1} << USERFAULT_NR_POISON, 0);
  EXPECT_NE(registered.output & std::int64_t{1} << USERFAULT_NR_MOVE, 0);
  EXPECT_EQ(uffd.poison(map.range(0, 1)), Done(map.page_size()));
  EXPECT_TRUE(touch_read(map.page(0)).sigbus);
}

}  // namespace
}  // namespace userfault::conformance
