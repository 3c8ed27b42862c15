// SPDX-License-Identifier: Apache-2.0
// The public face of Core and Region.
#include "userfault/pager.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "pager/core.h"

namespace userfault {
namespace pager {
namespace {

// What a copy of the process cannot end: it would wait for threads that it does not have. It is kept where a checker of
// leaks finds it, in a list that needs no lock.
struct Kept {
  std::shared_ptr<const void> object;
  Kept* next;
};
std::atomic<Kept*> kept{nullptr};

void keep_for_ever(std::shared_ptr<const void> object) {
  Kept* const one = new Kept{std::move(object), kept.load()};
  while (!kept.compare_exchange_weak(one->next, one)) {
  }
}

}  // namespace
}  // namespace pager

namespace {

Unexpected<Error> in_copy_error() { return Unexpected(Error{.operation = Operation::kStore, .code = ESRCH}); }

}  // namespace

Mapping::Mapping(std::shared_ptr<pager::Core> core, std::shared_ptr<pager::Region> region) noexcept
    : core_(std::move(core)), region_(std::move(region)) {}

Mapping::Mapping(Mapping&&) noexcept = default;

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    release();
    core_ = std::move(other.core_);
    region_ = std::move(other.region_);
  }
  return *this;
}

Mapping::~Mapping() { release(); }

// Errors stand in the pager's list by then.
void Mapping::release() noexcept {
  if (region_ == nullptr) return;
  if (core_->in_copy()) {
    abandon_in_copy();
    return;
  }
  (void)flush();
  core_->close(*region_);
  region_.reset();
  core_.reset();
}

// The memory is the parent's, and so is what was written to it.
void Mapping::abandon_in_copy() noexcept {
  region_->close_object_in_copy();
  core_->close_descriptor_in_copy();
  pager::keep_for_ever(std::move(region_));
  pager::keep_for_ever(std::move(core_));
}

Result<void> Mapping::close() {
  if (region_ == nullptr) return {};
  if (core_->in_copy()) {
    abandon_in_copy();
    return {};
  }
  if (auto flushed = flush(); !flushed) return flushed;
  core_->close(*region_);
  region_.reset();
  core_.reset();
  return {};
}

Result<void> Mapping::flush() const {
  if (core_->in_copy()) return in_copy_error();
  return region_->writable() ? core_->flush(*region_) : Result<void>();
}

std::byte* Mapping::data() const noexcept { return static_cast<std::byte*>(region_->range().data()); }
std::size_t Mapping::size() const noexcept { return static_cast<std::size_t>(region_->store().size()); }
std::size_t Mapping::page_size() const noexcept { return region_->page_size(); }

bool Mapping::resident(std::size_t offset) const noexcept {
  const pager::PageState state = region_->states().get(offset / region_->page_size());
  return pager::is_in_memory(state) || state == pager::PageState::kMapped;
}

void Mapping::prefetch(std::size_t offset, std::size_t length) const {
  const MappedRange range{offset, length};
  prefetch({&range, 1});
}

// What lies behind the end is left out.
void Mapping::prefetch(std::span<const MappedRange> ranges) const {
  if (core_->in_copy()) return;
  std::vector<pager::PageSpan> spans;
  for (const auto& [offset, length] : ranges) {
    if (offset >= size() || length == 0) continue;
    spans.push_back(region_->span_of(offset, std::min(length, size() - offset)));
  }
  core_->prefetch(*region_, spans);
}

Result<void> Mapping::pin(std::size_t offset, std::size_t length) const {
  if (core_->in_copy()) return in_copy_error();
  if (offset >= size() || length == 0 || length > size() - offset)
    return Unexpected(Error{.operation = Operation::kStore, .code = EINVAL});
  return core_->pin(*region_, region_->span_of(offset, length));
}

Result<void> Mapping::unpin(std::size_t offset, std::size_t length) const {
  if (core_->in_copy()) return in_copy_error();
  if (offset >= size() || length == 0 || length > size() - offset)
    return Unexpected(Error{.operation = Operation::kStore, .code = EINVAL});
  return core_->unpin(*region_, region_->span_of(offset, length));
}

Statistics Mapping::statistics() const {
  Statistics result;
  region_->counters().add_to(result);
  return result;
}

void Mapping::wait_for_prefetch() const {
  if (!core_->in_copy()) core_->wait_for_prefetch(*region_);
}

Pager::Pager(std::shared_ptr<pager::Core> core) noexcept : core_(std::move(core)) {}
Pager::Pager(Pager&&) noexcept = default;
Pager& Pager::operator=(Pager&& other) noexcept {
  if (this != &other) {
    release();
    core_ = std::move(other.core_);
  }
  return *this;
}
Pager::~Pager() { release(); }

void Pager::release() noexcept {
  if (core_ != nullptr && core_->in_copy()) {
    core_->close_descriptor_in_copy();
    pager::keep_for_ever(std::move(core_));
  }
  core_.reset();
}

Result<Pager> Pager::create(const PagerOptions& options) {
  auto core = pager::Core::create(options);
  if (!core) return Unexpected(core.error());
  return Pager(std::move(*core));
}

Result<Mapping> Pager::map(std::shared_ptr<Store> store, const MapOptions& options) const {
  if (core_->in_copy()) return in_copy_error();
  auto region = core_->map(std::move(store), options);
  if (!region) return Unexpected(region.error());
  return Mapping(core_, std::move(*region));
}

EngineKind Pager::engine() const noexcept { return core_->engine(); }
WriteTracking Pager::write_tracking() const noexcept { return core_->write_tracking(); }
Statistics Pager::statistics() const { return core_->in_copy() ? Statistics() : core_->statistics(); }
std::vector<PageError> Pager::errors() const { return core_->in_copy() ? std::vector<PageError>() : core_->errors(); }

}  // namespace userfault
