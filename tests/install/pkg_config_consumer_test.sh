#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An installed copy, found with pkg-config, builds and runs examples/hello.cc shared and static, and
# a C99 program.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
pc_file=$(find "$prefix" -name userfault.pc)
[ -n "$pc_file" ] || fail "no userfault.pc was installed"
export PKG_CONFIG_PATH=${pc_file%/*}
read -ra cflags <<<"$(pkg-config --cflags userfault)"
read -ra libs <<<"$(pkg-config --libs userfault)"
libdir=$(pkg-config --variable=libdir userfault)

"$CXX" -std=c++20 "${cflags[@]}" "$source/examples/hello.cc" -o "$scratch/shared" "${libs[@]}"
LD_LIBRARY_PATH=$libdir check_hello "$scratch/shared"

# -l:NAME takes the archive although the shared library lies beside it.
read -ra private <<<"$(pkg-config --static --libs userfault | sed 's/-luserfault/-l:libuserfault.a/')"
"$CXX" -std=c++23 "${cflags[@]}" "$source/examples/hello.cc" -o "$scratch/static" "${private[@]}"
check_hello "$scratch/static"

cat >"$scratch/c.c" <<'C'
#include <errno.h>
#include <userfault/userfault.h>
int main(void) { return userfault_engine_of(-1) == -1 && errno == EBADF ? 0 : 1; }
C
"$CC" -std=c99 -pedantic -Wall -Wextra -Werror "${cflags[@]}" "$scratch/c.c" -o "$scratch/c" "${libs[@]}"
LD_LIBRARY_PATH=$libdir "$scratch/c" || fail "the C program: exit $?"

[ "$(pkg-config --modversion userfault)" = "$VERSION" ] || fail "userfault.pc has another version than the project"
