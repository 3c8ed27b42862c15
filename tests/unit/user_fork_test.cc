// SPDX-License-Identifier: Apache-2.0
// fork(2) of a process whose memory the user engine serves (FEAT-01, REAL-23, REAL-25, REAL-41).
#include <spawn.h>
#include <sys/syscall.h>

#include <atomic>
#include <string>
#include <thread>

#include "user_support.h"

namespace userfault::test {
namespace {

// Which page a child found wrong, as its exit status; 0 when all are right.
int check_child(const Served& served, std::size_t filled, std::size_t pages) {
  for (std::size_t i = 0; i < pages; ++i)
    if (served.content(i) != (i < filled ? Content::kPattern : Content::kZero)) return static_cast<int>(1 + i % 200);
  return 0;
}

TEST(UserFork, ChildHasACopyOfItsOwn) {
  constexpr std::size_t kPages = 700;
  const Served served(kPages);
  for (std::size_t i = 0; i < 600; ++i) ASSERT_EQ(served.copy(i), 0);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = start_child([&] {
    if (const int wrong = check_child(served, 600, kPages); wrong != 0) return wrong;
    // What the child writes stays with it, and what the parent writes does not come.
    std::memset(served.page(0), 7, kPage);
    char byte;
    if (::read(ends[0], &byte, 1) != 1) return 250;
    return served.content(1) == Content::kPattern && served.page(0)[5] == 7 ? 0 : 251;
  });
  ASSERT_GT(child, 0);
  std::memset(served.page(1), 9, kPage);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  EXPECT_EQ(status_of(child), 0);
  EXPECT_EQ(served.content(0), Content::kPattern);
  EXPECT_EQ(served.copy(650), 0) << "the parent goes on as before";
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(UserFork, ProtectionAndHolesAsTheProgramMadeThem) {
  const Served served(8);
  for (std::size_t i = 0; i < 6; ++i) ASSERT_EQ(served.copy(i), 0);
  ASSERT_EQ(userfault_mprotect(served.page(2), kPage, PROT_READ), 0);
  ASSERT_EQ(userfault_munmap(served.page(4), kPage), 0);
  const pid_t reader = start_child([&] { return served.content(2) == Content::kPattern ? 0 : 1; });
  EXPECT_EQ(status_of(reader), 0);
  // A sanitizer's own handler would make an exit status of the crash.
  const pid_t writer = start_child([&] {
    ::signal(SIGSEGV, SIG_DFL);
    *served.page(2) = 1;
    return 0;
  });
  EXPECT_EQ(status_of(writer), 1000 + SIGSEGV);
  const pid_t hole = start_child([&] {
    ::signal(SIGSEGV, SIG_DFL);
    return static_cast<int>(*served.page(4)) & 1;
  });
  EXPECT_EQ(status_of(hole), 1000 + SIGSEGV);
}

TEST(UserFork, WriteProtectionEndsInTheChild) {
  const Served served(4, 0, USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP);
  for (std::size_t i = 0; i < 4; ++i) ASSERT_EQ(served.copy(i), 0);
  ASSERT_EQ(userfault_ioctl_writeprotect(served.fd, served.memory, served.bytes(), USERFAULT_WRITEPROTECT_MODE_WP), 0);
  const pid_t child = start_child([&] {
    *served.page(1) = 1;
    return 0;
  });
  EXPECT_EQ(status_of(child), 0);
}

TEST(UserFork, PoisonIsInherited) {
  const Served served(4);
  ASSERT_EQ(served.copy(0), 0);
  ASSERT_EQ(userfault_ioctl_poison(served.fd, served.page(2), kPage, 0, nullptr), 0);
  const pid_t child = start_child([&] { return *const_cast<volatile char*>(served.page(2)); });
  EXPECT_EQ(status_of(child), 1000 + SIGBUS);
  const pid_t beside = start_child([&] { return served.content(0) == Content::kPattern ? *served.page(3) : 1; });
  EXPECT_EQ(status_of(beside), 0);
}

TEST(UserFork, SharedMemoryStaysShared) {
  const Served served(64, 0, USERFAULT_REGISTER_MODE_MISSING, MAP_SHARED | MAP_ANONYMOUS);
  for (std::size_t i = 0; i < 8; ++i) ASSERT_EQ(served.copy(i), 0);
  const pid_t child = start_child([&] {
    if (const int wrong = check_child(served, 8, 64); wrong != 0) return wrong;
    fill_page(served.page(1), 3, 1);
    return 0;
  });
  EXPECT_EQ(status_of(child), 0);
  EXPECT_EQ(served.content(1, 3), Content::kPattern);
}

TEST(UserFork, PrivateHugePages) {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
  void* probe = ::mmap(nullptr, 4 * kHuge, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (probe == MAP_FAILED) GTEST_SKIP() << "needs four free huge pages of 2 MiB (vm.nr_hugepages)";
  ::munmap(probe, 4 * kHuge);
  const Served served(2 * kHuge / kPage, 0, USERFAULT_REGISTER_MODE_MISSING, kFlags);
  std::vector<char> source(kHuge);
  for (std::size_t i = 0; i < kHuge / kPage; ++i) fill_page(&source[i * kPage], 1, i);
  ASSERT_EQ(userfault_ioctl_copy(served.fd, served.memory, source.data(), kHuge, 0, nullptr), 0);
  const pid_t child = start_child([&] { return check_child(served, kHuge / kPage, 2 * kHuge / kPage); });
  EXPECT_EQ(status_of(child), 0);
}

// Two counters on two pages, written one after the other: a child of one moment sees them equal, or
// the first one ahead by one. Eight threads fault meanwhile and a monitor resolves.
TEST(UserFork, OneMomentWhileThreadsFault) {
  constexpr std::size_t kPages = 4096;
  constexpr int kRounds = 40;
  const Served served(kPages);
  ASSERT_EQ(served.copy(0), 0);
  ASSERT_EQ(served.copy(1), 0);
  auto* first = reinterpret_cast<std::atomic<std::uint64_t>*>(served.page(0));
  auto* second = reinterpret_cast<std::atomic<std::uint64_t>*>(served.page(1));
  first->store(0);
  second->store(0);
  std::atomic<bool> stop{false};
  std::thread monitor([&] {
    while (!stop.load()) {
      if (!wait_readable(served.fd, 20)) continue;
      userfault_msg message;
      while (userfault_read(served.fd, &message, sizeof message) == sizeof message)
        EXPECT_EQ(served.copy(served.index_of(message.arg.pagefault.address)), 0);
    }
  });
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (std::uint64_t i = 1; !stop.load(); ++i) {
      first->store(i);
      second->store(i);
    }
  });
  for (std::size_t t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = 2 + t; i < kPages && !stop.load(); i += 8) {
        EXPECT_EQ(served.content(i), Content::kPattern);
        if (i % 64 < 8) std::this_thread::yield();
      }
    });
  for (int round = 0; round < kRounds; ++round) {
    const pid_t child = start_child([&] {
      const std::uint64_t behind = second->load();
      const std::uint64_t ahead = first->load();
      if (ahead != behind && ahead != behind + 1) return 255;
      for (std::size_t i = 2; i < kPages; i += 1 + i % 7)
        if (served.content(i) == Content::kWrong) return static_cast<int>(1 + i % 200);
      return 0;
    });
    ASSERT_EQ(status_of(child), 0) << "round " << round;
  }
  // The readers may not be left waiting: they end by themselves, and the monitor after them.
  for (std::size_t t = 1; t < threads.size(); ++t) threads[t].join();
  stop.store(true);
  threads[0].join();
  monitor.join();
}

// ---- FEATURE_EVENT_FORK ----

class UserForkEvent : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::setenv("USERFAULT_EVENT_FORK", "unprivileged", 1), 0); }
  void TearDown() override { ::unsetenv("USERFAULT_EVENT_FORK"); }

  // The descriptor of the next message, which has to be a fork event; -1.
  static int take_fork(int fd) {
    userfault_msg message{};
    if (!read_message(fd, &message) || message.event != USERFAULT_EVENT_FORK) return -1;
    return static_cast<int>(message.arg.fork.ufd);
  }
};

TEST_F(UserForkEvent, TheChildsFaultsReachTheMonitor) {
  constexpr std::size_t kPages = 64;
  const Served served(kPages, USERFAULT_FEATURE_EVENT_FORK);
  for (std::size_t i = 0; i < 10; ++i) ASSERT_EQ(served.copy(i), 0);
  int of_child = -1;
  std::thread monitor([&] {
    of_child = take_fork(served.fd);
    for (std::size_t i = 10; i < kPages; ++i) {
      userfault_msg message{};
      ASSERT_TRUE(read_message(of_child, &message));
      ASSERT_EQ(message.event, USERFAULT_EVENT_PAGEFAULT);
      ASSERT_EQ(message.arg.pagefault.address, reinterpret_cast<std::uintptr_t>(served.page(i)));
      ASSERT_EQ(served.copy_by(of_child, i), 0);
    }
  });
  const pid_t child = start_child([&] { return check_child(served, kPages, kPages); });
  EXPECT_EQ(status_of(child), 0);
  monitor.join();
  // The child is gone; the parent's own pages are as they were.
  EXPECT_EQ(served.copy_by(of_child, 20), ESRCH);
  EXPECT_EQ(userfault_ioctl_unregister(of_child, served.memory, served.bytes()), -1);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(userfault_close(of_child), 0);
  EXPECT_EQ(served.copy(20), 0);
}

TEST_F(UserForkEvent, OneEventForEachDescriptor) {
  const Served one(4, USERFAULT_FEATURE_EVENT_FORK);
  const Served two(4, USERFAULT_FEATURE_EVENT_FORK);
  const Served without(4);
  std::thread monitor([&] {
    for (const Served* served : {&one, &two}) {
      const int fd = take_fork(served->fd);
      ASSERT_GE(fd, 0);
      EXPECT_EQ(userfault_close(fd), 0);
    }
  });
  // With its descriptor closed the child's memory is ordinary again.
  const pid_t child = start_child([&] {
    return one.content(1) == Content::kZero && two.content(1) == Content::kZero && without.content(1) == Content::kZero
               ? 0
               : 1;
  });
  EXPECT_FALSE(wait_readable(one.fd, 0) || wait_readable(two.fd, 0)) << "fork returned before its events were read";
  EXPECT_EQ(status_of(child), 0);
  monitor.join();
  EXPECT_FALSE(wait_readable(without.fd, 0));
}

TEST_F(UserForkEvent, SigbusGoesToTheChildToo) {
  const Served served(4, USERFAULT_FEATURE_EVENT_FORK | USERFAULT_FEATURE_SIGBUS);
  int of_child = -1;
  std::thread monitor([&] { of_child = take_fork(served.fd); });
  const pid_t child = start_child([&] { return static_cast<int>(*const_cast<volatile char*>(served.page(1))); });
  monitor.join();
  EXPECT_EQ(status_of(child), 1000 + SIGBUS);
  EXPECT_EQ(userfault_close(of_child), 0);
}

TEST_F(UserForkEvent, WriteProtectionAndPoisonStay) {
  const Served served(8, USERFAULT_FEATURE_EVENT_FORK, USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP);
  for (std::size_t i = 0; i < 4; ++i) ASSERT_EQ(served.copy(i), 0);
  ASSERT_EQ(userfault_ioctl_writeprotect(served.fd, served.page(1), kPage, USERFAULT_WRITEPROTECT_MODE_WP), 0);
  ASSERT_EQ(userfault_ioctl_poison(served.fd, served.page(5), kPage, 0, nullptr), 0);
  std::thread monitor([&] {
    const int fd = take_fork(served.fd);
    userfault_msg message{};
    ASSERT_TRUE(read_message(fd, &message));
    EXPECT_EQ(message.arg.pagefault.flags, USERFAULT_PAGEFAULT_FLAG_WP | USERFAULT_PAGEFAULT_FLAG_WRITE);
    EXPECT_EQ(userfault_ioctl_poison(fd, served.page(5), kPage, 0, nullptr), -1);
    EXPECT_EQ(errno, EEXIST);
    EXPECT_EQ(userfault_ioctl_writeprotect(fd, served.page(1), kPage, 0), 0);
  });
  const pid_t child = start_child([&] {
    *served.page(0) = 1;
    *served.page(1) = 1;  // waits for the monitor
    return static_cast<int>(*const_cast<volatile char*>(served.page(5)));
  });
  monitor.join();
  EXPECT_EQ(status_of(child), 1000 + SIGBUS);
}

// ---- processes that share the memory, or leave it ----

TEST(UserFork, VforkAndSpawnShareTheMemory) {
  const Served served(16);
  ASSERT_EQ(served.copy(0), 0);
  const pid_t child = ::vfork();
  if (child == 0) ::_exit(served.content(0) == Content::kPattern ? 0 : 1);
  EXPECT_EQ(status_of(child), 0);
  pid_t spawned = -1;
  char program[] = "/bin/true";
  char* arguments[] = {program, nullptr};
  ASSERT_EQ(::posix_spawn(&spawned, program, nullptr, nullptr, arguments, environ), 0);
  EXPECT_EQ(status_of(spawned), 0);
  EXPECT_EQ(served.content(0), Content::kPattern);
  EXPECT_EQ(served.copy(1), 0);
  EXPECT_FALSE(wait_readable(served.fd, 0)) << "no event";
}

// A copy made past libc gets nothing rather than something wrong, and does not wait for nobody.
TEST(UserFork, ARawCopyFailsClosed) {
  const Served served(4);
  ASSERT_EQ(served.copy(0), 0);
  for (const std::size_t page : {0, 1}) {
    const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (child == 0) {
      ::signal(SIGSEGV, SIG_DFL);  // A sanitizer's own handler would make an exit status of it.
      ::alarm(20);
      ::_exit(*const_cast<volatile char*>(served.page(page)));
    }
    EXPECT_EQ(status_of(child), 1000 + SIGSEGV) << "page " << page;
  }
  EXPECT_EQ(served.content(0), Content::kPattern);
  EXPECT_FALSE(wait_readable(served.fd, 0));
}

// Its descriptor is the parent's, as the kernel's is (REAL-23), and so is the memory.
TEST(UserFork, ARawCopyDoesTheParentNoHarm) {
  const Served served(8);
  for (const std::size_t page : {0, 1, 2, 3}) ASSERT_EQ(served.copy(page), 0);
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child == 0) {
    ::alarm(20);
    static_cast<void>(userfault_madvise(served.page(0), kPage, MADV_DONTNEED));
    static_cast<void>(userfault_mprotect(served.page(1), kPage, PROT_NONE));
    static_cast<void>(userfault_munmap(served.page(2), 2 * kPage));
    // Over memory of the child's own, and of what the parent has there.
    void* const own = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static_cast<void>(userfault_mremap(own, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, served.page(0)));
    static_cast<void>(
        userfault_mremap(served.page(2), 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, served.page(6)));
    if (userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC) != -1 || errno != EPERM) ::_exit(254);
    if (const int error = served.copy(5); error != 0) ::_exit(error);
    ::_exit(served.copy(5) == EEXIST ? 0 : 255);
  }
  EXPECT_EQ(status_of(child), 0);
  for (const std::size_t page : {0, 1, 2, 3, 5}) EXPECT_EQ(served.content(page), Content::kPattern) << page;
  EXPECT_EQ(served.copy(6), 0);
  EXPECT_EQ(served.content(6), Content::kPattern);
}

// This test runs twice: the second time in the program that was executed.
TEST(UserFork, ADescriptorKeptOverExecHasLostItsMemory) {
  if (const char* number = std::getenv("USERFAULT_TEST_KEPT_FD"); number != nullptr) {
    const int fd = std::atoi(number);
    char* const somewhere = reinterpret_cast<char*>(0x10000);
    char page[kPage];
    if (userfault_engine_of(fd) != USERFAULT_ENGINE_USER) ::_exit(101);
    if (userfault_ioctl_copy(fd, somewhere, page, kPage, 0, nullptr) != -1 || errno != ESRCH) ::_exit(102);
    if (userfault_ioctl_register(fd, somewhere, kPage, 1, nullptr) != -1 || errno != ENOMEM) ::_exit(103);
    userfault_msg message;
    if (userfault_read(fd, &message, sizeof message) != -1 || errno != EAGAIN) ::_exit(104);
    ::_exit(userfault_close(fd) == 0 ? 42 : 105);
  }
  const pid_t child = start_child([] {
    const Served served(4);
    ::fcntl(served.fd, F_SETFD, 0);
    ::setenv("USERFAULT_TEST_KEPT_FD", std::to_string(served.fd).c_str(), 1);
    char program[] = "/proc/self/exe";
    char filter[] = "--gtest_filter=UserFork.ADescriptorKeptOverExecHasLostItsMemory";
    char* arguments[] = {program, filter, nullptr};
    ::execv(program, arguments);
    return 1;
  });
  EXPECT_EQ(status_of(child), 42);
}

TEST(UserFork, AChildMayUseTheEngineItself) {
  const Served served(4);
  ASSERT_EQ(served.copy(0), 0);
  const pid_t child = start_child([&] {
    const Served own(4);
    for (std::size_t i = 0; i < 4; ++i)
      if (own.copy(i) != 0 || own.content(i) != Content::kPattern) return 1;
    if (userfault_ioctl_register(own.fd, served.memory, served.bytes(), USERFAULT_REGISTER_MODE_MISSING, nullptr) != 0)
      return 2;
    return served.content(0) == Content::kPattern && own.copy_by(own.fd, 0) == EEXIST ? 0 : 3;
  });
  EXPECT_EQ(status_of(child), 0);
}

}  // namespace
}  // namespace userfault::test
