// SPDX-License-Identifier: Apache-2.0
// A thread that can fail to start, which std::thread cannot without exceptions. Joined on
// destruction. Asynchronous signals are blocked in it, so a program's handlers never run there.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace userfault::base {

class Thread {
 public:
  Thread() = default;
  Thread(Thread&& other) noexcept : id_(other.id_), running_(std::exchange(other.running_, false)) {}
  Thread& operator=(Thread&& other) noexcept {
    if (this != &other) {
      join();
      id_ = other.id_;
      running_ = std::exchange(other.running_, false);
    }
    return *this;
  }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() { join(); }

  // 0, or a positive errno as pthread_create(3) gives it. The name has at most 15 characters.
  [[nodiscard]] int start(const char* name, std::function<void()> body) {
    join();
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    // A fault's own signals cannot wait: blocked, they would end the process.
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) ::sigdelset(&all, number);
    auto owned = std::make_unique<Start>(Start{name, std::move(body)});
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const int code = ::pthread_create(&id_, nullptr, &Thread::run, owned.get());
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (code != 0) return code;
    owned.release();
    running_ = true;
    return 0;
  }

  [[nodiscard]] bool running() const noexcept { return running_; }

  void join() noexcept {
    if (!running_) return;
    ::pthread_join(id_, nullptr);
    running_ = false;
  }

 private:
  struct Start {
    std::string name;
    std::function<void()> body;
  };

  // The thread names itself, so that its body already runs under the name.
  static void* run(void* argument) {
    const std::unique_ptr<Start> start(static_cast<Start*>(argument));
    ::pthread_setname_np(::pthread_self(), start->name.c_str());
    start->body();
    return nullptr;
  }

  pthread_t id_{};
  bool running_ = false;
};

}  // namespace userfault::base
