// SPDX-License-Identifier: Apache-2.0
// Descriptor: one userfaultfd, over the kernel's or over ours, with the handshake done right.
//
// Ownership: a Descriptor owns its file descriptor; it is move-only and closes on destruction.
// Threads: every operation may be called from any thread at any time, also while another thread
// reads; moving and destroying may not race with anything.
// Errors: as ioctl_userfaultfd(2) lists them for each operation. What every operation can give:
// EINVAL (bad range or mode), ESRCH (the process whose memory it is has exited), EFAULT.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "userfault/abi.h"
#include "userfault/error.h"
#include "userfault/export.h"
#include "userfault/features.h"
#include "userfault/message.h"
#include "userfault/range.h"

namespace userfault {

enum class EngineKind : std::uint8_t {
  kAutomatic,  // the kernel's where it opens with the features asked for, else ours
  kKernel,
  kUser,
};
[[nodiscard]] USERFAULT_EXPORT const char* name_of(EngineKind kind) noexcept;

struct OpenOptions {
  EngineKind engine = EngineKind::kAutomatic;
  Features required{};         // opening fails with EINVAL when one is missing
  Features wanted{};           // enabled where they are offered
  bool nonblocking = true;     // O_NONBLOCK; poll(2) works only with it
  bool close_on_exec = true;   // O_CLOEXEC
  // UFFD_USER_MODE_ONLY: faults taken inside system calls give EFAULT. kIfNeeded asks for it only
  // when opening without it was refused.
  enum class UserModeOnly : std::uint8_t { kNo, kYes, kIfNeeded } user_mode_only = UserModeOnly::kIfNeeded;
};

// How far a filling operation came. None of these is an error.
enum class Outcome : std::uint8_t {
  kComplete,  // all bytes
  kPartial,   // `bytes` were done, then a page that was there, or a layout change: go on from there
  kExists,    // the first page was there already (EEXIST). A thread may still sleep on it: wake()
  kRetry,     // nothing done, a layout event has not been read yet or is being handled (EAGAIN)
};

struct Transfer {
  std::size_t bytes = 0;
  Outcome outcome = Outcome::kComplete;
  [[nodiscard]] bool complete() const noexcept { return outcome == Outcome::kComplete; }
};

struct CopyOptions {
  bool wake = true;            // false: UFFDIO_COPY_MODE_DONTWAKE
  bool write_protect = false;  // UFFDIO_COPY_MODE_WP; the range needs MISSING and WP
};
struct ContinueOptions {
  bool wake = true;
  bool write_protect = false;  // UFFDIO_CONTINUE_MODE_WP, Linux 6.4
};
struct MoveOptions {
  bool wake = true;
  bool allow_source_holes = false;
};

// How the *_fully calls deal with kRetry: at most `attempts` tries in a row without progress, a
// pause that doubles from `first_pause` up to `longest_pause` between them. While it pauses the
// thread sleeps; it never spins.
struct RetryPolicy {
  int attempts = 1000;
  std::chrono::microseconds first_pause{10};
  std::chrono::microseconds longest_pause{5000};
  // What to step over when a page is there already, in bytes: the mapping's page size. 0 is the
  // system's; hugetlb memory needs its own.
  std::size_t page_size = 0;
};

class USERFAULT_EXPORT Descriptor {
 public:
  // Opens and enables. Falls back between userfaultfd(2) and /dev/userfaultfd, and between the two
  // settings of UFFD_USER_MODE_ONLY (real-kernel row 26). Errors: EPERM, EACCES, ENOSYS, EINVAL,
  // EMFILE, ENFILE, ENOMEM; Error::refused_by says who refused.
  [[nodiscard]] static Result<Descriptor> open(const OpenOptions& options = {});

  // Takes over a descriptor that came from elsewhere: a Forked message, SCM_RIGHTS, inheritance.
  // EBADF: not open. EINVAL: not a userfaultfd of either engine.
  [[nodiscard]] static Result<Descriptor> adopt(int fd);

  // Sends the descriptor over a connected Unix socket (SCM_RIGHTS), and receives one. Both keep or
  // get an open descriptor of their own. Errors: those of sendmsg(2) and recvmsg(2); EPIPE when the
  // peer closed; EBADMSG when what came is no descriptor.
  [[nodiscard]] Result<void> send_to(int socket) const;
  [[nodiscard]] static Result<Descriptor> receive_from(int socket);

  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();

  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] EngineKind engine() const noexcept { return engine_; }
  // What was enabled, and all that this engine offers here. Empty after adopt().
  [[nodiscard]] Features features() const noexcept { return enabled_; }
  [[nodiscard]] Features available() const noexcept { return available_; }
  // Closes our copy now and gives up the number without closing it, in that order of use.
  void close() noexcept;
  [[nodiscard]] int release() noexcept;

  // UFFDIO_REGISTER. Returns the operations that the range supports. EBUSY: another userfaultfd has
  // it. EPERM: a file mapped without write access. ENOMEM: the process has exited.
  [[nodiscard]] Result<Operations> register_range(PageRange range, Modes modes) const;
  // UFFDIO_UNREGISTER. Threads that wait there go on.
  [[nodiscard]] Result<void> unregister(PageRange range) const;

  // One system call each; nothing is retried. ENOENT: the range is not registered or has changed.
  [[nodiscard]] Result<Transfer> copy(PageRange to, const void* from, CopyOptions options = {}) const;
  [[nodiscard]] Result<Transfer> zeropage(PageRange range, bool wake = true) const;
  // UFFDIO_CONTINUE. EFAULT: the page cache has no page there.
  [[nodiscard]] Result<Transfer> resume(PageRange range, ContinueOptions options = {}) const;
  [[nodiscard]] Result<Transfer> poison(PageRange range, bool wake = true) const;
  // UFFDIO_MOVE. ENOENT: a hole in the source and allow_source_holes is off. EBUSY: a page is
  // pinned or shared.
  [[nodiscard]] Result<Transfer> move(PageRange to, std::uintptr_t from, MoveOptions options = {}) const;
  [[nodiscard]] Result<void> wake(PageRange range) const;
  // UFFDIO_WRITEPROTECT with and without MODE_WP. ENOENT: not registered with mode::kWriteProtect.
  // EAGAIN: a layout event is pending; write_protect_fully retries.
  [[nodiscard]] Result<void> write_protect(PageRange range) const;
  [[nodiscard]] Result<void> write_unprotect(PageRange range, bool wake = true) const;

  // The same until the whole range is done: partial results are resumed, kRetry is waited out by
  // `policy` (then EAGAIN), pages that were there are kept and their waiters woken. `bytes` counts
  // what this call itself filled; the outcome is kComplete, or kExists when some page was there.
  [[nodiscard]] Result<Transfer> copy_fully(PageRange to, const void* from, CopyOptions options = {},
                                            const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<Transfer> zeropage_fully(PageRange range, const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<Transfer> resume_fully(PageRange range, ContinueOptions options = {},
                                              const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<Transfer> poison_fully(PageRange range, const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<void> write_protect_fully(PageRange range, const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<void> write_unprotect_fully(PageRange range, const RetryPolicy& policy = {}) const;

  // Reads as many messages as there are and fit; returns the part of `into` that was filled, empty
  // when there is none and the descriptor does not block. EINVAL: `into` is empty.
  [[nodiscard]] Result<std::span<Message>> read(std::span<Message> into) const;
  // The same without decoding, for those who keep the wire form.
  [[nodiscard]] Result<std::span<userfault_msg>> read_raw(std::span<userfault_msg> into) const;
  // Waits until a message can be read: true, or false when the time ran out. A negative timeout
  // waits for ever. EINTR: a signal came. EINVAL: the descriptor blocks (real-kernel row 20).
  [[nodiscard]] Result<bool> wait(std::chrono::milliseconds timeout) const;

  // FEATURE_WP_ASYNC: the pages of `range` written since they were last protected, into `written`
  // (merged ranges); with `protect_again` they are protected in the same step. Returns the part
  // that was filled and the address where the walk stopped: less than range.end() when `written`
  // was full. The kernel's is PAGEMAP_SCAN of the calling process (Linux 6.7).
  struct Written {
    std::span<PageRange> ranges;
    std::uintptr_t walked_to = 0;
  };
  [[nodiscard]] Result<Written> written(PageRange range, std::span<PageRange> written,
                                        bool protect_again) const;

 private:
  Descriptor(int fd, EngineKind engine, Features enabled, Features available) noexcept
      : fd_(fd), engine_(engine), enabled_(enabled), available_(available) {}
  [[nodiscard]] int operate(unsigned long request, void* argument) const noexcept;

  int fd_ = -1;
  EngineKind engine_ = EngineKind::kKernel;
  Features enabled_{};
  Features available_{};
};

}  // namespace userfault
