// SPDX-License-Identifier: Apache-2.0
// A library of a program's, whose constructor calls every name that the preload library exports. The
// loader runs it before the preload library's own constructor. Each call has to give what it gives
// without the preload library; EARLY_IN_HANDLER makes them all inside a signal handler.
#include "early_calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#pragma GCC diagnostic ignored "-Wnonnull"

extern "C" {
int __open(const char* path, int flags, ...);
int __open64(const char* path, int flags, ...);
int __open_2(const char* path, int flags);
int __open64_2(const char* path, int flags);
int __openat_2(int directory, const char* path, int flags);
int __openat64_2(int directory, const char* path, int flags);
int __close(int fd);
int __dup2(int from, int to) noexcept;
int __fcntl(int fd, int command, ...);
[[gnu::weak]] int pidfd_getfd(int process, int fd, unsigned flags) noexcept;  // glibc 2.36
off_t __lseek(int fd, off_t offset, int whence) noexcept;
ssize_t __read(int fd, void* buffer, size_t bytes);
ssize_t __read_chk(int fd, void* buffer, size_t bytes, size_t size);
ssize_t __pread64(int fd, void* buffer, size_t bytes, off64_t offset);
ssize_t __pread_chk(int fd, void* buffer, size_t bytes, off_t offset, size_t size);
ssize_t __pread64_chk(int fd, void* buffer, size_t bytes, off64_t offset, size_t size);
ssize_t __write(int fd, const void* buffer, size_t bytes);
ssize_t __pwrite64(int fd, const void* buffer, size_t bytes, off64_t offset);
size_t __fread_chk(void* into, size_t room, size_t size, size_t count, FILE* stream);
int __poll(pollfd* fds, nfds_t count, int timeout);
int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t size);
int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t size);
pid_t __fork() noexcept;
int __sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept;
sighandler_t bsd_signal(int signal, sighandler_t handler) noexcept;
sighandler_t __sysv_signal(int signal, sighandler_t handler) noexcept;
}

namespace {

constexpr int kNone = -1;  // no descriptor
constexpr const char* kPath = "/dev/null";
char nothing[] = "";
char byte;
iovec piece{&byte, 1};
struct stat status;
struct stat64 status64;
sigset_t empty;
pollfd nothing_to_poll{.fd = kNone, .events = POLLIN, .revents = 0};
timespec no_time{};
timeval no_time_at_all{};
struct sigaction old_action;
sockaddr_storage address;
socklen_t address_length = sizeof address;
FILE* stream = nullptr;

template <typename Call>
bool fails(int error, Call call) {
  errno = 0;
  return call() == -1 && errno == error;
}

bool is_open(int fd) {
  const bool opened = fd >= 0;
  ::syscall(SYS_close, fd);
  return opened;
}

bool forks(pid_t child) {
  if (child == 0) ::_exit(7);
  int how = 0;
  return child > 0 && ::waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 7;
}

bool ends(pid_t child) {
  int how = -1;
  return ::waitpid(child, &how, 0) == child && how == 0;
}

bool spawns(decltype(&posix_spawn) spawn) {
  pid_t child = 0;
  char name[] = "/bin/true";
  char* const arguments[] = {name, nullptr};
  char* const environment[] = {nullptr};
  return spawn(&child, name, nullptr, nullptr, arguments, environment) == 0 && ends(child);
}

int child_of_clone(void*) { return 7; }
bool clones() {
  static char stack[1 << 16];
  const int child = ::clone(child_of_clone, stack + sizeof stack, SIGCHLD, nullptr);
  int how = 0;
  return child > 0 && ::waitpid(child, &how, 0) == child && WEXITSTATUS(how) == 7;
}

volatile int times_back;
bool goes_back_to_context() {
  static ucontext_t context;
  times_back = 0;
  ::getcontext(&context);
  times_back = times_back + 1;
  if (times_back == 1) ::setcontext(&context);
  return times_back == 2;
}

bool swaps_contexts() {
  static ucontext_t here;
  static ucontext_t there;
  times_back = 0;
  ::getcontext(&there);
  times_back = times_back + 1;
  if (times_back == 1) ::swapcontext(&here, &there);
  return times_back == 2;
}

// One signal, pending.
bool waits_for_signal(int signal, bool (*wait)(const sigset_t& set, int signal)) {
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, &before);
  ::raise(signal);
  const bool right = wait(set, signal);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return right;
}

void on_signal(int) {}
bool suspends() {
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  ::sigprocmask(SIG_BLOCK, &set, &before);
  ::signal(SIGUSR2, on_signal);
  ::raise(SIGUSR2);
  sigemptyset(&set);
  const bool right = fails(EINTR, [&] { return ::sigsuspend(&set); });
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ::signal(SIGUSR2, SIG_DFL);
  return right;
}

bool changes_attributes() {
  pthread_attr_t attributes;
  sigset_t mask;
  ::pthread_attr_init(&attributes);
  return ::pthread_attr_setsigmask_np(&attributes, &empty) == 0 &&
         ::pthread_attr_getsigmask_np(&attributes, &mask) == 0 && sigisemptyset(&mask) == 1;
}

bool rests(int (*rest)(const timespec*, timespec*)) { return rest(&no_time, nullptr) == 0; }

bool maps() {
  void* const page = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page != MAP_FAILED && ::munmap(page, 4096) == 0;
}
bool maps64() {
  void* const page = ::mmap64(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page != MAP_FAILED && ::munmap(page, 4096) == 0;
}

bool nobody_is_there(pid_t result) { return result == -1 && errno == ECHILD; }

// `[name] { expression }`: whether the call gave what libc's gives.
#define CALL(name, expression)         \
  {                                    \
#name, [] { return (expression); } \
  }
#define EBADF_FROM(name, ...) CALL(name, fails(EBADF, [] { return ::name(__VA_ARGS__); }))

const EarlyCall kDescriptorCalls[] = {
    EBADF_FROM(close, kNone),
    EBADF_FROM(__close, kNone),
    CALL(close_range, ::close_range(UINT_MAX - 1, UINT_MAX, 0) == 0),
    CALL(closefrom, (::closefrom(INT_MAX), true)),
    EBADF_FROM(dup, kNone),
    EBADF_FROM(fcntl, kNone, F_GETFD),
    EBADF_FROM(fcntl64, kNone, F_GETFD),
    EBADF_FROM(__fcntl, kNone, F_GETFD),
    CALL(pidfd_getfd, &::pidfd_getfd == nullptr || fails(EBADF, [] { return ::pidfd_getfd(kNone, 0, 0); })),
    EBADF_FROM(dup2, kNone, 3),
    EBADF_FROM(__dup2, kNone, 3),
    EBADF_FROM(dup3, kNone, 3, 0),
    EBADF_FROM(lseek, kNone, 0, SEEK_SET),
    EBADF_FROM(lseek64, kNone, 0, SEEK_SET),
    EBADF_FROM(__lseek, kNone, 0, SEEK_SET),
    EBADF_FROM(ioctl, kNone, FIONREAD, &byte),
    EBADF_FROM(read, kNone, &byte, 1),
    EBADF_FROM(__read, kNone, &byte, 1),
    EBADF_FROM(__read_chk, kNone, &byte, 1, 1),
    EBADF_FROM(readv, kNone, &piece, 1),
    EBADF_FROM(pread, kNone, &byte, 1, 0),
    EBADF_FROM(pread64, kNone, &byte, 1, 0),
    EBADF_FROM(__pread64, kNone, &byte, 1, 0),
    EBADF_FROM(__pread_chk, kNone, &byte, 1, 0, 1),
    EBADF_FROM(__pread64_chk, kNone, &byte, 1, 0, 1),
    EBADF_FROM(preadv, kNone, &piece, 1, 0),
    EBADF_FROM(preadv64, kNone, &piece, 1, 0),
    EBADF_FROM(preadv2, kNone, &piece, 1, 0, 0),
    EBADF_FROM(preadv64v2, kNone, &piece, 1, 0, 0),
    EBADF_FROM(write, kNone, &byte, 1),
    EBADF_FROM(__write, kNone, &byte, 1),
    EBADF_FROM(pwrite, kNone, &byte, 1, 0),
    EBADF_FROM(pwrite64, kNone, &byte, 1, 0),
    EBADF_FROM(__pwrite64, kNone, &byte, 1, 0),
    EBADF_FROM(writev, kNone, &piece, 1),
    EBADF_FROM(pwritev, kNone, &piece, 1, 0),
    EBADF_FROM(pwritev64, kNone, &piece, 1, 0),
    EBADF_FROM(pwritev2, kNone, &piece, 1, 0, 0),
    EBADF_FROM(pwritev64v2, kNone, &piece, 1, 0, 0),
    CALL(poll, ::poll(&nothing_to_poll, 1, 0) == 0),
    CALL(__poll, ::__poll(&nothing_to_poll, 1, 0) == 0),
    CALL(__poll_chk, ::__poll_chk(&nothing_to_poll, 1, 0, sizeof nothing_to_poll) == 0),
    CALL(ppoll, ::ppoll(&nothing_to_poll, 1, &no_time, &empty) == 0),
    CALL(__ppoll_chk, ::__ppoll_chk(&nothing_to_poll, 1, &no_time, &empty, sizeof nothing_to_poll) == 0),
    CALL(select, ::select(0, nullptr, nullptr, nullptr, &no_time_at_all) == 0),
    CALL(pselect, ::pselect(0, nullptr, nullptr, nullptr, &no_time, &empty) == 0),
    CALL(epoll_wait, fails(EBADF,
                           [] {
                             epoll_event event;
                             return ::epoll_wait(kNone, &event, 1, 0);
                           })),
    CALL(epoll_pwait, fails(EBADF,
                            [] {
                              epoll_event event;
                              return ::epoll_pwait(kNone, &event, 1, 0, &empty);
                            })),
    CALL(epoll_pwait2, fails(EBADF,
                             [] {
                               epoll_event event;
                               return ::epoll_pwait2(kNone, &event, 1, &no_time, &empty);
                             })),
    CALL(epoll_ctl, fails(EBADF,
                          [] {
                            epoll_event event{};
                            return ::epoll_ctl(kNone, EPOLL_CTL_ADD, 0, &event);
                          })),
    EBADF_FROM(send, kNone, &byte, 1, 0),
    EBADF_FROM(sendto, kNone, &byte, 1, 0, nullptr, 0),
    CALL(sendmsg, fails(EBADF,
                        [] {
                          msghdr message{};
                          return ::sendmsg(kNone, &message, 0);
                        })),
    CALL(sendmmsg, fails(EBADF,
                         [] {
                           mmsghdr message{};
                           return ::sendmmsg(kNone, &message, 1, 0);
                         })),
    EBADF_FROM(recv, kNone, &byte, 1, 0),
    EBADF_FROM(recvfrom, kNone, &byte, 1, 0, nullptr, nullptr),
    CALL(recvmsg, fails(EBADF,
                        [] {
                          msghdr message{};
                          return ::recvmsg(kNone, &message, 0);
                        })),
    CALL(recvmmsg, fails(EBADF,
                         [] {
                           mmsghdr message{};
                           return ::recvmmsg(kNone, &message, 1, 0, nullptr);
                         })),
    EBADF_FROM(connect, kNone, reinterpret_cast<sockaddr*>(&address), sizeof address),
    EBADF_FROM(bind, kNone, reinterpret_cast<sockaddr*>(&address), sizeof address),
    EBADF_FROM(accept, kNone, nullptr, nullptr),
    EBADF_FROM(accept4, kNone, nullptr, nullptr, 0),
    EBADF_FROM(setsockopt, kNone, SOL_SOCKET, SO_DEBUG, &address_length, sizeof address_length),
    EBADF_FROM(getsockopt, kNone, SOL_SOCKET, SO_TYPE, &byte, &address_length),
    EBADF_FROM(getsockname, kNone, reinterpret_cast<sockaddr*>(&address), &address_length),
    EBADF_FROM(getpeername, kNone, reinterpret_cast<sockaddr*>(&address), &address_length),
    CALL(socketpair,
         [] {
           int ends[2];
           return ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && is_open(ends[0]) && is_open(ends[1]);
         }()),
    CALL(pipe,
         [] {
           int ends[2];
           return ::pipe(ends) == 0 && is_open(ends[0]) && is_open(ends[1]);
         }()),
    CALL(pipe2,
         [] {
           int ends[2];
           return ::pipe2(ends, O_CLOEXEC) == 0 && is_open(ends[0]) && is_open(ends[1]);
         }()),
};

const EarlyCall kFileCalls[] = {
    CALL(open, is_open(::open(kPath, O_RDONLY))),
    CALL(open64, is_open(::open64(kPath, O_RDONLY))),
    CALL(__open, is_open(::__open(kPath, O_RDONLY))),
    CALL(__open64, is_open(::__open64(kPath, O_RDONLY))),
    CALL(__open_2, is_open(::__open_2(kPath, O_RDONLY))),
    CALL(__open64_2, is_open(::__open64_2(kPath, O_RDONLY))),
    CALL(openat, is_open(::openat(AT_FDCWD, kPath, O_RDONLY))),
    CALL(openat64, is_open(::openat64(AT_FDCWD, kPath, O_RDONLY))),
    CALL(__openat_2, is_open(::__openat_2(AT_FDCWD, kPath, O_RDONLY))),
    CALL(__openat64_2, is_open(::__openat64_2(AT_FDCWD, kPath, O_RDONLY))),
    CALL(fopen,
         [] {
           FILE* const file = ::fopen("/dev/zero", "r+");
           return file != nullptr && ::fclose(file) == 0;
         }()),
    CALL(fopen64, (stream = ::fopen64("/dev/zero", "r+")) != nullptr),
    CALL(freopen, (stream = ::freopen("/dev/zero", "r+", stream)) != nullptr),
    CALL(freopen64, (stream = ::freopen64("/dev/zero", "r+", stream)) != nullptr),
    CALL(fread, ::fread(&byte, 1, 1, stream) == 1),
    CALL(fread_unlocked, ::fread_unlocked(&byte, 1, 1, stream) == 1),
    CALL(__fread_chk, ::__fread_chk(&byte, 1, 1, 1, stream) == 1),
    CALL(fwrite, ::fwrite(&byte, 1, 1, stream) == 1),
    CALL(fwrite_unlocked, ::fwrite_unlocked(&byte, 1, 1, stream) == 1),
    CALL(stat, ::stat(kPath, &status) == 0),
    CALL(stat64, ::stat64(kPath, &status64) == 0),
    CALL(lstat, ::lstat(kPath, &status) == 0),
    CALL(lstat64, ::lstat64(kPath, &status64) == 0),
    EBADF_FROM(fstat, kNone, &status),
    EBADF_FROM(fstat64, kNone, &status64),
    CALL(fstatat, ::fstatat(AT_FDCWD, kPath, &status, 0) == 0),
    CALL(fstatat64, ::fstatat64(AT_FDCWD, kPath, &status64, 0) == 0),
    CALL(statx,
         [] {
           struct statx all;
           return ::statx(AT_FDCWD, kPath, 0, STATX_TYPE, &all) == 0;
         }()),
    CALL(statfs,
         [] {
           struct statfs all;
           return ::statfs(kPath, &all) == 0;
         }()),
    CALL(statfs64,
         [] {
           struct statfs64 all;
           return ::statfs64(kPath, &all) == 0;
         }()),
    CALL(fstatfs, fails(EBADF,
                        [] {
                          struct statfs all;
                          return ::fstatfs(kNone, &all);
                        })),
    CALL(fstatfs64, fails(EBADF,
                          [] {
                            struct statfs64 all;
                            return ::fstatfs64(kNone, &all);
                          })),
    CALL(readlink, ::readlink("/proc/self/exe", &byte, 1) == 1),
    CALL(readlinkat, ::readlinkat(AT_FDCWD, "/proc/self/exe", &byte, 1) == 1),
    EBADF_FROM(getdents64, kNone, &byte, 1),
    CALL(access, ::access(kPath, R_OK) == 0),
    CALL(faccessat, ::faccessat(AT_FDCWD, kPath, R_OK, 0) == 0),
    CALL(chdir, ::chdir(".") == 0),
    CALL(mkdir, fails(EEXIST, [] { return ::mkdir("/", 0700); })),
    CALL(rmdir, fails(EBUSY, [] { return ::rmdir("/"); })),
    CALL(unlink, fails(ENOENT, [] { return ::unlink(nothing); })),
    CALL(rename, fails(ENOENT, [] { return ::rename(nothing, nothing); })),
};

const EarlyCall kMemoryCalls[] = {
    CALL(mmap, maps()),
    CALL(mmap64, maps64()),
    CALL(munmap, fails(EINVAL, [] { return ::munmap(&byte, 0); })),
    CALL(mremap, ::mremap(nullptr, 0, 0, 0) == MAP_FAILED),
    CALL(madvise, fails(EINVAL, [] { return ::madvise(nullptr, 4096, -1); })),
    CALL(posix_madvise, ::posix_madvise(nullptr, 0, POSIX_MADV_NORMAL) == 0),
    CALL(mprotect, fails(EINVAL, [] { return ::mprotect(nullptr, 4096, -1); })),
    CALL(mincore,
         fails(EINVAL,
               [] { return ::mincore(reinterpret_cast<void*>(1), 1, reinterpret_cast<unsigned char*>(&byte)); })),
};

const EarlyCall kProcessCalls[] = {
    CALL(fork, forks(::fork())),
    CALL(__fork, forks(::__fork())),
    CALL(_Fork, forks(::_Fork())),
    CALL(clone, clones()),
    CALL(syscall, ::syscall(SYS_getpid) == ::getpid()),
    CALL(execve, fails(ENOENT,
                       [] {
                         char* const none[] = {nullptr};
                         return ::execve(nothing, none, none);
                       })),
    CALL(execv, fails(ENOENT,
                      [] {
                        char* const none[] = {nullptr};
                        return ::execv(nothing, none);
                      })),
    CALL(execvp, fails(ENOENT,
                       [] {
                         char* const none[] = {nullptr};
                         return ::execvp(nothing, none);
                       })),
    CALL(execvpe, fails(ENOENT,
                        [] {
                          char* const none[] = {nullptr};
                          return ::execvpe(nothing, none, none);
                        })),
    CALL(posix_spawn, spawns(&::posix_spawn)),
    CALL(posix_spawnp, spawns(&::posix_spawnp)),
    CALL(wait, nobody_is_there(::wait(nullptr))),
    CALL(waitpid, nobody_is_there(::waitpid(-1, nullptr, 0))),
    CALL(wait4, nobody_is_there(::wait4(-1, nullptr, 0, nullptr))),
    CALL(waitid, nobody_is_there(::waitid(P_ALL, 0, nullptr, WEXITED))),
    CALL(uname,
         [] {
           utsname name;
           return ::uname(&name) == 0;
         }()),
    CALL(getrandom, ::getrandom(&byte, 1, 0) == 1),
    CALL(nanosleep, rests(&::nanosleep)),
    CALL(clock_nanosleep, ::clock_nanosleep(CLOCK_MONOTONIC, 0, &no_time, nullptr) == 0),
    CALL(getrusage,
         [] {
           rusage usage;
           return ::getrusage(RUSAGE_SELF, &usage) == 0;
         }()),
    CALL(getrlimit,
         [] {
           rlimit limit;
           return ::getrlimit(RLIMIT_CORE, &limit) == 0 && ::setrlimit(RLIMIT_CORE, &limit) == 0;
         }()),
    CALL(setrlimit, fails(EINVAL,
                          [] {
                            rlimit limit{1, 0};
                            return ::setrlimit(RLIMIT_CORE, &limit);
                          })),
    CALL(getrlimit64,
         [] {
           rlimit64 limit;
           return ::getrlimit64(RLIMIT_CORE, &limit) == 0;
         }()),
    CALL(setrlimit64, fails(EINVAL,
                            [] {
                              rlimit64 limit{1, 0};
                              return ::setrlimit64(RLIMIT_CORE, &limit);
                            })),
};

const EarlyCall kSignalCalls[] = {
    CALL(sigaction, ::sigaction(SIGUSR2, nullptr, &old_action) == 0),
    CALL(__sigaction, ::__sigaction(SIGUSR2, nullptr, &old_action) == 0),
    CALL(signal, ::signal(SIGUSR2, SIG_DFL) == SIG_DFL),
    CALL(bsd_signal, ::bsd_signal(SIGUSR2, SIG_DFL) == SIG_DFL),
    CALL(ssignal, ::ssignal(SIGUSR2, SIG_DFL) == SIG_DFL),
    CALL(sysv_signal, ::sysv_signal(SIGUSR2, SIG_DFL) == SIG_DFL),
    CALL(__sysv_signal, ::__sysv_signal(SIGUSR2, SIG_DFL) == SIG_DFL),
    CALL(sigset, ::sigset(SIGUSR2, SIG_DFL) == SIG_DFL),
    CALL(sigignore, ::sigignore(SIGUSR2) == 0 && ::signal(SIGUSR2, SIG_DFL) == SIG_IGN),
    CALL(sighold, ::sighold(SIGUSR2) == 0),
    CALL(sigrelse, ::sigrelse(SIGUSR2) == 0),
    CALL(sigblock, ::sigblock(0) != -1),
    CALL(sigsetmask, ::sigsetmask(::sigblock(0)) != -1),
    CALL(sigprocmask, ::sigprocmask(SIG_BLOCK, &empty, nullptr) == 0),
    CALL(pthread_sigmask, ::pthread_sigmask(SIG_BLOCK, &empty, nullptr) == 0),
    CALL(sigsuspend, suspends()),
    CALL(sigpending,
         [] {
           sigset_t pending;
           return ::sigpending(&pending) == 0;
         }()),
    CALL(sigwait, waits_for_signal(SIGUSR2,
                                   [](const sigset_t& set, int signal) {
                                     int got = 0;
                                     return ::sigwait(&set, &got) == 0 && got == signal;
                                   })),
    CALL(sigwaitinfo, waits_for_signal(SIGUSR2, [](const sigset_t& set,
                                                   int signal) { return ::sigwaitinfo(&set, nullptr) == signal; })),
    CALL(sigtimedwait, fails(EAGAIN, [] { return ::sigtimedwait(&empty, nullptr, &no_time); })),
    CALL(sigaltstack, ::sigaltstack(nullptr, nullptr) == 0),
    CALL(setcontext, goes_back_to_context()),
    CALL(swapcontext, swaps_contexts()),
    CALL(pthread_attr_setsigmask_np, changes_attributes()),
    CALL(pthread_attr_getsigmask_np, changes_attributes()),
};

EarlyResults results;

template <std::size_t kCount>
void make(const EarlyCall (&calls)[kCount]) {
  for (const EarlyCall& call : calls) {
    results.names[results.made] = call.name;
    results.right[results.made++] = call.make();
  }
}

void make_all(int) {
  make(kDescriptorCalls);
  make(kFileCalls);
  make(kMemoryCalls);
  make(kProcessCalls);
  make(kSignalCalls);
}

[[gnu::constructor]] void call_early() {
  sigemptyset(&empty);
  if (::getenv("EARLY_IN_HANDLER") == nullptr) return make_all(0);
  ::signal(SIGUSR1, make_all);
  ::raise(SIGUSR1);
}

}  // namespace

const EarlyResults& early_results() { return results; }
