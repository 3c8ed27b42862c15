// SPDX-License-Identifier: Apache-2.0
// The ten operations through the typed API: results, values instead of EEXIST and EAGAIN, errors.
#include <setjmp.h>
#include <signal.h>
#include <sys/socket.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "api_support.h"
#include "child.h"
#include "engine/user/signal/chain.h"
#include "engine/user/signal/signal_frame.h"

namespace userfault::test {
namespace {

class ApiOperations : public ApiTest {
 protected:
  // `pages` pages of private memory, registered.
  [[nodiscard]] std::optional<Region> region(const Descriptor& descriptor, std::size_t pages,
                                             const RegionOptions& options = {}) {
    auto created = Region::create(descriptor, pages * kPage, options);
    if (!created) {
      ADD_FAILURE() << why(created);
      return std::nullopt;
    }
    return std::move(*created);
  }
};
USERFAULT_ON_BOTH_ENGINES(ApiOperations);

PageRange pages_of(const Region& region, std::size_t first, std::size_t count) {
  return {region.range().start + first * kPage, count * kPage};
}

// REG-05, REAL-04, REAL-35
TEST_P(ApiOperations, RegisterSaysWhatTheRangeSupports) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto missing = region(*descriptor, 1);
  ASSERT_TRUE(missing);
  EXPECT_TRUE(missing->operations().has(operation::kCopy | operation::kWake | operation::kZeropage));
  EXPECT_FALSE(missing->operations().has(operation::kWriteprotect));
  EXPECT_FALSE(missing->operations().has(operation::kContinue));
  const auto both = region(*descriptor, 1, {.modes = mode::kMissing | mode::kWriteProtect});
  ASSERT_TRUE(both);
  EXPECT_TRUE(both->operations().has(operation::kWriteprotect));
}

TEST_P(ApiOperations, RegisterErrors) {
  const auto descriptor = open();
  const auto other = open();
  ASSERT_TRUE(descriptor && other);
  const auto taken = region(*other, 1);
  ASSERT_TRUE(taken);
  const auto busy = descriptor->register_range(taken->range(), mode::kMissing);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, EBUSY);
  EXPECT_NE(busy.error().message().find("another userfaultfd"), std::string::npos) << busy.error().message();
  EXPECT_EQ(busy.error().operation, Operation::kRegister);
  EXPECT_EQ(busy.error().address, taken->range().start);
  EXPECT_EQ(busy.error().length, kPage);
  EXPECT_EQ(descriptor->register_range({taken->range().start, 0}, mode::kMissing).error().code, EINVAL);
  EXPECT_EQ(descriptor->register_range({taken->range().start + 1, kPage}, mode::kMissing).error().code, EINVAL);
  const Memory memory(kPage);
  EXPECT_EQ(descriptor->register_range(memory.range(), Modes{}).error().code, EINVAL);
}

TEST_P(ApiOperations, CopyResolvesAFault) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = region(*descriptor, 2);
  ASSERT_TRUE(memory);
  char read = 0;
  std::jthread reader([&] { read = *reinterpret_cast<volatile char*>(memory->data() + kPage + 7); });
  const auto fault = next<Fault>(*descriptor);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->address, memory->range().start + kPage);
  EXPECT_FALSE(fault->write || fault->write_protect || fault->minor);
  const auto source = page_of('k');
  const auto copied = descriptor->copy(memory->page_of(fault->address), source.data());
  ASSERT_TRUE(copied) << why(copied);
  EXPECT_TRUE(copied->complete());
  EXPECT_EQ(copied->bytes, kPage);
  reader.join();
  EXPECT_EQ(read, 'k');
}

// COPY-02, WAKE-01: without a wake the thread stays asleep.
TEST_P(ApiOperations, CopyWithoutWakeThenWake) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = region(*descriptor, 1);
  ASSERT_TRUE(memory);
  std::atomic<bool> done = false;
  std::jthread reader([&] {
    static_cast<void>(*reinterpret_cast<volatile char*>(memory->data()));
    done = true;
  });
  ASSERT_TRUE(next<Fault>(*descriptor));
  const auto source = page_of('x');
  ASSERT_TRUE(descriptor->copy(memory->range(), source.data(), {.wake = false}));
  EXPECT_FALSE(done);
  ASSERT_TRUE(descriptor->wake(memory->range()));
  reader.join();
  EXPECT_TRUE(done);
}

// COPY-04, REAL-12: EEXIST and a partial copy are values, and bytes is never a negative count.
TEST_P(ApiOperations, CopyOntoPresentPages) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = region(*descriptor, 4);
  ASSERT_TRUE(memory);
  ASSERT_TRUE(descriptor->zeropage(pages_of(*memory, 2, 1)));
  const auto source = page_of('p', 4 * kPage);
  const auto partial = descriptor->copy(memory->range(), source.data());
  ASSERT_TRUE(partial) << why(partial);
  EXPECT_EQ(partial->outcome, Outcome::kPartial);
  EXPECT_EQ(partial->bytes, 2 * kPage);
  const auto exists = descriptor->copy(pages_of(*memory, 2, 2), source.data());
  ASSERT_TRUE(exists) << why(exists);
  EXPECT_EQ(exists->outcome, Outcome::kExists);
  EXPECT_EQ(exists->bytes, 0u);
}

TEST_P(ApiOperations, CopyFullyResumesAndKeepsWhatWasThere) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = region(*descriptor, 8);
  ASSERT_TRUE(memory);
  for (const std::size_t present : {0u, 3u, 4u, 7u}) ASSERT_TRUE(descriptor->zeropage(pages_of(*memory, present, 1)));
  std::vector<char> source(8 * kPage);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<char>('a' + i / kPage);
  const auto copied = descriptor->copy_fully(memory->range(), source.data());
  ASSERT_TRUE(copied) << why(copied);
  EXPECT_EQ(copied->outcome, Outcome::kExists);
  EXPECT_EQ(copied->bytes, 4 * kPage);
  std::string seen;
  for (std::size_t i = 0; i < 8; ++i) seen += static_cast<char>(memory->data()[i * kPage]);
  EXPECT_EQ(seen, std::string("\0bc\0\0fg\0", 8));
}

TEST_P(ApiOperations, FullyOnNothingMissingIsComplete) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = region(*descriptor, 3);
  ASSERT_TRUE(memory);
  const auto first = descriptor->zeropage_fully(memory->range());
  ASSERT_TRUE(first) << why(first);
  EXPECT_TRUE(first->complete());
  EXPECT_EQ(first->bytes, 3 * kPage);
  const auto again = descriptor->zeropage_fully(memory->range());
  ASSERT_TRUE(again) << why(again);
  EXPECT_EQ(again->outcome, Outcome::kExists);
  EXPECT_EQ(again->bytes, 0u);
}

// REAL-14, REAL-31
TEST_P(ApiOperations, CopyErrors) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = region(*descriptor, 1);
  ASSERT_TRUE(memory);
  const Memory stranger(kPage);
  const auto source = page_of('s');
  EXPECT_EQ(descriptor->copy(stranger.range(), source.data()).error().code, ENOENT);
  EXPECT_EQ(descriptor->copy({memory->range().start, 1}, source.data()).error().code, EINVAL);
  EXPECT_EQ(descriptor->copy(memory->range(), source.data(), {.write_protect = true}).error().code, EINVAL);
  const auto gone = memory::map(kPage, {.protection = PROT_NONE, .flags = MAP_PRIVATE | MAP_ANONYMOUS});
  ASSERT_TRUE(gone);
  const auto bad = descriptor->copy(memory->range(), gone->data());
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, EFAULT);
  EXPECT_NE(bad.error().message().find("copy"), std::string::npos);
  ASSERT_TRUE(memory::unmap(*gone));
}

TEST_P(ApiOperations, UnregisterLetsThreadsGoOn) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto memory = region(*descriptor, 1);
  ASSERT_TRUE(memory);
  char read = 'x';
  std::jthread reader([&] { read = *reinterpret_cast<volatile char*>(memory->data()); });
  ASSERT_TRUE(next<Fault>(*descriptor));
  ASSERT_TRUE(descriptor->unregister(memory->range()));
  reader.join();
  EXPECT_EQ(read, 0);
}

// CONT-01, CONT-03, CONT-05: the page cache is filled through a second mapping.
TEST_P(ApiOperations, ContinueMapsThePageCache) {
  const auto descriptor = open(feature::kMinorShmem);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kMinorShmem);
  const int file = ::memfd_create("api", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, static_cast<off_t>(3 * kPage)), 0);
  const Memory served(3 * kPage, MAP_SHARED, file);
  const Memory alias(3 * kPage, MAP_SHARED, file);
  ::close(file);
  const auto memory = Region::borrow(*descriptor, served.range(), mode::kMinor);
  ASSERT_TRUE(memory) << why(memory);
  EXPECT_TRUE(memory->operations().has(operation::kContinue));
  EXPECT_EQ(descriptor->resume(served.page(2)).error().code, EFAULT);
  *alias.data(0) = 'm';
  *alias.data(1) = 'n';
  char read = 0;
  std::jthread reader([&] { read = *served.data(0); });
  const auto fault = next<Fault>(*descriptor);
  ASSERT_TRUE(fault);
  EXPECT_TRUE(fault->minor);
  ASSERT_TRUE(descriptor->resume(memory->page_of(fault->address)));
  reader.join();
  EXPECT_EQ(read, 'm');
  const auto exists = descriptor->resume(served.page(0));
  ASSERT_TRUE(exists) << why(exists);
  EXPECT_EQ(exists->outcome, Outcome::kExists);
  const auto rest = descriptor->resume_fully({served.range().start, 2 * kPage});
  ASSERT_TRUE(rest) << why(rest);
  EXPECT_EQ(rest->bytes, kPage);
  EXPECT_EQ(*served.data(1), 'n');
}

// POIS-01, POIS-02
TEST_P(ApiOperations, PoisonRaisesSigbus) {
  const auto descriptor = open(feature::kPoison);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kPoison);
  const auto memory = region(*descriptor, 2);
  ASSERT_TRUE(memory);
  const auto poisoned = descriptor->poison(pages_of(*memory, 0, 1));
  ASSERT_TRUE(poisoned) << why(poisoned);
  EXPECT_TRUE(poisoned->complete());
  const auto again = descriptor->poison(pages_of(*memory, 0, 1));
  ASSERT_TRUE(again) << why(again);
  EXPECT_EQ(again->outcome, Outcome::kExists);
  const auto rest = descriptor->poison_fully(memory->range());
  ASSERT_TRUE(rest) << why(rest);
  EXPECT_EQ(rest->bytes, kPage);
  static sigjmp_buf back;
  // As a program sets it: behind the engine's own handler, where it has one.
  const engine::user::KernelSigaction before =
      engine::user::set_program_action(SIGBUS, {.handler = [](int, siginfo_t*, void*) { siglongjmp(back, 1); },
                                                .flags = SA_SIGINFO | engine::user::kSaRestorer,
                                                .restorer = engine::user::userfault_rt_restorer});
  static volatile bool survived;
  survived = false;
  if (sigsetjmp(back, 1) == 0) {
    static_cast<void>(*reinterpret_cast<volatile char*>(memory->data()));
    survived = true;
  }
  engine::user::set_program_action(SIGBUS, before);
  EXPECT_FALSE(survived);
}

// MOVE-01, REAL-29
TEST_P(ApiOperations, MoveTakesPagesAway) {
  const auto descriptor = open(feature::kMove);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kMove);
  const auto to = region(*descriptor, 4);
  const Memory from(4 * kPage);
  ASSERT_TRUE(to);
  for (std::size_t i = 0; i < 4; ++i) *from.data(i) = static_cast<char>('A' + i);
  const auto moved = descriptor->move(pages_of(*to, 0, 1), from.range().start);
  ASSERT_TRUE(moved) << why(moved);
  EXPECT_TRUE(moved->complete());
  EXPECT_EQ(static_cast<char>(to->data()[0]), 'A');
  EXPECT_EQ(*from.data(0), 0) << "the source has lost the page";
  // The read above put the zero page into the source's hole; make it a hole again.
  ASSERT_TRUE(memory::advise(from.page(0), MADV_DONTNEED));
  EXPECT_EQ(descriptor->move(pages_of(*to, 3, 1), from.range().start).error().code, ENOENT);
  EXPECT_TRUE(descriptor->move(pages_of(*to, 3, 1), from.range().start, {.allow_source_holes = true}));
  ASSERT_TRUE(descriptor->zeropage(pages_of(*to, 2, 1)));
  const auto rest = descriptor->move_fully(pages_of(*to, 1, 3), from.range().start + kPage);
  ASSERT_TRUE(rest) << why(rest);
  EXPECT_EQ(rest->outcome, Outcome::kExists);
  EXPECT_EQ(rest->bytes, 2 * kPage);
  EXPECT_EQ(static_cast<char>(to->data()[kPage]), 'B');
  EXPECT_EQ(static_cast<char>(to->data()[2 * kPage]), 0);
  EXPECT_EQ(*from.data(2), 'C') << "its source page stays";
  EXPECT_EQ(static_cast<char>(to->data()[3 * kPage]), 'D');
}

// WP-01, WP-02, WP-04
TEST_P(ApiOperations, WriteProtectAndUnprotect) {
  const auto descriptor = open(feature::kPagefaultFlagWp);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kPagefaultFlagWp);
  const auto memory = region(*descriptor, 1, {.modes = mode::kMissing | mode::kWriteProtect});
  ASSERT_TRUE(memory);
  const auto source = page_of('w');
  ASSERT_TRUE(descriptor->copy(memory->range(), source.data(), {.write_protect = true}));
  EXPECT_EQ(static_cast<char>(memory->data()[0]), 'w');
  std::jthread writer([&] { *reinterpret_cast<volatile char*>(memory->data()) = 'z'; });
  const auto fault = next<Fault>(*descriptor);
  ASSERT_TRUE(fault);
  EXPECT_TRUE(fault->write && fault->write_protect);
  ASSERT_TRUE(descriptor->write_unprotect_fully(memory->range()));
  writer.join();
  EXPECT_EQ(static_cast<char>(memory->data()[0]), 'z');
  ASSERT_TRUE(descriptor->write_protect_fully(memory->range()));
  const auto plain = region(*descriptor, 1);
  ASSERT_TRUE(plain);
  EXPECT_EQ(descriptor->write_protect(plain->range()).error().code, ENOENT);
}

// GEN-08, REAL-15: the process has exited; its descriptor lives on in a copy.
TEST_P(ApiOperations, ExitedProcessIsEsrch) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const ChildEnd end = run_in_child([&](Report report) {
    const auto descriptor = Descriptor::open({.engine = GetParam()});
    const auto memory = Region::create(*descriptor, kPage);
    if (!descriptor->send_to(ends[1])) ::_exit(1);
    report(memory->range().start);
  });
  ASSERT_TRUE(end.exited(0)) << end.status;
  const auto orphan = Descriptor::receive_from(ends[0]);
  ASSERT_TRUE(orphan) << why(orphan);
  const PageRange range{end.as<std::uintptr_t>(), kPage};
  const auto source = page_of('o');
  EXPECT_EQ(orphan->copy(range, source.data()).error().code, ESRCH);
  EXPECT_EQ(orphan->zeropage_fully(range).error().code, ESRCH);
  EXPECT_EQ(orphan->register_range(range, mode::kMissing).error().code, ENOMEM);
  ::close(ends[0]);
  ::close(ends[1]);
}

// FEAT-15: what was written since it was protected.
TEST_P(ApiOperations, WrittenPagesAreReadBack) {
  const Features features = feature::kWpAsync | feature::kWpUnpopulated;
  const auto descriptor = open(features);
  if (!descriptor) GTEST_SKIP() << lacks(features);
  const std::size_t pages = 400;  // more separate ranges than one batch holds
  const auto memory = region(*descriptor, pages, {.modes = mode::kWriteProtect});
  ASSERT_TRUE(memory);
  std::memset(memory->data(), 1, memory->size());
  ASSERT_TRUE(descriptor->write_protect(memory->range()));
  std::vector<PageRange> found(pages);
  const auto none = descriptor->written(memory->range(), found, false);
  ASSERT_TRUE(none) << why(none);
  EXPECT_TRUE(none->ranges.empty());
  EXPECT_EQ(none->walked_to, memory->range().end());
  for (std::size_t i = 0; i < pages; i += 2) *reinterpret_cast<volatile char*>(memory->data() + i * kPage) = 2;
  const auto some = descriptor->written(memory->range(), std::span(found).first(3), false);
  ASSERT_TRUE(some) << why(some);
  ASSERT_EQ(some->ranges.size(), 3u);
  EXPECT_EQ(some->ranges[1], pages_of(*memory, 2, 1));
  EXPECT_LT(some->walked_to, memory->range().end());
  const auto all = descriptor->written(memory->range(), found, true);
  ASSERT_TRUE(all) << why(all);
  EXPECT_EQ(all->ranges.size(), pages / 2);
  const auto after = descriptor->written(memory->range(), found, false);
  ASSERT_TRUE(after) << why(after);
  EXPECT_TRUE(after->ranges.empty()) << "protect_again protected them";
}

}  // namespace
}  // namespace userfault::test
