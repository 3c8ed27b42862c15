# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# Shared by the install tests: sourced, with the build tree as the script's first argument and the
# source tree as its second. CC and CXX are those the library was built with.
set -euo pipefail
build=$1
source=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix

fail() { echo "FAILED: $*" >&2; exit 1; }

# Runs the example and checks what it printed. 77 is its way to say that no engine opens here; a
# machine that refuses userfaultfd still has to build, link and start it.
check_hello() {
  local status=0 output
  output=$("$@" 2>"$scratch/stderr") || status=$?
  if [ "$status" -eq 77 ]; then
    grep -q '^open: ' "$scratch/stderr" || fail "$*: exit 77 without saying why"
  else
    [ "$status" -eq 0 ] || fail "$*: exit $status: $(cat "$scratch/stderr")"
    [ "$output" = hello ] || fail "$*: printed '$output' instead of 'hello'"
  fi
}

cmake --install "$build" --prefix "$prefix" >"$scratch/install.log" || { cat "$scratch/install.log"; fail "cmake --install"; }
