#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `make run` shows, after a build: the core of a live process, restored lazily and compared
# with the file byte by byte, on every engine that works here; under a memory budget of a quarter of
# it, and once more from a packed copy of it.
# USERFAULT is the command, MIB is how much memory that process has besides its own (default 64).
set -euo pipefail
cd "$(dirname "$0")/.."
userfault=${USERFAULT:-$PWD/build/bin/userfault}
live=$PWD/build/bin/example_live_process
work=$(mktemp -d)
process=
cleanup() {
  if [ -n "$process" ]; then kill "$process" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

# The process tells when its memory is filled, and then waits to be killed. With a path as its second
# argument it writes its core itself; that is for machines without gdb or where ptrace is refused.
coproc LIVE { exec "$live" "${MIB:-64}" 2>&1; }
process=$LIVE_PID
read -r ready <&"${LIVE[0]}"
echo "$ready"

core=$work/core.$process
if command -v gcore >/dev/null && gcore -o "$work/core" "$process" >"$work/gcore.log" 2>&1 && [ -s "$core" ]; then
  echo "its core, by gdb's gcore: $(stat -c %s "$core") bytes"
else
  "$live" "${MIB:-64}" "$core"
  echo "its core, written by the process itself (no gcore here): $(stat -c %s "$core") bytes"
fi

budget=$(($(stat -c %s "$core") / 4))
packed=$work/core.zst
"$userfault" pack "$core" -o "$packed" 2>"$work/why" || { packed=; cat "$work/why"; }

restored=0
for engine in kernel user; do
  echo
  echo "== userfault restore --engine $engine --verify --budget $((budget >> 20))m"
  if ! "$userfault" restore "$core" --engine "$engine" --access none --length 1 --offset 0 --quiet 2>"$work/why"; then
    sed 's/^userfault restore: //' "$work/why"
    continue
  fi
  "$userfault" restore "$core" --engine "$engine" --access random --prefetch --verify --budget "$budget" --histogram \
    --json "$work/report.json"
  if [ -n "$packed" ]; then
    echo "== the same from the packed core ($(stat -c %s "$packed") bytes), with a walk in place of jumps"
    "$userfault" restore "$packed" --engine "$engine" --verify --budget "$budget"
  fi
  restored=$((restored + 1))
done
if [ "$restored" -eq 0 ]; then
  echo "no engine works here; userfault doctor says why" >&2
  exit 1
fi
