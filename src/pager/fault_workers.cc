// SPDX-License-Identifier: Apache-2.0
#include "pager/fault_workers.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "base/check.h"
#include "base/page_size.h"

namespace userfault::pager {
namespace {

constexpr std::size_t kMostMessages = 16;
// With others that take over, a few are enough: what is left in the queue is the next leader's.
constexpr std::size_t kMostShared = 4;

[[noreturn]] void die(const Error& error) {
  std::fprintf(stderr, "userfault: the pager cannot read its descriptor: %s\n", error.message().c_str());
  std::abort();
}

}  // namespace

// Asking for more than one message makes the kernel look for a second, which a lone fault waits
// for. So most reads ask for one, and one in sixteen finds out whether more are queued.
class FaultWorkers::Appetite {
 public:
  explicit Appetite(std::size_t most) noexcept : most_(most) {}
  [[nodiscard]] std::size_t next() const noexcept { return next_; }
  void got(std::size_t messages) noexcept {
    lone_ = messages > 1 ? 0 : lone_ + 1;
    next_ = lone_ % 16 == 0 ? most_ : 1;
  }

 private:
  const std::size_t most_;
  std::size_t next_ = 1;
  std::size_t lone_ = 0;
};

FaultWorkers::FaultWorkers(const Descriptor& descriptor, unsigned threads, RegionTable& regions, FaultService& service,
                           FaultsInService& in_service) noexcept
    : descriptor_(descriptor), threads_wanted_(threads), regions_(regions), service_(service), in_service_(in_service) {
  USERFAULT_CHECK(threads != 0, "a pager has no worker");
}

// Where the first thread could not be started the bell would not be answered.
FaultWorkers::~FaultWorkers() {
  if (std::ranges::any_of(threads_, &base::Thread::running)) doorbell_.ring();
}

Result<void> FaultWorkers::start() {
  USERFAULT_CHECK(threads_.empty(), "the workers are started twice");
  if (auto installed = doorbell_.install(descriptor_); !installed) return installed;
  threads_.resize(threads_wanted_);
  for (base::Thread& thread : threads_)
    if (const int code = thread.start("uf-fault", [this] { run(); }); code != 0)
      return Unexpected(Error{.operation = Operation::kOpen, .code = code, .refused_by = Refuser::kLimit});
  return {};
}

// Ended by the doorbell's message alone: if a worker left for another reason, the bell might be answered by
// none.
void FaultWorkers::run() {
  Lead lead(lead_);
  std::array<Message, kMostMessages> buffer;
  Appetite appetite(several() ? kMostShared : buffer.size());
  for (lead.take(); !doorbell_.has_rung();) {
    assert_leads(lead);
    const std::span<Message> messages = read(std::span(buffer).first(appetite.next()));
    appetite.got(messages.size());
    const auto count = static_cast<std::uint32_t>(messages.size());
    in_service_.begin(count);
    if (count > 1 && several()) lead.hand_over();
    for (const Message& message : messages) serve(message, lead);
    in_service_.end(count);
    if (!lead.held()) lead.take();
  }
}

void FaultWorkers::assert_leads(const Lead& lead) const {
  USERFAULT_CHECK(lead.held(), "a worker reads messages without the lead");
}

// At least one message.
std::span<Message> FaultWorkers::read(std::span<Message> room) {
  for (;;) {
    auto messages = poll_before_sleeping(room);
    if (!messages || messages->empty()) messages = descriptor_.read(room);
    if (messages) return *messages;
    if (messages.error().code != EINTR) die(messages.error());
  }
}

// Falling asleep and being woken is most of a fault's time where an idle processor has to be fetched
// out of a deep sleep, so the leader looks for the next fault a few microseconds first, as long as that
// pays (busy_poll.h). The user engine's read does so itself.
Result<std::span<Message>> FaultWorkers::poll_before_sleeping(std::span<Message> room) {
  if (descriptor_.engine() != EngineKind::kKernel || !poll_.is_worth_it()) return room.first(0);
  BusyPoll::Round round(poll_);
  for (;;) {
    const auto messages = descriptor_.read_now(room);
    if (!messages) poll_.give_up();
    if (!messages || !messages->empty()) {
      if (messages) round.succeeded();
      return messages;
    }
    if (!round.go_on()) return messages;
  }
}

void FaultWorkers::serve(const Message& message, Lead& lead) {
  const Fault* const fault = std::get_if<Fault>(&message);
  if (fault == nullptr) return;  // no layout event was asked for
  if (const RegionUse region = regions_.find(fault->address); region) {
    // With a single worker there is none to hand over to, and the store may as well wait.
    service_.serve(region, *fault, several() ? FaultContext(lead, now_ns()) : FaultContext(now_ns()));
    return;
  }
  if (doorbell_.contains(fault->address)) {
    doorbell_.answer(descriptor_);
    return;
  }
  // A region that is being closed: the thread shall try again, and find the memory gone.
  const std::size_t page = base::page_size();
  (void)descriptor_.wake({fault->address & ~(page - 1), page});
}

}  // namespace userfault::pager
