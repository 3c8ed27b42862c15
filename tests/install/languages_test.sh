#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An installed copy, used in C++20 and in C++23 with each compiler of one family that is here: every
# public header compiles alone (in C++20, which has the fewest names), and a program that includes them
# all is linked to the library, which is built as C++23, and runs. All of it without a warning.
# usage: languages_test.sh BUILD_TREE SOURCE_TREE gnu|clang
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
case $3 in
  gnu) names=(g++ g++-{12,13,14,15}) oldest=12 ;;
  clang) names=(clang++ clang++-{16,17,18,19,20}) oldest=16 ;;
  *) fail "no family of compilers: $3" ;;
esac
flags=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

family_of() { if "$1" --version | grep -q clang; then echo clang; else echo gnu; fi; }

# The compilers to try, each once whatever its names are.
declare -A compilers
for name in "$CXX" "${names[@]}"; do
  path=$(command -v "$name") || continue
  [ "$(family_of "$path")" = "$3" ] || continue
  version=$("$path" -dumpversion)
  if [ "${version%%.*}" -ge "$oldest" ]; then compilers[$version]=$path; else older="; $name is version $version"; fi
done
if [ ${#compilers[@]} -eq 0 ]; then
  echo "skipped: no ${names[0]} of version $oldest or newer${older-}"
  exit 77
fi

include=$(dirname "$(find "$prefix" -path '*/include/userfault')")
libdir=$(dirname "$(find "$prefix" -name libuserfault.so)")
: >"$scratch/every_header.h"
for header in "$include"/userfault/*.h; do
  echo "#include \"userfault/${header##*/}\"" | tee "$scratch/alone_$(basename "$header" .h).cc" >>"$scratch/every_header.h"
done
[ "$(wc -l <"$scratch/every_header.h")" -eq "$(find "$source/include" -name '*.h' | wc -l)" ] || fail "not every header was installed"

for version in "${!compilers[@]}"; do
  for alone in "$scratch"/alone_*.cc; do
    "${compilers[$version]}" -std=c++20 "${flags[@]}" -I "$include" -fsyntax-only "$alone" ||
      fail "${alone##*/alone_} does not compile alone with $3 $version"
  done
  for mode in c++20 c++23; do
    # clang 16 has no other name for it.
    [ "$3$mode" = clangc++23 ] && mode=c++2b
    echo "$3 $version -std=$mode"
    compile=("${compilers[$version]}" "-std=$mode" "${flags[@]}" -I "$include" -I "$scratch")
    program=$source/tests/install/consumer/languages.cc
    "${compile[@]}" -fno-exceptions -fsyntax-only "$program" || fail "$mode without exceptions"
    "${compile[@]}" "$program" -o "$scratch/languages" -L "$libdir" -luserfault -pthread || fail "link in $mode"
    LD_LIBRARY_PATH=$libdir check_hello "$scratch/languages"
  done
done
