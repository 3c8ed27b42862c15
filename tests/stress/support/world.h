// SPDX-License-Identifier: Apache-2.0
// One engine's half of the differential test: an arena of memory, a descriptor over it, and threads
// that may block.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/actor.h"
#include "support/memory.h"
#include "support/sequence.h"

namespace userfault::stress {

struct Message {
  std::size_t descriptor = 0;
  unsigned event = 0;
  std::uint64_t flags = 0;
  std::uint64_t from = 0;  // relative to the arena
  std::uint64_t to = 0;
  std::uint64_t length = 0;
  int thread = -1;  // whose, with THREAD_ID
  friend auto operator<=>(const Message&, const Message&) = default;
};

struct AccessState {
  bool waits = false;
  int signal = 0;
  std::uint64_t value = 0;
  friend bool operator==(const AccessState&, const AccessState&) = default;
};

// What a page that ends in SIGBUS has for a digest.
inline constexpr std::uint64_t kSignalDigest = std::uint64_t{0xb} << 60;
inline constexpr std::uint64_t kSigbusDigest = kSignalDigest | 7;

// All that can be compared after one operation.
struct Outcome {
  std::int64_t result = 0;
  int error = 0;
  std::int64_t output = 0;
  std::vector<Message> messages;
  std::vector<AccessState> accesses;
  std::vector<std::uint64_t> extra;  // what a scan found, and what the memory holds at the end
  friend bool operator==(const Outcome&, const Outcome&) = default;
};
[[nodiscard]] std::string to_string(const Outcome& outcome);

class World {
 public:
  World(userfault_engine engine, std::uintptr_t base);

  // Fresh memory and fresh descriptors; 0 or the errno of opening or of the handshake.
  [[nodiscard]] int begin(const Sequence& sequence);
  [[nodiscard]] Outcome perform(const Operation& operation);
  // Closes the descriptors, lets everybody go on, and reads all memory that is left.
  [[nodiscard]] Outcome end();

  // ---- for a fork, which both worlds go through together (forking.h) ----

  // Nothing is allocated as long as there are no more messages than `outcome` has room for.
  void read_messages(Outcome& outcome);
  [[nodiscard]] bool has_message() const;
  void settle(Outcome& outcome);
  // One COPY through a descriptor that came with EVENT_FORK, where there is one, and its end.
  void use_child(const Operation& operation, Outcome& outcome);
  // A digest of each page; a page that ends in a signal has the signal instead. Allocates nothing.
  void read_memory(std::uint64_t* digests) const;

  // A thread had to be taken out of the kernel by unmapping everything: nothing is left to compare.
  [[nodiscard]] bool spun() const { return spun_; }
  [[nodiscard]] const Arena& arena() const { return *arena_; }
  // Of a byte of the arena.
  [[nodiscard]] std::uintptr_t address_of(std::uint64_t offset) const { return base_ + offset; }

 private:
  void map_arena();
  [[nodiscard]] int open(std::size_t descriptor);
  void reopen(const Operation& operation, Outcome& outcome);
  void operate(const Operation& operation, Outcome& outcome);
  void copy(int fd, const Operation& operation, Outcome& outcome);
  void access(const Operation& operation, Outcome& outcome);
  void change_layout(const Operation& operation, Outcome& outcome);
  void scan(const Operation& operation, Outcome& outcome);
  void set(Outcome& outcome, std::int64_t result) const;
  [[nodiscard]] Message seen_as(const userfault_msg& message, std::size_t descriptor);
  [[nodiscard]] std::uint64_t relative(std::uint64_t address) const { return address - base_; }
  [[nodiscard]] char* at(std::uint64_t offset) const { return reinterpret_cast<char*>(base_ + offset); }
  [[nodiscard]] char* page_at(std::size_t index) const { return at(index * arena_->page); }

  userfault_engine engine_;
  std::uintptr_t base_;
  const Arena* arena_ = &kSmallArena;
  std::uint64_t features_[kDescriptors] = {};
  int fds_[kDescriptors] = {-1, -1};
  int children_[kDescriptors] = {-1, -1};
  int memfd_ = -1;
  char* alias_ = nullptr;
  std::size_t alias_bytes_ = 0;
  std::vector<char> source_;
  std::unique_ptr<Actor> toucher_[2];
  Actor changer_;
  AccessState access_[2];
  bool spun_ = false;
};

// Before any engine is opened: accesses end in a signal sometimes.
void catch_access_signals();

}  // namespace userfault::stress
