// SPDX-License-Identifier: Apache-2.0
#include "api/hints.h"

#include <cerrno>

namespace userfault::api {
namespace {

struct Hint {
  Operation operation;
  int code;
  const char* text;
};

constexpr Hint kHints[] = {
    {Operation::kRegister, EBUSY, "another userfaultfd serves a part of it; unregister it there first"},
    {Operation::kRegister, EINVAL,
     "start and length must be whole pages of a mapping that can have this mode (a regular file cannot)"},
    {Operation::kRegister, EPERM, "a shared file has to be opened with write access"},
    {Operation::kRegister, ENOMEM,
     "its process has exited; or vm.max_map_count, for the user engine RLIMIT_FSIZE or RLIMIT_NOFILE, is reached"},
    {Operation::kUnregister, EINVAL, "nothing is mapped there, or another userfaultfd has it"},
    {Operation::kCopy, EFAULT, "the source cannot be read, or the range is past the end of its file"},
    {Operation::kContinue, EFAULT, "the page cache has no page there; write it through a second mapping first"},
    {Operation::kZeropage, EINVAL, "whole pages only, and not on hugetlb memory: copy zeroes there"},
    {Operation::kMove, EBUSY, "a page of the source is pinned or shared; copy it instead"},
    {Operation::kMove, EINVAL, "whole pages of private anonymous memory only"},
    {Operation::kMove, ENOENT,
     "a hole in the source (allow_source_holes), or the destination is not one registered mapping"},
    {Operation::kWriteprotect, ENOENT, "register the range with the mode for write protection first"},
    {Operation::kRead, EINVAL, "room for a message is needed, and the handshake before it"},
    {Operation::kPoll, EINVAL, "the descriptor blocks, or had no handshake; open it nonblocking"},
    {Operation::kMap, ENOMEM, "no room, vm.max_map_count is reached, or too few free huge pages (vm.nr_hugepages)"},
    {Operation::kReceive, EINVAL, "it is no userfaultfd"},
    {Operation::kReceive, EBADMSG, "what came is not one descriptor that send_to() sent"},
    {Operation::kReceive, EPIPE, "the sender has closed its socket"},
    {Operation::kSend, EPIPE, "the receiver has closed its socket"},
    {Operation::kScan, ENOTTY, "PAGEMAP_SCAN needs Linux 6.7"},
    {Operation::kScan, EPERM, "the whole range must be registered with WP_ASYNC"},
    {Operation::kStore, ESRCH, "this process is a forked copy without the pager's threads; make a pager of its own"},
    {Operation::kInThread, EINVAL, "open the descriptor with the feature SIGBUS"},
};

bool is_filling(Operation operation) noexcept {
  return operation == Operation::kCopy || operation == Operation::kZeropage || operation == Operation::kContinue ||
         operation == Operation::kPoison || operation == Operation::kMove;
}

}  // namespace

const char* hint_for(Operation operation, int code) noexcept {
  for (const Hint& hint : kHints)
    if (hint.operation == operation && hint.code == code) return hint.text;
  const bool is_page_operation = is_filling(operation) || operation == Operation::kWriteprotect;
  if (is_filling(operation) && code == ENOENT)
    return "it is not registered, spans two mappings, or its mapping has just changed";
  if (is_page_operation && code == ESRCH) return "the process whose memory it is has exited";
  if (is_page_operation && code == EAGAIN)
    return "a layout event stayed unread; another thread has to read messages meanwhile";
  return nullptr;
}

}  // namespace userfault::api
