// SPDX-License-Identifier: Apache-2.0
// The threads that answer faults.
//
// One of them, the leader, reads messages. While the store answers at once the leader does
// everything itself: one thread, one read, one copy a fault, no hand-over. It gives the lead to the
// next thread when it would have to wait for the store, or when one read brought several faults; these stand in a
// queue of all workers, so that none waits behind a page that is slow. A leader that has to wait and has no next
// thread starts one, as long as there are fewer than PagerOptions::most_workers. They stay.
// The rejected way: all threads blocked in read(2). The kernel wakes all of them for each message,
// and on a machine with few processors the losers cost as much as the fault.
//
// Lock order: the lead comes before every other lock of the pager. Its holder may give it up at any depth of
// calls (fault_context.h), and takes it again with nothing locked. The lock of the threads is a leaf.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
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
  // So many threads, and `most` while they wait for stores: at least 1, and as many as there are.
  FaultWorkers(const Descriptor& descriptor, unsigned threads, unsigned most, RegionTable& regions,
               FaultService& service, FaultsInService& in_service) noexcept;
  // Rings the doorbell and waits for the threads.
  ~FaultWorkers();
  FaultWorkers(const FaultWorkers&) = delete;
  FaultWorkers& operator=(const FaultWorkers&) = delete;

  // Errors: ENOMEM; EAGAIN: no thread; and what registering a page gives.
  [[nodiscard]] Result<void> start();

 private:
  // How many messages the next read asks for. Asking for more than one makes the kernel look for a second, which a
  // lone fault waits for. So most reads ask for one, and one in sixteen finds out whether more are queued.
  class Appetite {
   public:
    [[nodiscard]] std::size_t next() const noexcept { return lone_ % 16 == 0 ? kMostMessages : 1; }
    void got(std::size_t messages) noexcept { lone_ = messages > 1 ? 0 : lone_ + 1; }

   private:
    std::size_t lone_ = 1;
  };
  class Worker;

  void run();
  [[nodiscard]] int start_one() USERFAULT_REQUIRES(threads_mutex_);
  void ensure_a_successor();
  void read_more() USERFAULT_REQUIRES(lead_);
  [[nodiscard]] std::span<Message> read(std::span<Message> room) USERFAULT_REQUIRES(lead_);
  [[nodiscard]] Result<std::span<Message>> poll_before_sleeping(std::span<Message> room) USERFAULT_REQUIRES(lead_);
  void serve(const Message& message, Worker& worker);
  void assert_leads(const Lead& lead) const USERFAULT_ASSERT_CAPABILITY(lead_);

  static constexpr std::size_t kMostMessages = 16;
  const Descriptor& descriptor_;
  const unsigned threads_wanted_;
  const unsigned most_threads_;
  RegionTable& regions_;
  FaultService& service_;
  FaultsInService& in_service_;
  Doorbell doorbell_;
  base::Mutex lead_;  // its holder reads messages
  BusyPoll poll_ USERFAULT_GUARDED_BY(lead_);
  Appetite appetite_ USERFAULT_GUARDED_BY(lead_);
  std::array<Message, kMostMessages> buffer_ USERFAULT_GUARDED_BY(lead_);
  std::span<Message> unserved_ USERFAULT_GUARDED_BY(lead_);  // of the buffer
  std::atomic<unsigned> idle_{0};                            // threads that will take the lead as soon as it is free
  base::Mutex threads_mutex_;
  bool stopping_ USERFAULT_GUARDED_BY(threads_mutex_) = false;
  std::vector<base::Thread> threads_ USERFAULT_GUARDED_BY(threads_mutex_);
};

}  // namespace userfault::pager
