// SPDX-License-Identifier: Apache-2.0
#include "pager/fault_workers.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/check.h"
#include "base/page_size.h"

namespace userfault::pager {
namespace {

[[noreturn]] void die(const Error& error) {
  std::fprintf(stderr, "userfault: the pager cannot read its descriptor: %s\n", error.message().c_str());
  std::abort();
}

}  // namespace

// The thread itself, as those that it calls know it.
class FaultWorkers::Worker final : public CountedOn {
 public:
  explicit Worker(FaultWorkers& workers) noexcept : workers_(workers), lead_(workers.lead_) {}
  [[nodiscard]] Lead& lead() noexcept { return lead_; }
  void before_waiting() override {
    if (!lead_.held()) return;
    workers_.ensure_a_successor();
    lead_.hand_over();
  }

 private:
  FaultWorkers& workers_;
  Lead lead_;
};

FaultWorkers::FaultWorkers(const Descriptor& descriptor, unsigned threads, unsigned most, RegionTable& regions,
                           FaultService& service, FaultsInService& in_service) noexcept
    : descriptor_(descriptor),
      threads_wanted_(threads),
      most_threads_(most),
      regions_(regions),
      service_(service),
      in_service_(in_service) {
  USERFAULT_CHECK(threads != 0, "a pager has no worker");
  USERFAULT_CHECK(threads <= most, "a pager has more workers than it may have");
}

// Where the first thread could not be started the bell would not be answered. No worker starts another one once it
// is known that they end; they are joined without the lock, which one of them may still want.
FaultWorkers::~FaultWorkers() {
  std::vector<base::Thread> threads;
  {
    const base::MutexLock lock(threads_mutex_);
    if (threads_.empty()) return;
  }
  doorbell_.ring();
  const base::MutexLock lock(threads_mutex_);
  stopping_ = true;
  threads.swap(threads_);
}

Result<void> FaultWorkers::start() {
  if (auto installed = doorbell_.install(descriptor_); !installed) return installed;
  const base::MutexLock lock(threads_mutex_);
  USERFAULT_CHECK(threads_.empty(), "the workers are started twice");
  for (unsigned i = 0; i < threads_wanted_; ++i)
    if (const int code = start_one(); code != 0)
      return Unexpected(Error{.operation = Operation::kOpen, .code = code, .refused_by = Refuser::kLimit});
  return {};
}

// It counts as idle from now on, not from when it first runs: one that waits meanwhile starts no other.
int FaultWorkers::start_one() {
  base::Thread thread;
  ++idle_;
  const int code = thread.start("uf-fault", [this] { run(); });
  if (code == 0) {
    threads_.push_back(std::move(thread));
  } else {
    --idle_;
  }
  return code;
}

// The caller leads, so what is idle stays so until it hands over. Where no thread can be had the faults wait until
// one comes back.
void FaultWorkers::ensure_a_successor() {
  if (idle_ != 0) return;
  const base::MutexLock lock(threads_mutex_);
  if (!stopping_ && threads_.size() < most_threads_) (void)start_one();
}

// Ended by the doorbell's message alone: if a worker left for another reason, the bell might be answered by
// none. What was read together with it is served before.
void FaultWorkers::run() {
  Worker self(*this);
  Lead& lead = self.lead();
  for (;;) {
    if (!lead.held()) {
      lead.take();
      --idle_;
    }
    assert_leads(lead);
    if (unserved_.empty() && doorbell_.has_rung()) return;
    if (unserved_.empty()) read_more();
    const Message message = std::move(unserved_.front());
    unserved_ = unserved_.subspan(1);
    if (!unserved_.empty() && idle_ != 0) lead.hand_over();
    serve(message, self);
    in_service_.end(1);
    if (!lead.held()) ++idle_;
  }
}

void FaultWorkers::read_more() {
  unserved_ = read(std::span(buffer_).first(appetite_.next()));
  appetite_.got(unserved_.size());
  in_service_.begin(static_cast<std::uint32_t>(unserved_.size()));
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

void FaultWorkers::serve(const Message& message, Worker& worker) {
  const Fault* const fault = std::get_if<Fault>(&message);
  if (fault == nullptr) return;  // no layout event was asked for
  if (const RegionUse region = regions_.find(fault->address); region) {
    // A single worker that stays alone has none to hand over to, and the store may as well wait.
    service_.serve(region, *fault, most_threads_ > 1 ? FaultContext(worker, now_ns()) : FaultContext(now_ns()));
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
