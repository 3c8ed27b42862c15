// SPDX-License-Identifier: Apache-2.0
// Descriptor: one userfaultfd, over the kernel's or over ours, with the handshake done right.
//
// Ownership: a Descriptor owns its file descriptor; it is move-only and closes on destruction.
// Threads: every const member may be called from any thread at any time, also while another thread
// reads or waits; moving, closing and destroying may not race with anything. All operations are
// async-signal-safe, and none allocates, except open, adopt, send_to and receive_from.
// Ranges: addresses and lengths are bytes and multiples of the page size of the mapping (2 MiB for
// such hugetlb memory); a length of 0 and a range that wraps are EINVAL.
// Memory: an operation acts on the address space in which the userfaultfd was created, also when it
// was inherited or received by another process (real-kernel row 23).
//
// Errors: besides what is listed at each operation, every operation gives EINVAL for a range or a
// mode that is not valid, ESRCH when the process whose memory it is has exited (REGISTER and
// UNREGISTER say ENOMEM then), and EBADF after close(). EAGAIN and EEXIST of the filling operations
// are no errors but values: see Outcome.
// Sources: userfaultfd(2), ioctl_userfaultfd(2), and for each operation its own page in section
// 2const (UFFDIO_COPY(2const) and so on, Linux man-pages 6.10).
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
  Features required{};        // opening fails with EINVAL when one is not offered
  Features wanted{};          // enabled where they are offered
  bool nonblocking = true;    // O_NONBLOCK; poll(2) works only with it (real-kernel row 20)
  bool close_on_exec = true;  // O_CLOEXEC
  // UFFD_USER_MODE_ONLY (Linux 5.11): an access from inside a system call to a missing page gives
  // EFAULT there instead of a message. kIfNeeded asks for it only when opening without was refused.
  enum class UserModeOnly : std::uint8_t { kNo, kYes, kIfNeeded } user_mode_only = UserModeOnly::kIfNeeded;
};

// How far a filling operation (copy, zeropage, resume, poison, move) came in one system call. None
// of these is an error, and none is ever a negative number in a count of bytes.
enum class Outcome : std::uint8_t {
  kComplete,  // all bytes
  // Some bytes, then something stood in the way: a page that was there already, or a layout change
  // (EAGAIN with a count). Go on after `bytes`; the next call says which.
  kPartial,
  kExists,  // nothing, the first page was there already (EEXIST). A thread may still sleep: wake()
  // Nothing: a layout event is on its way (EAGAIN without a count). It ends when the thread that
  // caused the event runs again, which is after somebody has read the event: read, pause, retry.
  kRetry,
};

struct Transfer {
  std::size_t bytes = 0;  // filled, from the start of the range; a multiple of the page size
  Outcome outcome = Outcome::kComplete;
  [[nodiscard]] bool complete() const noexcept { return outcome == Outcome::kComplete; }
};

struct CopyOptions {
  bool wake = true;            // false: UFFDIO_COPY_MODE_DONTWAKE, wake() comes later
  bool write_protect = false;  // UFFDIO_COPY_MODE_WP (5.7); EINVAL unless the range has mode::kWriteProtect
};
struct ContinueOptions {
  bool wake = true;            // false: UFFDIO_CONTINUE_MODE_DONTWAKE
  bool write_protect = false;  // UFFDIO_CONTINUE_MODE_WP (6.4); EINVAL as above
};
struct MoveOptions {
  bool wake = true;                 // false: UFFDIO_MOVE_MODE_DONTWAKE
  bool allow_source_holes = false;  // UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES: a hole moves as a hole
};

// How the *_fully calls deal with kRetry: at most `attempts` (1 or more) tries in a row without
// progress, a pause that doubles from `first_pause` up to `longest_pause` between them. While it
// pauses the thread sleeps; it never spins. The defaults give up after about 5 s.
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
  // Opens and enables: asks a first descriptor what is offered, then enables on a second one, for a
  // userfaultfd takes UFFDIO_API once (real-kernel row 1). Falls back between userfaultfd(2) and
  // /dev/userfaultfd, and between the two settings of UFFD_USER_MODE_ONLY (row 26).
  // Errors: EPERM, EACCES, ENOSYS: refused, Error::refused_by says by whom. EPERM also: EVENT_FORK
  // without CAP_SYS_PTRACE. EINVAL: a required feature is not offered. EMFILE, ENFILE, ENOMEM.
  // userfaultfd(2), "Errors"; UFFDIO_API(2const).
  [[nodiscard]] static Result<Descriptor> open(const OpenOptions& options = {});

  // Takes over a descriptor that came from elsewhere: a Forked message, SCM_RIGHTS, inheritance.
  // It belongs to the Descriptor only on success. features() is read from /proc/self/fdinfo where
  // that says (the kernel's engine), else empty. A descriptor that has had no handshake is taken,
  // too: every operation gives EINVAL until userfault_ioctl_api() succeeds on it.
  // Errors: EBADF: not open. EINVAL: no userfaultfd of either engine (or no /proc to tell).
  [[nodiscard]] static Result<Descriptor> adopt(int fd);

  // Sends the descriptor over a connected Unix socket (SCM_RIGHTS, unix(7)) with one byte of data,
  // and receives one. Sender and receiver each keep an open descriptor of their own. A blocking
  // socket waits, a signal does not end the wait; on others EAGAIN. Errors: those of sendmsg(2) and
  // recvmsg(2); EPIPE: the peer has closed; EBADMSG: what came is not one descriptor sent by
  // send_to; EINVAL: it is no userfaultfd.
  [[nodiscard]] Result<void> send_to(int socket) const;
  [[nodiscard]] static Result<Descriptor> receive_from(int socket);

  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();

  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] EngineKind engine() const noexcept { return engine_; }
  // What was enabled, and all that this engine offers here (empty after adopt()).
  [[nodiscard]] Features features() const noexcept { return enabled_; }
  [[nodiscard]] Features available() const noexcept { return available_; }
  // Closes now instead of at destruction. When it was the last copy of the userfaultfd in any
  // process, all its ranges lose their registration and every waiting thread goes on, with zeroes
  // in pages that are still missing (userfaultfd(2), "Description"): fill or poison them before.
  void close() noexcept;
  // Gives the number away without closing it; the Descriptor is empty afterwards.
  [[nodiscard]] int release() noexcept;

  // UFFDIO_REGISTER: from now on faults in `range` become messages. Returns the operations that the
  // range supports. Pages that are there stay and do not fault as missing. Registering again may
  // add modes, never removes them (real-kernel row 5); holes are skipped (row 7).
  // EINVAL: also no mapping in the range, or one that cannot have the mode. EBUSY: a mapping is
  // registered with another userfaultfd. EPERM: a shared file mapping without write access (row
  // 34). ENOMEM: the process has exited, or vm.max_map_count is reached.
  [[nodiscard]] Result<Operations> register_range(PageRange range, Modes modes) const;
  // UFFDIO_UNREGISTER. Threads that wait there go on, with zeroes where a page is still missing.
  // EINVAL: also no mapping in the range, or one that another userfaultfd has. ENOMEM as above.
  [[nodiscard]] Result<void> unregister(PageRange range) const;

  // The filling operations: one system call each, nothing is retried. On all of them ENOENT: the
  // destination is not registered, not mapped, or spans two mappings (row 31), or the layout
  // changed meanwhile; ENOMEM: no memory for the page or its page table.
  // UFFDIO_COPY. `from` is any readable memory of the caller that holds to.length bytes, with any
  // alignment. Atomic for each page: no thread sees a part. EFAULT: `from` is not readable, or `to`
  // is past the end of the file. ENOSPC: Linux 4.11 to 4.13 for ESRCH.
  [[nodiscard]] Result<Transfer> copy(PageRange to, const void* from, CopyOptions options = {}) const;
  // UFFDIO_ZEROPAGE. EINVAL: also on hugetlb memory; copy zeroes there.
  [[nodiscard]] Result<Transfer> zeropage(PageRange range, bool wake = true) const;
  // UFFDIO_CONTINUE (5.13): maps what the page cache has. EFAULT: it has no page there. EINVAL: also
  // on anonymous memory.
  [[nodiscard]] Result<Transfer> resume(PageRange range, ContinueOptions options = {}) const;
  // UFFDIO_POISON (6.6): every later access raises SIGBUS, in this address space only, until
  // MADV_DONTNEED or munmap(2); unregistering does not lift it (row 36).
  [[nodiscard]] Result<Transfer> poison(PageRange range, bool wake = true) const;
  // UFFDIO_MOVE (6.8): takes the pages at `from` and maps them at `to`; private anonymous memory
  // only, else EINVAL. ENOENT: also a hole in the source without allow_source_holes. EBUSY: a page
  // of the source is pinned or shared with another process (after fork).
  [[nodiscard]] Result<Transfer> move(PageRange to, std::uintptr_t from, MoveOptions options = {}) const;
  // UFFDIO_WAKE: every thread that waits in `range` tries its access again.
  [[nodiscard]] Result<void> wake(PageRange range) const;
  // UFFDIO_WRITEPROTECT with and without MODE_WP (5.7). Protecting a page that is not there does
  // nothing, unless feature::kWpUnpopulated (row 16); MADV_DONTNEED takes the protection with the
  // page (row 37). Protecting never wakes. ENOENT: not registered with mode::kWriteProtect. EAGAIN:
  // a layout event is on its way, see Outcome::kRetry; write_protect_fully waits it out. EFAULT: a
  // fault while it worked.
  [[nodiscard]] Result<void> write_protect(PageRange range) const;
  [[nodiscard]] Result<void> write_unprotect(PageRange range, bool wake = true) const;

  // The same until the whole range is done: partial results are resumed, kRetry is waited out by
  // `policy`, pages that were there are kept and their waiters woken (an EEXIST without a wake is
  // how a wake-up gets lost). `bytes` counts what this call itself filled; the outcome is
  // kComplete, or kExists when some page was there. An error's range is the part that was left;
  // EAGAIN: the policy is used up. Somebody else has to read the messages meanwhile, or a layout
  // event never ends: a single-threaded monitor uses the calls above and reads between its tries.
  [[nodiscard]] Result<Transfer> copy_fully(PageRange to, const void* from, CopyOptions options = {},
                                            const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<Transfer> zeropage_fully(PageRange range, const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<Transfer> resume_fully(PageRange range, ContinueOptions options = {},
                                              const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<Transfer> poison_fully(PageRange range, const RetryPolicy& policy = {}) const;
  // A destination page that was there keeps its contents, and its source page stays where it was.
  [[nodiscard]] Result<Transfer> move_fully(PageRange to, std::uintptr_t from, MoveOptions options = {},
                                            const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<void> write_protect_fully(PageRange range, const RetryPolicy& policy = {}) const;
  [[nodiscard]] Result<void> write_unprotect_fully(PageRange range, const RetryPolicy& policy = {}) const;

  // Reads as many messages as there are and fit, at most 64; returns the part of `into` that was
  // filled, empty when there is none and the descriptor does not block. Page faults come before
  // layout events (row 8); a fault that was resolved before it was read is gone (row 11). A Forked
  // message's descriptor belongs to the caller. EINVAL: `into` is empty. EINTR: a blocking read
  // was interrupted by a signal handler without SA_RESTART. EMFILE, ENFILE: no number for the
  // descriptor of a Forked message, which stays unread.
  [[nodiscard]] Result<std::span<Message>> read(std::span<Message> into) const;
  // The same without waiting, whatever the descriptor's flags are: for those who look a few times
  // before they go to sleep in read(). EOPNOTSUPP: the kernel cannot (before Linux 6.10).
  [[nodiscard]] Result<std::span<Message>> read_now(std::span<Message> into) const;
  // As read(), without decoding and without the limit, for those who keep the wire form.
  [[nodiscard]] Result<std::span<userfault_msg>> read_raw(std::span<userfault_msg> into) const;
  // Waits until a message can be read: true, or false when the time ran out. A negative timeout
  // waits for ever. Another reader may be faster: read() may still find nothing. EINTR: a signal
  // handler ran. EINVAL: the descriptor blocks (row 20). EBADF.
  [[nodiscard]] Result<bool> wait(std::chrono::milliseconds timeout) const;

  // feature::kWpAsync: the pages of `range` written since they were last protected, into `written`
  // (merged ranges, ascending); with `protect_again` they are protected in the same step. Returns
  // the part that was filled and the address where the walk stopped: less than range.end() when
  // `written` was full or an error came after some of the work; call again from there. Reads the
  // calling process's memory. The kernel's is PAGEMAP_SCAN (Linux 6.7). ENOTTY: an older kernel.
  // EPERM: `protect_again`, and a part of the range is not registered with feature::kWpAsync.
  struct Written {
    std::span<PageRange> ranges;
    std::uintptr_t walked_to = 0;
  };
  [[nodiscard]] Result<Written> written(PageRange range, std::span<PageRange> written, bool protect_again) const;

  // In-thread resolution: `handler(context, fd(), fault)` runs in the thread that faulted, inside a
  // signal handler, and no message is sent. What it may do: userfault_in_thread(3), which this is.
  // nullptr ends it. EINVAL: on the kernel's engine without feature::kSigbus.
  using InThreadHandler = int (*)(void* context, int fd, const userfault_msg* fault);
  [[nodiscard]] Result<void> in_thread(InThreadHandler handler, void* context = nullptr) const;

 private:
  Descriptor(int fd, EngineKind engine, Features enabled, Features available) noexcept
      : fd_(fd), engine_(engine), enabled_(enabled), available_(available) {}

  int fd_ = -1;
  EngineKind engine_ = EngineKind::kKernel;
  Features enabled_{};
  Features available_{};
};

}  // namespace userfault
