// SPDX-License-Identifier: Apache-2.0
// A fault is SIGSEGV. What happens then:
//
//   in a guarded copy of ours      end the copy (copy.h)
//   not in an area                 the program's own handler, as if we were not there
//   the program forbade the access the same
//   else                           the step that classify.h names: return, so that the access is tried again;
//                                  queue the thread as a fault, ring, sleep, return; or SIGBUS to the program's handler
//
// Everything is decided under the table's lock, shared; nothing is held while the thread sleeps, or
// when the program's handler runs.
#include "engine/user/fault/handler.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/user/fault/classify.h"
#include "engine/user/fault/kernel_in_thread.h"
#include "engine/user/memory/page_access.h"
#include "engine/user/memory/presence.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/proc/vma_query.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/process_identity.h"
#include "engine/user/signal/chain.h"
#include "engine/user/signal/machine_context.h"
#include "engine/user/signal/signal_frame.h"
#include "engine/user/wait/fault_queue.h"

namespace userfault::engine::user {
namespace {

struct Fault {
  std::uintptr_t address = 0;
  MemoryAccess access{};     // by the kernel: the engine reads the source of a COPY
  std::uintptr_t frame = 0;  // of the signal
  // The mapping's protection may permit it. False for protection keys and the like, which it does not show.
  bool may_pass = true;
};

enum class Verdict : std::uint8_t { kTryAgain, kNotOurs, kPoisoned, kSigbus, kQueued, kInThread };

struct Decision {
  Verdict verdict = Verdict::kNotOurs;
  Instance* instance = nullptr;
  FaultReport report{};
  QueuedFault queued{};
};

// ---- faults that find nothing wrong ----

// A fault that seems resolved and comes again and again means that the mappings are not what the
// states say: somebody changed them behind our back. It must end as a genuine fault, not as a loop.
struct Repeat {
  std::atomic<std::uint64_t> key{0};
  std::atomic<std::size_t> changes{0};  // of the layout, by then
  std::atomic<std::uint32_t> count{0};
};
constexpr std::size_t kRepeats = 4096;
constexpr std::uint32_t kTooOften = 100000;
// Where no area is, the mapping was ours until a moment ago or never was. Of those that never were some
// fault for ever, although their protection permits the access (guard pages of the program's).
constexpr std::uint32_t kTooOftenOutside = 16;
constinit Repeat repeats[kRepeats];

// A thread is known by where its signal's frame is, which costs no system call. Two that fault in a loop and
// share a slot keep each other from being counted, so there are many.
Repeat& repeat_of(const Fault& fault) noexcept { return repeats[(fault.frame >> 12) % kRepeats]; }

// Under the table's lock, shared.
bool too_often(const Fault& fault, std::uint32_t most = kTooOften) noexcept {
  const std::uint64_t key = (fault.address << 16) ^ fault.frame ^ (fault.access.write ? std::uint64_t{1} << 63 : 0);
  // Another access of the thread, or a change of the layout in between, begins another row.
  Repeat& slot = repeat_of(fault);
  const bool other_access = slot.key.exchange(key, std::memory_order_relaxed) != key;
  const bool other_layout = slot.changes.exchange(transition_count(), std::memory_order_relaxed) != transition_count();
  if (other_access || other_layout) {
    slot.count.store(0, std::memory_order_relaxed);
    return false;
  }
  return slot.count.fetch_add(1, std::memory_order_relaxed) >= most;
}

// A fault that has somebody to wait for ends a row of those that found nothing wrong.
void end_row(const Fault& fault) noexcept { repeat_of(fault).key.store(0, std::memory_order_relaxed); }

// No area. Either it never was ours, or it stopped being ours (or was about to become it) between
// the fault and now; then the mapping permits the access. Of the latest changes the addresses are known;
// of others (many areas at once, memory that was mapped over) a few trials tell.
Decision outside(const Fault& fault) noexcept {
  Mapping mapping;
  const std::uint32_t most = in_transition(fault.address) ? kTooOften : kTooOftenOutside;
  if (fault.may_pass && find_mapping(fault.address, &mapping) == 0 && mapping.start <= fault.address &&
      permits(mapping.protection, fault.access) && !too_often(fault, most))
    return {.verdict = Verdict::kTryAgain};
  return {.verdict = Verdict::kNotOurs};
}

// ---- faults of ours ----

Decision try_again(const Fault& fault) noexcept {
  return {.verdict = too_often(fault) ? Verdict::kNotOurs : Verdict::kTryAgain};
}

// Something was in the way, and is not any more.
Decision go_on(const Fault& fault) noexcept {
  end_row(fault);
  return {.verdict = Verdict::kTryAgain};
}

// Where it means nothing, an access to a page that is not there takes the mark away (pte_marker_clear); of huge
// pages it stays (hugetlb_no_page).
void drop_mark(const Area& area, std::size_t index) noexcept {
  if (area.extent->huge() || (area.modes & USERFAULT_REGISTER_MODE_WP) != 0) return;
  auto& state = area.state(index);
  PageState seen = state.load();
  while (seen.is_missing() && seen.is_write_protected())
    if (state.try_change(seen, seen.with_protection(false))) return;
}

// No monitor is to hear of this page: it is opened as it is, zero where nothing was written.
Decision open_quietly(const Area& area, std::size_t index, const Fault& fault) noexcept {
  auto& state = area.state(index);
  PageState seen = state.load();
  if (!seen.is_missing() || !state.try_change(seen, seen.claimed())) return try_again(fault);
  const LockedForProtection locked(area);
  const bool protect = state.load().is_write_protected();
  const long opened = open_run(area, {index, 1}, protect);
  // A write that has to wait has made the object's page all the same.
  if (opened >= 0 && protect && area.extent->shared())
    static_cast<void>(bring_page(area.address_of(index), area.extent->page_size()));
  finish_busy(*area.extent, {index, 1}, opened < 0 ? PageContent::kMissing : PageContent::kPresent, protect);
  // Without a mapping to open it with the access cannot go on; the kernel's answer to a page that it
  // cannot provide is SIGBUS too.
  if (opened < 0) return {.verdict = Verdict::kSigbus};
  return go_on(fault);
}

std::uint64_t flags_of(Step step) noexcept {
  USERFAULT_INVARIANT(is_report(step), "a fault was queued that no monitor has to hear of");
  if (step == Step::kReportMinor) return USERFAULT_PAGEFAULT_FLAG_MINOR;
  return step == Step::kReportProtected ? USERFAULT_PAGEFAULT_FLAG_WP : 0;
}

// What the page's state must still be when the thread is queued.
WaitCondition condition_of(const Area& area, std::size_t index, Step step) noexcept {
  constexpr PageState kMissing;
  constexpr PageState kProtected = PageState(PageContent::kPresent).with_protection(true);
  const auto& word = area.state(index).word();
  if (step != Step::kReportProtected) return {&word, PageState::kContent, kMissing.bits()};
  return {&word, PageState::kContent | PageState::kWriteProtected, kProtected.bits()};
}

// Queues the calling thread for the monitor, unless it resolves the fault itself.
Decision report(const Area& area, std::size_t index, const Fault& fault, Step step) noexcept {
  USERFAULT_INVARIANT(area.instance != nullptr, "a fault was reported to no descriptor");
  Instance& instance = *area.instance;
  Decision decision{.verdict = Verdict::kQueued, .instance = &instance};
  decision.report = {.address = area.address_of(index),
                     .exact = fault.address,
                     .flags = flags_of(step) | (fault.access.write ? USERFAULT_PAGEFAULT_FLAG_WRITE : 0)};
  if (has_in_thread(instance)) {
    decision.verdict = Verdict::kInThread;
    return decision;
  }
  decision.queued = queue_fault(instance, decision.report, condition_of(area, index, step));
  if (decision.queued.claimed.waiter == nullptr && decision.queued.end == WaitEnd::kResolved)
    decision.verdict = Verdict::kTryAgain;
  return decision;
}

// FEATURE_WP_ASYNC: the write is let through and the lost protection is the record of it.
Decision write_through(const Area& area, std::size_t index, const Fault& fault) noexcept {
  Locked changing(area.extent->protection);
  auto& state = area.state(index);
  state.update([](PageState seen) { return seen.with_protection(false); });
  if (protect_run(area, {index, 1}, false) < 0) {
    state.update([](PageState seen) { return seen.with_protection(true); });
    return {.verdict = Verdict::kSigbus};
  }
  return go_on(fault);
}

// The page is not protected and its mapping is: another thread is between the two, or UFFDIO_WRITEPROTECT could not
// lift the mapping's protection for want of mappings; or the range was registered again without the mode.
Decision make_writable(const Area& area, std::size_t index, const Fault& fault) noexcept {
  Locked changing(area.extent->protection);
  const PageState state = area.state(index).load();
  if (is_mark_valid(state, area.modes) || !state.is_read_only()) return try_again(fault);
  if (protect_run(area, {index, 1}, false) < 0) return {.verdict = Verdict::kSigbus};
  return go_on(fault);
}

// A change that ended half-way for want of mappings (madvise, a conversion) has left a page that is there
// closed. Nothing else does: an operation that fills a page opens it first and then finishes it.
Decision reopen(const Area& area, std::size_t index, const Fault& fault) noexcept {
  const LockedForProtection locked(area);
  const PageState state = area.state(index).load();
  if (!state.is_present() || state.is_open()) return try_again(fault);
  if (open_run(area, {index, 1}, is_mark_valid(state, area.modes)) < 0) return {.verdict = Verdict::kSigbus};
  return go_on(fault);
}

// Takes the step that the access needs. What the page is by now each step asks again, under its lock.
Decision take(Step step, const Area& area, std::size_t index, const Fault& fault) noexcept {
  switch (step) {
    case Step::kNone: return try_again(fault);
    case Step::kWait: wait_while_busy(*area.extent, area.state(index)); return {.verdict = Verdict::kTryAgain};
    case Step::kOpen: return open_quietly(area, index, fault);
    case Step::kReopen: return reopen(area, index, fault);
    case Step::kMakeWritable: return make_writable(area, index, fault);
    case Step::kWriteThrough: return write_through(area, index, fault);
    case Step::kReportMissing:
    case Step::kReportMinor:
    case Step::kReportProtected: return report(area, index, fault, step);
    case Step::kForbidden: return {.verdict = Verdict::kNotOurs};
    case Step::kPoisoned: return {.verdict = Verdict::kPoisoned};
    case Step::kUnavailable:
    case Step::kRefused: return {.verdict = Verdict::kSigbus};
  }
  USERFAULT_INVARIANT(false, "a fault was decided with a step that does not exist");
  __builtin_unreachable();
}

Decision decide(const Fault& fault) noexcept {
  LockedShared locked(space.lock);
  const Area* area = space.find(fault.address);
  if (area == nullptr) return outside(fault);
  const std::size_t index = area->page_at(fault.address);
  const PageFacts page = facts_of(*area, index);
  const Step step = classify(page, fault.access);
  if (step != Step::kForbidden && page.state.is_missing()) drop_mark(*area, index);
  return take(step, *area, index, fault);
}

// Our pages are closed or guarded, which the kernel calls SEGV_ACCERR or SEGV_MAPERR as it comes;
// natively an access that the program's own protection forbids is SEGV_ACCERR.
void mend_info(const Fault& fault, siginfo_t* info) noexcept {
  LockedShared locked(space.lock);
  if (space.find(fault.address) != nullptr) info->si_code = SEGV_ACCERR;
}

[[gnu::noinline]] void become_sigbus(Verdict verdict, const Fault& fault, siginfo_t* info, void* context) noexcept {
  info->si_signo = SIGBUS;
  info->si_errno = 0;
  info->si_code = verdict == Verdict::kPoisoned ? BUS_MCEERR_AR : BUS_ADRERR;
  info->si_addr = reinterpret_cast<void*>(fault.address);
  if (verdict == Verdict::kPoisoned) info->si_addr_lsb = 12;
  chain(SIGBUS, info, context, Origin::kEngine);
}

// Whether the access may be tried again.
bool resolve_in_thread(const Decision& decision, const Fault& fault) noexcept {
  Instance& instance = *decision.instance;
  const InThread handler = in_thread_of(instance);
  if (handler.function == nullptr) return true;
  end_row(fault);
  const int tid = (instance.features & USERFAULT_FEATURE_THREAD_ID) != 0 ? sys::gettid() : 0;
  const userfault_msg message = message_of(instance, address_of(instance, decision.report), decision.report.flags, tid);
  const InvokeFunction invoke = invoke_in_thread.load();
  USERFAULT_INVARIANT(invoke != nullptr, "a handler of the program's has no way to be called");
  return invoke(handler.function, handler.context, instance.read_fd, &message) != 0;
}

bool from_kernel(const siginfo_t* info) noexcept { return info->si_code > 0 && info->si_code != SI_KERNEL; }

// Decides and, where a monitor has to act, sleeps; signals are blocked but for the sleep, which
// has the program's mask.
[[gnu::noinline]] Decision decide_and_wait(const Fault& fault, SignalMask program) noexcept {
  Decision decision = decide(fault);
  if (decision.verdict == Verdict::kQueued && decision.queued.claimed.waiter != nullptr) {
    // However the wait ended, the access is tried again.
    end_row(fault);
    static_cast<void>(sleep_on(*decision.instance, decision.queued, program));
    decision.verdict = Verdict::kTryAgain;
  }
  return decision;
}

// All signals but the synchronous ones are blocked from the first instruction on (chain.cc).
void on_segv(int signal, siginfo_t* info, void* context) {
  auto* machine = static_cast<ucontext_t*>(context);
  std::uintptr_t resume = 0;
  const FaultPlace place = place_of(instruction_of(machine), &resume);
  if (place == FaultPlace::kGuardedCopy) return set_instruction(machine, resume);
  if (!from_kernel(info) || !is_own_process()) return chain(signal, info, context);

  const Fault fault{
      .address = reinterpret_cast<std::uintptr_t>(info->si_addr),
      .access = {.write = was_write(machine), .fetch = was_fetch(machine), .by_kernel = place == FaultPlace::kTouch},
      .frame = reinterpret_cast<std::uintptr_t>(info),
      .may_pass = info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR};
  const SignalMask program = mask_of(SignalFrame{.info = info, .context = machine});
  Decision decision = decide_and_wait(fault, program);
  if (decision.verdict == Verdict::kTryAgain) return;
  if (decision.verdict == Verdict::kInThread) {
    // The program's function runs as its handler would.
    sys::set_signal_mask(program);
    if (resolve_in_thread(decision, fault)) return;
    decision.verdict = Verdict::kSigbus;
  }
  if (place == FaultPlace::kTouch) return set_instruction(machine, resume);
  if (decision.verdict == Verdict::kNotOurs) {
    mend_info(fault, info);
    return chain(signal, info, context);
  }
  // Poisoned, FEATURE_SIGBUS, or more waiters than there are slots: fail closed.
  become_sigbus(decision.verdict, fault, info, context);
}

// The object behind a guarded copy may end before the copy does; and on the kernel's engine SIGBUS
// is a fault to be resolved in this thread.
void on_sigbus(int signal, siginfo_t* info, void* context) {
  auto* machine = static_cast<ucontext_t*>(context);
  std::uintptr_t resume = 0;
  if (place_of(instruction_of(machine), &resume) != FaultPlace::kElsewhere) return set_instruction(machine, resume);
  if (resolve_served(info, context)) return;
  chain(signal, info, context);
}

}  // namespace

long install_handlers() noexcept {
  if (const int result = install(SIGSEGV, on_segv); result < 0) return result;
  return install_sigbus_handler();
}

long install_sigbus_handler() noexcept { return install(SIGBUS, on_sigbus); }

}  // namespace userfault::engine::user
