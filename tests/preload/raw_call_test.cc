// SPDX-License-Identifier: Apache-2.0
// Programs that make their system calls themselves. The first descriptor comes through libc: only then
// is anybody looking.
#include "raw_call.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstddef>

#include "served.h"

namespace preload_test {
namespace {

int raw_userfaultfd() { return static_cast<int>(raw_call(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)); }
long raw_ioctl(int fd, unsigned long request, void* argument) {
  return raw_call(SYS_ioctl, fd, static_cast<long>(request), as_long(argument));
}
char* raw_pages(std::size_t count, char* at = nullptr) {
  const long address = raw_call(SYS_mmap, as_long(at), static_cast<long>(count * kPage), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | (at != nullptr ? MAP_FIXED : 0), -1, 0);
  return reinterpret_cast<char*>(address);
}
char first_byte(const char* at) { return *static_cast<const volatile char*>(at); }

int exit_status_of(long child) {
  int status = 0;
  EXPECT_EQ(::waitpid(static_cast<pid_t>(child), &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(RawCall, ServeAFault) {
  const Served seen(1);
  ASSERT_TRUE(seen.ready());
  const int fd = raw_userfaultfd();
  ASSERT_GE(fd, 0) << "-" << -fd;
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  ASSERT_EQ(raw_ioctl(fd, UFFDIO_API, &api), 0);
  char* const memory = raw_pages(2);
  uffdio_register range{.range = {reinterpret_cast<std::uintptr_t>(memory), 2 * kPage},
                        .mode = UFFDIO_REGISTER_MODE_MISSING,
                        .ioctls = 0};
  ASSERT_EQ(raw_ioctl(fd, UFFDIO_REGISTER, &range), 0);
  std::thread faulting([=] { EXPECT_EQ(first_byte(memory + kPage), 0); });
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  while (::poll(&entry, 1, -1) < 0) EXPECT_EQ(errno, EINTR);
  uffd_msg message{};
  EXPECT_EQ(raw_call(SYS_read, fd, as_long(&message), sizeof message), static_cast<long>(sizeof message));
  EXPECT_EQ(message.arg.pagefault.address, reinterpret_cast<std::uintptr_t>(memory + kPage));
  EXPECT_EQ(raw_call(SYS_read, fd, as_long(&message), sizeof message), -EAGAIN);
  uffdio_zeropage request{.range = {range.range.start + kPage, kPage}, .mode = 0, .zeropage = 0};
  EXPECT_EQ(raw_ioctl(fd, UFFDIO_ZEROPAGE, &request), 0);
  faulting.join();
  EXPECT_EQ(raw_ioctl(fd, UFFDIO_ZEROPAGE, &request), -EEXIST);
  EXPECT_EQ(raw_call(SYS_munmap, as_long(memory), 2 * kPage), 0);
  EXPECT_EQ(raw_call(SYS_close, fd), 0);
  EXPECT_EQ(raw_call(SYS_close, fd), -EBADF);
}

TEST(RawCall, UnmappingEndsTheRegistration) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  ASSERT_EQ(raw_call(SYS_munmap, as_long(served.at(0)), kPage), 0);
  uffdio_zeropage request{.range = {reinterpret_cast<std::uintptr_t>(served.at(0)), kPage}, .mode = 0, .zeropage = 0};
  EXPECT_EQ(::ioctl(served.fd(), UFFDIO_ZEROPAGE, &request), -1);
  EXPECT_EQ(errno, ENOENT);
  ASSERT_EQ(raw_pages(1, served.at(0)), served.at(0));
  EXPECT_EQ(first_byte(served.at(0)), 0);
  ASSERT_EQ(raw_pages(1, served.at(1)), served.at(1));
  EXPECT_EQ(first_byte(served.at(1)), 0);
  EXPECT_EQ(served.faults(), 0U);
}

TEST(RawCall, DroppedPagesAreMissingAgain) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  EXPECT_EQ(first_byte(served.at(0)), content(0));
  EXPECT_EQ(raw_call(SYS_madvise, as_long(served.at(0)), kPage, MADV_DONTNEED), 0);
  EXPECT_EQ(first_byte(served.at(0)), content(0));
  EXPECT_EQ(served.faults(), 2U);
}

TEST(RawCall, MissingBuffersAreBrought) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_EQ(raw_call(SYS_write, ends[1], as_long(served.at(0)), 8), 8);
  EXPECT_EQ(raw_call(SYS_read, ends[0], as_long(served.at(1)), 8), 8);
  EXPECT_EQ(first_byte(served.at(1)), content(0));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(RawCall, AFaultIsServedWhereAllSignalsAreBlocked) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  const std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t before = 0;
  std::uint64_t now = 0;
  ASSERT_EQ(raw_call(SYS_rt_sigprocmask, SIG_SETMASK, as_long(&all), as_long(&before), 8), 0);
  const char first = first_byte(served.at(0));
  EXPECT_EQ(raw_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, as_long(&now), 8), 0);
  EXPECT_EQ(raw_call(SYS_rt_sigprocmask, SIG_SETMASK, as_long(&before), 0, 8), 0);
  EXPECT_EQ(first, content(0));
  EXPECT_NE(now & std::uint64_t{1} << (SIGSEGV - 1), 0U);
  EXPECT_NE(now & std::uint64_t{1} << (SIGTERM - 1), 0U);
  EXPECT_EQ(raw_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, as_long(&now), 8), 0);
  EXPECT_EQ(now, before);
}

TEST(RawCall, ACopyOfTheProcessHasTheMemory) {
  const Served served(2);
  ASSERT_TRUE(served.ready());
  EXPECT_EQ(first_byte(served.at(0)), content(0));
  for (const bool raw : {true, false}) {
    const long child = raw ? raw_call(SYS_clone, SIGCHLD) : ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) ::_exit(first_byte(served.at(0)) == content(0) && first_byte(served.at(1)) == 0 ? 7 : 1);
    ASSERT_GT(child, 0);
    EXPECT_EQ(exit_status_of(child), 7) << (raw ? "raw" : "through syscall(3)");
  }
}

TEST(RawCall, AnotherProgramRunsUndisturbed) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  const long child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", "test \"$(cat /proc/self/comm)\" = cat && exit 5", nullptr);
    ::_exit(1);
  }
  EXPECT_EQ(exit_status_of(child), 5);
}

volatile std::sig_atomic_t sys_signals;
volatile std::sig_atomic_t sys_code;
volatile std::sig_atomic_t sys_number;

void count_sigsys(int, siginfo_t* info, void*) {
  sys_signals = sys_signals + 1;
  sys_code = info->si_code;
  sys_number = info->si_syscall;
}

// The program's own filter and handler, in a child that nothing else is left in.
int trap_getppid() {
  sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 9),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program{.len = 4, .filter = filter};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 2;
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return 3;
  raw_call(SYS_getppid);
  return sys_signals == 1 && sys_code == 1 && sys_number == SYS_getppid ? 0 : 4;
}

TEST(RawCall, TheProgramsOwnTrapsAreItsOwn) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  sys_signals = 0;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_sigaction = count_sigsys;
  action.sa_flags = SA_SIGINFO;
  sigfillset(&action.sa_mask);
  ASSERT_EQ(::sigaction(SIGSYS, &action, &before), 0);
  EXPECT_EQ(before.sa_handler, SIG_DFL);
  const long child = ::fork();
  if (child == 0) ::_exit(trap_getppid());
  EXPECT_EQ(exit_status_of(child), 0);
  ::raise(SIGSYS);
  EXPECT_EQ(sys_signals, 1);
  EXPECT_EQ(::sigaction(SIGSYS, &before, &action), 0);
  EXPECT_EQ(action.sa_sigaction, count_sigsys);
  EXPECT_EQ(sigismember(&action.sa_mask, SIGUSR1), 1);
}

volatile char seen_in_handler;
char* volatile wanted_in_handler;

void touch_page(int) {
  std::uint64_t mask = 0;
  raw_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, as_long(&mask), 8);
  seen_in_handler = first_byte(wanted_in_handler);
}

TEST(RawCall, AHandlerThatBlocksAllSignalsIsServed) {
  const Served served(1);
  ASSERT_TRUE(served.ready());
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = touch_page;
  sigfillset(&action.sa_mask);
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  wanted_in_handler = served.at(0);
  ::raise(SIGUSR1);
  EXPECT_EQ(seen_in_handler, content(0));
  EXPECT_EQ(::sigaction(SIGUSR1, &before, &action), 0);
  EXPECT_EQ(sigismember(&action.sa_mask, SIGSEGV), 1);
}

}  // namespace
}  // namespace preload_test
