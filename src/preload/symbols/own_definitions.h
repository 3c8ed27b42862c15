// SPDX-License-Identifier: Apache-2.0
// Our own definitions by the names under which this library's files may call them. The plain names
// mean the next library's here, because the linker sends them there (libc_symbols.cc, --wrap).
#pragma once

#include <sys/types.h>

#include <cstddef>

extern "C" {
int __real_open(const char* path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, ...);
ssize_t __real_read(int fd, void* buffer, std::size_t bytes);
int __real_close(int fd);
void* __real_mmap(void* start, std::size_t length, int protection, int flags, int fd, off_t offset);
int __real_munmap(void* start, std::size_t length);
void* __real_mremap(void* from, std::size_t old_length, std::size_t new_length, int flags, ...);
int __real_madvise(void* start, std::size_t length, int advice);
int __real_mprotect(void* start, std::size_t length, int protection);
}
