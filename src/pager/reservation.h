// SPDX-License-Identifier: Apache-2.0
// Pages that count as filled before they are: a thread that reads one finds it counted. When the filling
// fails, the count is taken back.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "pager/accounting.h"
#include "pager/fill_order.h"

namespace userfault::pager {

class Reservation {
 public:
  struct Amounts {
    Cause cause = Cause::kFault;
    std::uint64_t pages = 0;
    std::uint64_t bytes = 0;         // of the store's, in these pages
    std::uint64_t zero_pages = 0;    // of these
    std::uint64_t mapped_pages = 0;  // of these
    std::uint64_t resident_bytes = 0;
    std::uint64_t dirty_bytes = 0;
  };

  Reservation(Counters& counters, Budget& budget, const Amounts& amounts) noexcept
      : counters_(counters), budget_(budget), amounts_(amounts) {
    USERFAULT_CHECK(amounts.pages != 0, "nothing is reserved");
    USERFAULT_CHECK(amounts.dirty_bytes <= amounts.resident_bytes, "more is dirty than is in memory");
    pages().add(amounts_.pages);
    bytes().add(amounts_.bytes);
    if (amounts_.zero_pages != 0) counters_.zero_pages.add(amounts_.zero_pages);
    if (amounts_.mapped_pages != 0) counters_.mapped_pages.add(amounts_.mapped_pages);
    if (amounts_.resident_bytes != 0) add_resident(counters_, budget_, amounts_.resident_bytes);
    if (amounts_.dirty_bytes != 0) add_dirty(counters_, budget_, amounts_.dirty_bytes);
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation() {
    if (!committed_) undo();
  }

  // The pages are filled: the count stands.
  void commit() noexcept {
    USERFAULT_CHECK(!committed_, "a reservation is committed twice");
    committed_ = true;
  }

 private:
  [[nodiscard]] Counter& pages() noexcept {
    return amounts_.cause == Cause::kFault ? counters_.pages_by_fault : counters_.pages_by_prefetch;
  }
  [[nodiscard]] Counter& bytes() noexcept {
    return amounts_.cause == Cause::kFault ? counters_.bytes_by_fault : counters_.bytes_by_prefetch;
  }
  void undo() noexcept {
    pages().subtract(amounts_.pages);
    bytes().subtract(amounts_.bytes);
    if (amounts_.zero_pages != 0) counters_.zero_pages.subtract(amounts_.zero_pages);
    if (amounts_.mapped_pages != 0) counters_.mapped_pages.subtract(amounts_.mapped_pages);
    if (amounts_.resident_bytes != 0) subtract_resident(counters_, budget_, amounts_.resident_bytes);
    if (amounts_.dirty_bytes != 0) subtract_dirty(counters_, budget_, amounts_.dirty_bytes);
  }

  Counters& counters_;
  Budget& budget_;
  const Amounts amounts_;
  bool committed_ = false;
};

}  // namespace userfault::pager
