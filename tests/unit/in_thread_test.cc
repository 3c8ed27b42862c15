// SPDX-License-Identifier: Apache-2.0
// In-thread resolution on both engines: the handler runs in the faulting thread.
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <random>
#include <thread>

#include "api_support.h"
#include "child.h"
#include "engine/user/signal/chain.h"
#include "engine/user/signal/signal_frame.h"
#include "userfault/userfault.h"

namespace userfault::test {
namespace {

std::uint32_t thread_id() { return static_cast<std::uint32_t>(::syscall(SYS_gettid)); }

// A handler that fills pages with one letter, and what it saw last.
struct Filler {
  char letter = 'f';
  std::size_t page = kPage;
  bool resolve = true;
  std::atomic<int> calls = 0;
  std::mutex noting;
  userfault_msg last{};
  std::uint32_t thread = 0;
  alignas(64) std::array<char, kHuge> contents{};

  Filler() { contents.fill(letter); }
  explicit Filler(char with) : letter(with) { contents.fill(letter); }

  static int run(void* context, int fd, const userfault_msg* fault) {
    auto& self = *static_cast<Filler*>(context);
    {
      const std::scoped_lock guard(self.noting);  // its holder touches no served memory
      self.last = *fault;
      self.thread = thread_id();
    }
    ++self.calls;
    errno = EDOM;  // whatever the handler does to errno stays in the handler
    if (!self.resolve) return 0;
    if ((fault->arg.pagefault.flags & USERFAULT_PAGEFAULT_FLAG_WP) != 0) return self.unprotect(fd, fault);
    userfault_copy copy{fault->arg.pagefault.address & ~(self.page - 1),
                        reinterpret_cast<std::uintptr_t>(self.contents.data()), self.page, 0, 0};
    return userfault_ioctl(fd, USERFAULT_IOC_COPY, &copy) == 0 || errno == EEXIST;
  }
  [[nodiscard]] int unprotect(int fd, const userfault_msg* fault) const {
    userfault_writeprotect lift{{fault->arg.pagefault.address & ~(page - 1), page}, 0};
    return userfault_ioctl(fd, USERFAULT_IOC_WRITEPROTECT, &lift) == 0;
  }
};

class InThread : public ApiTest {
 protected:
  // Opens with `features` and SIGBUS, and sets the filler.
  [[nodiscard]] std::optional<Descriptor> open_with(Filler& filler, Features features = {}) {
    auto descriptor = open(features | feature::kSigbus);
    if (!descriptor) return std::nullopt;
    const auto set = descriptor->in_thread(Filler::run, &filler);
    EXPECT_TRUE(set) << why(set);
    return descriptor;
  }
};
USERFAULT_ON_BOTH_ENGINES(InThread);

char read_byte(const Region& region, std::size_t at) { return *reinterpret_cast<volatile char*>(region.data() + at); }

TEST_P(InThread, MissingPageIsFilledInTheFaultingThread) {
  Filler filler;
  const auto descriptor = open_with(filler, feature::kThreadId | feature::kExactAddress);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus | feature::kThreadId | feature::kExactAddress);
  const auto region = Region::create(*descriptor, 4 * kPage);
  ASSERT_TRUE(region) << why(region);
  errno = 0;
  EXPECT_EQ(read_byte(*region, kPage + 5), 'f');
  EXPECT_EQ(errno, 0) << "errno belongs to the interrupted code";
  EXPECT_EQ(filler.calls, 1);
  EXPECT_EQ(filler.thread, thread_id());
  EXPECT_EQ(filler.last.event, USERFAULT_EVENT_PAGEFAULT);
  EXPECT_EQ(filler.last.arg.pagefault.address, region->range().start + kPage + 5);
  EXPECT_EQ(filler.last.arg.pagefault.flags, 0u);
  EXPECT_EQ(filler.last.arg.pagefault.feat.ptid, thread_id());
  *reinterpret_cast<volatile char*>(region->data() + 2 * kPage) = 1;
  EXPECT_EQ(filler.last.arg.pagefault.flags, USERFAULT_PAGEFAULT_FLAG_WRITE);
  EXPECT_FALSE(descriptor->wait(std::chrono::milliseconds(0)).value_or(true)) << "a message was sent as well";
}

TEST_P(InThread, WithoutTheFeaturesTheStartOfThePageAndNoThread) {
  Filler filler;
  const auto descriptor = open_with(filler);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus);
  const auto region = Region::create(*descriptor, kPage);
  ASSERT_TRUE(region) << why(region);
  EXPECT_EQ(read_byte(*region, 77), 'f');
  EXPECT_EQ(filler.last.arg.pagefault.address, region->range().start);
  EXPECT_EQ(filler.last.arg.pagefault.feat.ptid, 0u);
}

TEST_P(InThread, RegisteredBeforeTheHandlerWasSet) {
  Filler filler;
  const auto descriptor = open(feature::kSigbus);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus);
  const auto region = Region::create(*descriptor, 2 * kPage);
  ASSERT_TRUE(region) << why(region);
  ASSERT_TRUE(descriptor->in_thread(Filler::run, &filler));
  EXPECT_EQ(read_byte(*region, 0), 'f');
}

TEST_P(InThread, WriteProtectFault) {
  Filler filler;
  const Features features = feature::kPagefaultFlagWp;
  const auto descriptor = open_with(filler, features);
  if (!descriptor) GTEST_SKIP() << lacks(features | feature::kSigbus);
  const auto region = Region::create(*descriptor, kPage, {.modes = mode::kMissing | mode::kWriteProtect});
  ASSERT_TRUE(region) << why(region);
  EXPECT_EQ(read_byte(*region, 0), 'f');
  EXPECT_EQ(filler.last.arg.pagefault.flags, 0u);
  ASSERT_TRUE(descriptor->write_protect(region->range()));
  *reinterpret_cast<volatile char*>(region->data()) = 'w';
  EXPECT_EQ(filler.last.arg.pagefault.flags, USERFAULT_PAGEFAULT_FLAG_WP | USERFAULT_PAGEFAULT_FLAG_WRITE);
  EXPECT_EQ(read_byte(*region, 0), 'w');
  EXPECT_EQ(filler.calls, 2);
}

int resume_page(void* context, int fd, const userfault_msg* fault) {
  *static_cast<std::uint64_t*>(context) = fault->arg.pagefault.flags;
  userfault_continue resume{{fault->arg.pagefault.address, kPage}, 0, 0};
  return userfault_ioctl(fd, USERFAULT_IOC_CONTINUE, &resume) == 0;
}

TEST_P(InThread, MinorFault) {
  const auto descriptor = open(feature::kSigbus | feature::kMinorShmem);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus | feature::kMinorShmem);
  const int file = ::memfd_create("in_thread", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, static_cast<off_t>(kPage)), 0);
  const Memory served(kPage, MAP_SHARED, file);
  const Memory alias(kPage, MAP_SHARED, file);
  ::close(file);
  *alias.data() = 'm';
  const auto region = Region::borrow(*descriptor, served.range(), mode::kMinor | mode::kMissing);
  ASSERT_TRUE(region) << why(region);
  std::uint64_t flags = 0;
  ASSERT_TRUE(descriptor->in_thread(resume_page, &flags));
  EXPECT_EQ(*served.data(), 'm');
  EXPECT_EQ(flags, USERFAULT_PAGEFAULT_FLAG_MINOR);
}

TEST_P(InThread, HugePageGetsItsOwnAddress) {
  Filler filler;
  filler.page = kHuge;
  const auto descriptor = open_with(filler, feature::kMissingHugetlbfs);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kMissingHugetlbfs | feature::kSigbus);
  const auto region = Region::create(*descriptor, kHuge, {.huge_page_size = kHuge});
  ASSERT_TRUE(region) << why(region);
  EXPECT_EQ(read_byte(*region, kHuge - 3), 'f');
  EXPECT_EQ(filler.last.arg.pagefault.address, region->range().start);
}

TEST_P(InThread, ManyThreadsManyPages) {
  constexpr std::size_t kPages = 256;
  Filler filler;
  const auto descriptor = open_with(filler);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus);
  const auto region = Region::create(*descriptor, kPages * kPage);
  ASSERT_TRUE(region) << why(region);
  std::atomic<std::size_t> right = 0;
  {
    std::vector<std::jthread> readers;
    for (unsigned seed = 0; seed < 8; ++seed)
      readers.emplace_back([&, seed] {
        std::minstd_rand random(seed);
        for (std::size_t i = 0; i < kPages; ++i) right += read_byte(*region, random() % kPages * kPage) == 'f';
      });
  }
  EXPECT_EQ(right, 8 * kPages);
}

// While other threads fault, ranges come and go.
TEST_P(InThread, RegionsComeAndGoWhileOthersFault) {
  Filler filler;
  const auto descriptor = open_with(filler);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus);
  constexpr std::size_t kPages = 2000;
  const auto region = Region::create(*descriptor, kPages * kPage);
  ASSERT_TRUE(region) << why(region);
  std::atomic<bool> wrong = false;
  std::jthread reader([&] {
    for (std::size_t i = 0; i < kPages; ++i)
      if (read_byte(*region, i * kPage) != 'f') wrong = true;
  });
  for (int round = 0; round < 20; ++round) {
    std::vector<Region> others;
    for (int i = 0; i < 10; ++i) others.push_back(Region::create(*descriptor, kPage).value());
    for (const Region& other : others) EXPECT_EQ(read_byte(other, 0), 'f');
  }
  reader.join();
  EXPECT_FALSE(wrong);
}

TEST_P(InThread, EachDescriptorHasItsOwnHandler) {
  Filler first('1');
  Filler second('2');
  const auto one = open_with(first);
  const auto two = open_with(second);
  if (!one || !two) GTEST_SKIP() << lacks(feature::kSigbus);
  std::vector<Region> regions;
  for (int i = 0; i < 64; ++i) regions.push_back(Region::create(i % 2 == 0 ? *one : *two, 2 * kPage).value());
  for (std::size_t i = 0; i < regions.size(); ++i) EXPECT_EQ(read_byte(regions[i], kPage), i % 2 == 0 ? '1' : '2');
  EXPECT_EQ(first.calls, 32);
  EXPECT_EQ(second.calls, 32);
}

// What the program's own handler is told, in a child of its own.
std::atomic<int> program_calls;
PageRange program_opens;

void use_program_handler() {
  engine::user::set_program_action(
      SIGBUS, {.handler =
                   [](int, siginfo_t* info, void*) {
                     ++program_calls;
                     if (info->si_addr != program_opens.data()) ::_exit(90);
                     if (::mmap(program_opens.data(), kPage, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1,
                                0) != program_opens.data())
                       ::_exit(91);
                   },
               .flags = SA_SIGINFO | engine::user::kSaRestorer,
               .restorer = engine::user::userfault_rt_restorer});
}

TEST_P(InThread, RefusedFaultIsTheProgramsSigbus) {
  if (!available_.has(feature::kSigbus)) GTEST_SKIP() << lacks(feature::kSigbus);
  const ChildEnd end = run_in_child([&](Report) {
    Filler filler;
    filler.resolve = false;
    const auto descriptor = open_with(filler);
    auto region = Region::create(*descriptor, kPage);
    program_opens = region->release();
    use_program_handler();
    static_cast<void>(*static_cast<volatile char*>(program_opens.data()));
    ::_exit(filler.calls == 1 && program_calls == 1 ? 0 : 1);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

TEST_P(InThread, RefusedFaultKillsWithoutAHandler) {
  if (!available_.has(feature::kSigbus)) GTEST_SKIP() << lacks(feature::kSigbus);
  const ChildEnd end = run_in_child([&](Report) {
    Filler filler;
    filler.resolve = false;
    const auto descriptor = open_with(filler);
    const auto region = Region::create(*descriptor, kPage);
    engine::user::set_program_action(SIGBUS, {});
    static_cast<void>(read_byte(*region, 0));
  });
  EXPECT_TRUE(end.killed_by(SIGBUS)) << end.status;
}

TEST_P(InThread, EndedHandlerIsNotCalled) {
  Filler filler;
  const auto descriptor = open_with(filler);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus);
  const auto region = Region::create(*descriptor, 2 * kPage);
  ASSERT_TRUE(region) << why(region);
  EXPECT_EQ(read_byte(*region, 0), 'f');
  ASSERT_TRUE(descriptor->in_thread(nullptr));
  ASSERT_TRUE(descriptor->unregister(region->range()));
  EXPECT_EQ(read_byte(*region, kPage), 0);
  EXPECT_EQ(filler.calls, 1);
}

// A SIGBUS that is none of ours: a file mapping past the end of its file.
TEST_P(InThread, StrangersSigbusGoesToTheProgram) {
  if (!available_.has(feature::kSigbus)) GTEST_SKIP() << lacks(feature::kSigbus);
  const ChildEnd end = run_in_child([&](Report) {
    Filler filler;
    const auto descriptor = open_with(filler);
    const auto region = Region::create(*descriptor, kPage);
    const int file = ::memfd_create("short", MFD_CLOEXEC);
    program_opens = memory::map(kPage, {.protection = PROT_READ, .flags = MAP_SHARED, .fd = file}).value();
    use_program_handler();
    static_cast<void>(*static_cast<volatile char*>(program_opens.data()));
    ::_exit(filler.calls == 0 && program_calls == 1 ? 0 : 1);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

// A poisoned page stays poisoned: the handler would have written over it.
TEST_P(InThread, PoisonIsNotResolved) {
  const Features features = feature::kSigbus | feature::kPoison;
  if (!available_.has(features)) GTEST_SKIP() << lacks(features);
  const ChildEnd end = run_in_child([&](Report) {
    Filler filler;
    const auto descriptor = open_with(filler, feature::kPoison);
    auto region = Region::create(*descriptor, 2 * kPage);
    const PageRange range = region->release();
    if (!descriptor->poison({range.start, kPage})) ::_exit(2);
    if (static_cast<volatile char*>(range.data())[kPage] != 'f') ::_exit(3);
    program_opens = {range.start, kPage};
    use_program_handler();
    static_cast<void>(*static_cast<volatile char*>(range.data()));
    ::_exit(filler.calls == 1 && program_calls == 1 ? 0 : 1);
  });
  EXPECT_TRUE(end.exited(0)) << end.status;
}

TEST_P(InThread, ClosedDescriptorIsForgotten) {
  Filler filler;
  auto descriptor = open_with(filler);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus);
  const auto region = Region::create(*descriptor, 2 * kPage);
  ASSERT_TRUE(region) << why(region);
  descriptor->close();
  EXPECT_EQ(read_byte(*region, 0), 0);
  EXPECT_EQ(filler.calls, 0);
}

TEST_P(InThread, RemappedMemoryIsStillServed) {
  Filler filler;
  const auto descriptor = open_with(filler, feature::kEventRemap);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus | feature::kEventRemap);
  auto region = Region::create(*descriptor, 2 * kPage);
  ASSERT_TRUE(region) << why(region);
  const PageRange place = memory::map(2 * kPage, {.flags = MAP_PRIVATE | MAP_ANONYMOUS}).value();
  const PageRange from = region->release();
  Result<PageRange> moved = Unexpected(Error{});
  std::jthread mover([&] { moved = memory::remap(from, from.length, {.to = place.start}); });
  ASSERT_TRUE(next<Remapped>(*descriptor));
  mover.join();
  ASSERT_TRUE(moved) << why(moved);
  EXPECT_EQ(static_cast<volatile char*>(moved->data())[kPage], 'f');
  ASSERT_TRUE(descriptor->unregister(*moved));
  ASSERT_TRUE(memory::unmap(*moved));
}

// The child of a fork has the table but not the registration; the descriptor is the parent's.
TEST_P(InThread, ChildOfAForkIsNotServed) {
  Filler filler;
  const auto descriptor = open_with(filler);
  if (!descriptor) GTEST_SKIP() << lacks(feature::kSigbus);
  const auto region = Region::create(*descriptor, kPage);
  ASSERT_TRUE(region) << why(region);
  const auto child = memory::fork();
  ASSERT_TRUE(child) << why(child);
  if (*child == 0) {
    ::alarm(20);
    ::_exit(read_byte(*region, 0) == 0 && filler.calls == 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(*child, &status, 0), *child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(read_byte(*region, 0), 'f');
}

TEST_P(InThread, KernelsEngineNeedsTheFeature) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  Filler filler;
  const auto set = descriptor->in_thread(Filler::run, &filler);
  if (GetParam() == EngineKind::kUser) {
    EXPECT_TRUE(set) << "the user engine turns it on";
    return;
  }
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, EINVAL);
  EXPECT_EQ(set.error().operation, Operation::kInThread);
}

}  // namespace
}  // namespace userfault::test
