// SPDX-License-Identifier: Apache-2.0
// usage: dlclose_test LIBRARY
// A program that opens the shared library at run time, serves memory with it, and closes it while the
// memory is registered: the signal handlers are still there, so a fault has to be served and a crash
// has to be a crash. Without -z nodelete the first fault runs into unmapped code.
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "userfault/userfault.h"

namespace {

constexpr std::size_t kPage = 4096;

[[noreturn]] void fail(const char* what) {
  std::printf("FAILED: %s\n", what);
  std::fflush(stdout);
  ::_exit(1);
}

template <typename Function>
Function* find(void* library, const char* name) {
  void* symbol = ::dlsym(library, name);
  if (symbol == nullptr) fail(name);
  return reinterpret_cast<Function*>(symbol);
}

struct Served {
  int fd;
  volatile char* page;
  decltype(userfault_ioctl_copy)* copy;
};

// The library is closed when this returns.
Served serve_and_close(const char* path) {
  void* library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail(::dlerror());
  const int fd =
      find<decltype(userfault_open)>(library, "userfault_open")(USERFAULT_ENGINE_USER, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail("userfault_open");
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (find<decltype(userfault_ioctl_api)>(library, "userfault_ioctl_api")(fd, 0, nullptr, nullptr) != 0) fail("API");
  if (find<decltype(userfault_ioctl_register)>(library, "userfault_ioctl_register")(
          fd, page, kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr) != 0)
    fail("REGISTER");
  auto* copy = find<decltype(userfault_ioctl_copy)>(library, "userfault_ioctl_copy");
  if (::dlclose(library) != 0) fail("dlclose");
  return {fd, static_cast<volatile char*>(page), copy};
}

void expect_served(const Served& served) {
  std::atomic<int> seen{0};
  std::thread thread([&] { seen = *served.page; });
  pollfd entry{.fd = served.fd, .events = POLLIN, .revents = 0};
  if (::poll(&entry, 1, 20000) != 1) fail("no fault came");
  char content[kPage];
  std::memset(content, 7, sizeof content);
  if (served.copy(served.fd, const_cast<char*>(served.page), content, kPage, 0, nullptr) != 0) fail("COPY");
  thread.join();
  if (seen != 7) fail("the thread has read something else");
}

void expect_crash() {
  const pid_t child = ::fork();
  if (child == 0) {
    auto* nowhere = static_cast<volatile char*>(::mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    *nowhere = 1;
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
    fail("a crash does not end in SIGSEGV any more");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) fail("usage: dlclose_test LIBRARY");
  ::alarm(60);
  const Served served = serve_and_close(argv[1]);
  expect_served(served);
  expect_crash();
  return 0;
}
