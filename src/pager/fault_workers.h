// SPDX-License-Identifier: Apache-2.0
// The threads that answer faults.
//
// One of them, the leader, reads messages. While the store answers at once the leader does
// everything itself: one thread, one read, one copy a fault, no hand-over. It gives the lead to the
// next thread when it would have to wait for the store, or when one read brought several faults.
// The rejected way: all threads blocked in read(2). The kernel wakes all of them for each message,
// and on a machine with few processors the losers cost as much as the fault.
//
// Lock order: the lead comes before every other lock of the pager. Its holder may give it up at any depth of
// calls (fault_context.h), and takes it again with nothing locked.
#pragma once

#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/thread.h"
#include "pager/busy_poll.h"
#include "pager/doorbell.h"
#include "pager/fault_context.h"
#include "pager/fault_service.h"
#include "pager/faults_in_service.h"
#include "pager/region_table.h"
#include "userfault/descriptor.h"

namespace userfault::pager {

class FaultWorkers {
 public:
  // `threads`: at least 1.
  FaultWorkers(const Descriptor& descriptor, unsigned threads, RegionTable& regions, FaultService& service,
               FaultsInService& in_service) noexcept;
  // Rings the doorbell and waits for the threads.
  ~FaultWorkers();
  FaultWorkers(const FaultWorkers&) = delete;
  FaultWorkers& operator=(const FaultWorkers&) = delete;

  // Errors: ENOMEM; EAGAIN: no thread; and what registering a page gives.
  [[nodiscard]] Result<void> start();

 private:
  // How many messages the next read asks for.
  class Appetite;

  void run();
  [[nodiscard]] std::span<Message> read(std::span<Message> room) USERFAULT_REQUIRES(lead_);
  [[nodiscard]] Result<std::span<Message>> poll_before_sleeping(std::span<Message> room) USERFAULT_REQUIRES(lead_);
  void serve(const Message& message, Lead& lead);
  void assert_leads(const Lead& lead) const USERFAULT_ASSERT_CAPABILITY(lead_);
  [[nodiscard]] bool several() const noexcept { return threads_wanted_ > 1; }

  const Descriptor& descriptor_;
  const unsigned threads_wanted_;
  RegionTable& regions_;
  FaultService& service_;
  FaultsInService& in_service_;
  Doorbell doorbell_;
  base::Mutex lead_;  // its holder reads messages
  BusyPoll poll_ USERFAULT_GUARDED_BY(lead_);
  std::vector<base::Thread> threads_;  // last: joined before the rest goes
};

}  // namespace userfault::pager
