// SPDX-License-Identifier: Apache-2.0
// System calls that newer architectures have not got, as numbers.h has the others.
#pragma once

// clang-format off
#define USERFAULT_OLD_NUMBERS(TRAPPED, ASKED)                                                                    \
  TRAPPED(SYS_open, __real_open(pointer<char>(a), static_cast<int>(b), static_cast<mode_t>(c)))                  \
  TRAPPED(SYS_poll, poll(pointer<pollfd>(a), static_cast<nfds_t>(b), static_cast<int>(c)))                       \
  TRAPPED(SYS_dup2, dup2(fd, static_cast<int>(b)))                                                               \
  TRAPPED(SYS_fork, finish(clone_process(SIGCHLD, 0, 0, 0)))                                                     \
  ASKED(SYS_stat, brought(number, a, b, c, d, e, f))                                                             \
  ASKED(SYS_lstat, brought(number, a, b, c, d, e, f))                                                            \
  ASKED(SYS_access, brought(number, a, b, c, d, e, f))                                                           \
  ASKED(SYS_readlink, brought(number, a, b, c, d, e, f))                                                         \
  ASKED(SYS_select, brought(number, a, b, c, d, e, f))                                                           \
  ASKED(SYS_pipe, brought(number, a, b, c, d, e, f))                                                             \
  ASKED(SYS_epoll_wait, brought(number, a, b, c, d, e, f))
// clang-format on
