#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the conformance suite on both engines as root, as an unprivileged user and (the user engine)
# under a seccomp filter that kills on userfaultfd(2), and prints the tables of docs/conformance-results.md:
# a summary, and one row for each id.
# usage: scripts/conform-table.sh [BUILD]     as root, after a build
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
chmod 755 "$out"
cc -O2 -o "$out/deny" tests/programs/deny_userfaultfd.c
install -m 755 "$build/bin/userfault" "$out/userfault"
unprivileged=(setpriv --reuid 65534 --regid 65534 --clear-groups)

conform() { # NAME COMMAND...
  local name=$1
  shift
  "$@" >"$out/$name.txt" 2>&1 || true
}
conform kernel-root "$out/userfault" conform --engine kernel
conform user-root "$out/userfault" conform --engine user
conform kernel-unprivileged "${unprivileged[@]}" "$out/userfault" conform --engine kernel
conform user-unprivileged "${unprivileged[@]}" "$out/userfault" conform --engine user
conform user-seccomp "$out/deny" "$out/userfault" conform --engine user
conform user-seccomp-unprivileged "$out/deny" "${unprivileged[@]}" "$out/userfault" conform --engine user

runs=(kernel-root user-root kernel-unprivileged user-unprivileged user-seccomp user-seccomp-unprivileged)
echo "| run | passed | failed | skipped |"
echo "|---|---|---|---|"
for run in "${runs[@]}"; do
  tail -1 "$out/$run.txt" | sed -E "s/.*: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped/| ${run//-/, } | \1 | \2 | \3 |/"
done
echo
echo "Each cell counts the backings of an id: passed, and where there are any /failed and (skipped)."
echo
printf '| id |'
printf ' %s |' "${runs[@]//-/, }"
printf '\n|---|'
printf -- '---|%.0s' "${runs[@]}"
printf '\n'
tables=("${runs[@]/#/$out/}")
tables=("${tables[@]/%/.txt}")
awk -v runs="${runs[*]}" '
  BEGIN { count = split(runs, name, " ") }
  FNR == 1 { ++file }
  $1 == "pass" || $1 == "fail" || $1 == "skip" {
    if (!($2 in seen)) { seen[$2] = 1; order[++ids] = $2 }
    ++cell[$2, file, $1]
  }
  END {
    for (i = 1; i <= ids; ++i) {
      printf "| %s |", order[i]
      for (f = 1; f <= count; ++f) {
        text = cell[order[i], f, "pass"] + 0
        if (cell[order[i], f, "fail"]) text = text "/" cell[order[i], f, "fail"]
        if (cell[order[i], f, "skip"]) text = text " (" cell[order[i], f, "skip"] ")"
        printf " %s |", text
      }
      printf "\n"
    }
  }' "${tables[@]}"
