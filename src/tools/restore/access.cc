// SPDX-License-Identifier: Apache-2.0
#include "tools/restore/access.h"

#include <bit>
#include <thread>
#include <utility>

#include "tools/restore/guard.h"

namespace userfault::tools::restore {
namespace {

// Where the n-th page of all parts together is.
class PageIndex {
 public:
  explicit PageIndex(const std::vector<MappedPart>& parts) : parts_(parts) {
    for (const MappedPart& part : parts) {
      first_.push_back(pages_);
      pages_ += (part.mapping.size() + part.mapping.page_size() - 1) / part.mapping.page_size();
    }
  }
  [[nodiscard]] std::uint64_t pages() const { return pages_; }
  struct Place {
    const Mapping* mapping;
    std::size_t offset;
  };
  [[nodiscard]] Place operator[](std::uint64_t page) const {
    const auto after = std::ranges::upper_bound(first_, page);
    const auto part = static_cast<std::size_t>(after - first_.begin() - 1);
    const Mapping& mapping = parts_[part].mapping;
    return {&mapping, static_cast<std::size_t>(page - first_[part]) * mapping.page_size()};
  }

 private:
  const std::vector<MappedPart>& parts_;
  std::vector<std::uint64_t> first_;
  std::uint64_t pages_ = 0;
};

// The numbers below a power of two in an order without a pattern, each once: every step can be
// undone modulo 2^bits, so no two numbers meet.
class Shuffle {
 public:
  Shuffle(std::uint64_t count, std::uint64_t seed)
      : bits_(static_cast<unsigned>(std::bit_width(count - 1))), mask_((std::uint64_t{1} << bits_) - 1), seed_(seed) {}
  [[nodiscard]] std::uint64_t size() const { return mask_ + 1; }
  [[nodiscard]] std::uint64_t operator()(std::uint64_t n) const {
    const unsigned half = bits_ / 2 + 1;
    n = (n + seed_) & mask_;
    n = (n ^ (n >> half)) * 0x9E3779B97F4A7C15u & mask_;
    n = (n ^ (n >> half)) * 0xBF58476D1CE4E5B9u & mask_;
    return (n ^ (n >> half)) & mask_;
  }

 private:
  unsigned bits_;
  std::uint64_t mask_;
  std::uint64_t seed_;
};

// A page is marked resident after the whole run that it was filled with, so a load may find it there
// although the mark said no. No fault that goes to another thread and back is as short as this.
constexpr auto kShortestFault = std::chrono::microseconds(1);

void load(const PageIndex::Place& place, AccessResult& result) {
  const std::byte* const at = place.mapping->data() + place.offset;
  if (place.mapping->resident(place.offset)) {
    if (!guarded_load(at)) ++result.unreadable;
    if (result.first_byte == Clock::time_point{}) result.first_byte = Clock::now();
    return;
  }
  const auto before = Clock::now();
  const bool loaded = guarded_load(at).has_value();
  const auto after = Clock::now();
  if (result.first_byte == Clock::time_point{}) result.first_byte = after;
  if (loaded && after - before < kShortestFault) return;
  if (loaded) {
    result.latency.add(static_cast<std::uint64_t>((after - before) / std::chrono::nanoseconds(1)));
  } else {
    ++result.unreadable;
  }
}

void touch(const PageIndex::Place& place, bool write, AccessResult& result) {
  load(place, result);
  if (write && guarded_invert(place.mapping->data() + place.offset)) ++result.written;
}

void touch_slice(const PageIndex& index, const AccessOptions& options, unsigned reader, AccessResult& result) {
  const unsigned readers = options.readers;
  if (options.pattern == AccessPattern::kSequential) {
    const std::uint64_t end = index.pages() * (reader + 1) / readers;
    for (std::uint64_t page = index.pages() * reader / readers; page < end; ++page)
      touch(index[page], options.write, result);
    return;
  }
  const Shuffle shuffle(index.pages(), options.seed);
  for (std::uint64_t n = reader; n < shuffle.size(); n += readers)
    if (const std::uint64_t page = shuffle(n); page < index.pages()) touch(index[page], options.write, result);
}

}  // namespace

AccessResult touch_all(const std::vector<MappedPart>& parts, const AccessOptions& options) {
  const PageIndex index(parts);
  std::vector<AccessResult> results(options.readers);
  {
    std::vector<std::jthread> threads;
    for (unsigned reader = 0; reader < options.readers; ++reader)
      threads.emplace_back([&, reader] { touch_slice(index, options, reader, results[reader]); });
  }
  AccessResult total = std::move(results.front());
  for (unsigned reader = 1; reader < options.readers; ++reader) {
    const AccessResult& one = results[reader];
    total.latency.merge(one.latency);
    total.unreadable += one.unreadable;
    total.written += one.written;
    if (one.first_byte != Clock::time_point{} && one.first_byte < total.first_byte) total.first_byte = one.first_byte;
  }
  return total;
}

}  // namespace userfault::tools::restore
