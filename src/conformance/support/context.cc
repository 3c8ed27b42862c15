// SPDX-License-Identifier: Apache-2.0
#include "support/context.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace userfault::conformance {
namespace {

constexpr std::array<const char*, USERFAULT_FEATURE_COUNT> kFeatureNames{"PAGEFAULT_FLAG_WP",
                                                                         "EVENT_FORK",
                                                                         "EVENT_REMAP",
                                                                         "EVENT_REMOVE",
                                                                         "MISSING_HUGETLBFS",
                                                                         "MISSING_SHMEM",
                                                                         "EVENT_UNMAP",
                                                                         "SIGBUS",
                                                                         "THREAD_ID",
                                                                         "MINOR_HUGETLBFS",
                                                                         "MINOR_SHMEM",
                                                                         "EXACT_ADDRESS",
                                                                         "WP_HUGETLBFS_SHMEM",
                                                                         "WP_UNPOPULATED",
                                                                         "POISON",
                                                                         "WP_ASYNC",
                                                                         "MOVE"};

// The plain way first: it is the one that also serves accesses made by the kernel.
int open_either_way(Context& context) {
  int fd = userfault_open(context.engine, O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0) return fd;
  context.open_flags = USERFAULT_USER_MODE_ONLY;
  const int refusal = errno;
  fd = userfault_open(context.engine, O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY);
  if (fd < 0) errno = refusal;
  return fd;
}

}  // namespace

void Context::require(std::uint64_t wanted) const {
  if (has(wanted)) return;
  char word[32];
  std::snprintf(word, sizeof word, "%#llx", static_cast<unsigned long long>(features));
  throw Skip("the features word " + std::string(word) + " lacks " + feature_names(wanted & ~features));
}

void Context::differs_on_user(const char* divergence) const {
  if (stand_in) throw Skip("differs on purpose, see docs/divergences.md: " + std::string(divergence));
}

void Context::differs_unless_preloaded(const char* divergence) const {
  if (!preloaded) differs_on_user(divergence);
}

Context make_context(userfault_engine engine, Backing backing) {
  Context context{engine, backing, 0, 0, false};
  const int fd = open_either_way(context);
  if (fd < 0) throw Broken("userfault_open: " + std::string(std::strerror(errno)));
  context.stand_in = userfault_engine_of(fd) != USERFAULT_ENGINE_KERNEL;
  context.preloaded = context.stand_in && engine == USERFAULT_ENGINE_KERNEL;
  // Only the kernel's own engine sees accesses made inside the kernel (real-kernel row 19), and who
  // repairs system calls.
  context.kernel_faults = (!context.stand_in || context.preloaded) && context.open_flags == 0;
  userfault_api api{USERFAULT_API, 0, 0};
  const int result = userfault_ioctl(fd, USERFAULT_IOC_API, &api);
  const int error = errno;
  userfault_close(fd);
  if (result != 0) throw Broken("UFFDIO_API with no features: " + std::string(std::strerror(error)));
  context.features = api.features;
  return context;
}

std::string feature_names(std::uint64_t features) {
  std::string names;
  for (std::size_t bit = 0; bit < kFeatureNames.size(); ++bit) {
    if ((features >> bit & 1) == 0) continue;
    if (!names.empty()) names += '|';
    names += kFeatureNames[bit];
  }
  return names;
}

}  // namespace userfault::conformance
