// SPDX-License-Identifier: Apache-2.0
// AArch64 makes these calls of their successors; libc has the functions all the same.
#pragma once

inline constexpr long SYS_open = -1;
inline constexpr long SYS_access = -1;
inline constexpr long SYS_dup2 = -1;
inline constexpr long SYS_epoll_wait = -1;
inline constexpr long SYS_fork = -1;
inline constexpr long SYS_lstat = -1;
inline constexpr long SYS_mkdir = -1;
inline constexpr long SYS_pipe = -1;
inline constexpr long SYS_poll = -1;
inline constexpr long SYS_readlink = -1;
inline constexpr long SYS_rename = -1;
inline constexpr long SYS_rmdir = -1;
inline constexpr long SYS_select = -1;
inline constexpr long SYS_stat = -1;
inline constexpr long SYS_unlink = -1;
