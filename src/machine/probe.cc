// SPDX-License-Identifier: Apache-2.0
#include "machine/probe.h"

#include <fcntl.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstring>

#include "abi/names.h"
#include "engine/engine.h"
#include "engine/open_methods.h"

namespace userfault {
namespace {

Way try_way(engine::OpenMethod method, bool user_mode_only) {
  const int flags = O_CLOEXEC | O_NONBLOCK | (user_mode_only ? USERFAULT_USER_MODE_ONLY : 0);
  const engine::Answer answer = engine::ask(method, flags);
  return {.door = method == engine::OpenMethod::kSyscall ? "userfaultfd(2)" : "/dev/userfaultfd",
          .user_mode_only = user_mode_only,
          .opens = answer.opens(),
          .error = answer.error,
          .signal = answer.signal,
          .refused_by = engine::who_refused(method, flags, answer)};
}

void look_at_user_engine(Machine& machine) {
  const int fd = engine::user_engine().open(O_CLOEXEC | O_NONBLOCK);
  machine.user_engine_opens = fd >= 0;
  machine.user_engine_error = fd < 0 ? -fd : 0;
  if (fd >= 0) engine::user_engine().close(fd);
}

std::vector<FeatureSupport> supports(Features available) {
  std::vector<FeatureSupport> all;
  for (const abi::Name& feature : abi::features())
    all.push_back({.name = feature.name,
                   .bit = Features(feature.bit),
                   .since_major = feature.since.major,
                   .since_minor = feature.since.minor,
                   .offered = available.has(Features(feature.bit))});
  return all;
}

// The first way that opens is the one that Descriptor::open takes.
std::string why_kernel(const Machine& machine) {
  for (const Way& way : machine.ways)
    if (way.opens) return std::string(way.door) + (way.user_mode_only ? " opens with USER_MODE_ONLY" : " opens");
  return "the kernel's userfaultfd opens";
}

std::string why_user(EngineKind asked, const Machine& machine) {
  if (asked == EngineKind::kUser) return "it was asked for";
  const Way& first = machine.ways.front();
  if (first.opens) return "the kernel's engine did not open";
  std::string why = std::string(first.door) + " is refused";
  return first.refused_by == Refuser::kNone ? why : why + " by " + name_of(first.refused_by);
}

void look_at_engine(Machine& machine, EngineKind asked) {
  const auto opened = Descriptor::open({.engine = asked});
  machine.features = supports(opened ? opened->available() : Features{});
  if (!opened) {
    machine.why = opened.error().message();
    return;
  }
  machine.engine = opened->engine();
  const bool kernel = machine.engine == EngineKind::kKernel;
  machine.why = kernel ? why_kernel(machine) : why_user(asked, machine);
  machine.registrations = machine::try_registrations(kernel ? USERFAULT_ENGINE_KERNEL : USERFAULT_ENGINE_USER);
}

std::vector<const char*> names_in(std::uint64_t bits, std::span<const abi::Name> table) {
  std::vector<const char*> names;
  for (const abi::Name& entry : table)
    if ((bits & entry.bit) != 0) names.push_back(entry.name);
  return names;
}

}  // namespace

Machine probe_machine(EngineKind engine) {
  Machine machine;
  utsname name{};
  if (::uname(&name) == 0) machine.kernel = name.release;
  const engine::Surroundings around = engine::look_around();
  machine.seccomp_mode = around.seccomp_mode;
  machine.sysctl = around.sysctl;
  machine.may_trace = around.may_trace;
  for (const bool user_mode_only : {false, true})
    for (const engine::OpenMethod method : {engine::OpenMethod::kSyscall, engine::OpenMethod::kDevice})
      machine.ways.push_back(try_way(method, user_mode_only));
  look_at_user_engine(machine);
  look_at_engine(machine, engine);
  machine.facilities = machine::try_facilities();
  machine.settings = machine::read_settings();
  return machine;
}

std::vector<const char*> names_of(Operations operations) { return names_in(operations.bits(), abi::operations()); }
std::vector<const char*> names_of(Modes modes) { return names_in(modes.bits(), abi::modes()); }

}  // namespace userfault
