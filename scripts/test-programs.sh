#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs programs that were not written for us, and prints one row for each: docs/programs.md.
#
#   scripts/test-programs.sh [--mode kernel|run|both] [--as root|user|both] [--engine user|auto|kernel]
#                            [--only REGEX] [--repeat N] [--cores LIST] [--list]
#
#   --mode run     under `userfault run`, while deny-userfaultfd kills whoever asks the kernel for one;
#                  this is the default
#   --mode kernel  on the kernel's own userfaultfd: the baseline
#   --as user      as user 65534; switching to it needs root
#   --repeat N     each self-test N times, stopping at the first failure
#   --cores LIST   only on these processors, as in taskset(1): 0 for one core, 0,1 for two
#   --only REGEX   only rows whose name matches
#
# Exit status: 0 all rows passed, 1 one did not, 2 wrong usage.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
parts=$root/tests/programs
build=${USERFAULT_PROGRAMS_DIR:-$root/build/programs}
logs=$build/logs
modes=run users=both engine=user only=. repeat=1 cores='' list=''
nobody=65534

usage() { sed -n '3,18s/^# \{0,1\}//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --mode) modes=${2?}; shift ;;
    --as) users=${2?}; shift ;;
    --engine) engine=${2?}; shift ;;
    --only) only=${2?}; shift ;;
    --repeat) repeat=${2?}; shift ;;
    --cores) cores=${2?}; shift ;;
    --list) list=1 ;;
    *) usage ;;
  esac
  shift
done
[ "$modes" = both ] && modes="kernel run"
[ "$users" = both ] && users="root user"

# Mounts (hugetlbfs for hugetlb_shared) and /dev stay our own affair.
if [ "$(id -u)" -eq 0 ] && [ -z "${USERFAULT_PROGRAMS_INNER:-}" ] && [ -z "$list" ]; then
  "$parts/install.sh"
  export USERFAULT_PROGRAMS_INNER=1
  exec unshare --mount "$0" --mode "$([ "${modes#* }" = "$modes" ] && echo "$modes" || echo both)" \
    --as "$([ "${users#* }" = "$users" ] && echo "$users" || echo both)" --engine "$engine" --only "$only" \
    --repeat "$repeat" ${cores:+--cores "$cores"}
fi

scratch=$(mktemp -d /tmp/userfault-programs.XXXXXX)
chmod 1777 "$scratch"
export TMPDIR=$scratch
mounted=''
cleanup() {
  [ -z "$mounted" ] || umount "$scratch/huge"
  rm -rf "$scratch"
}
trap cleanup EXIT
mkdir -p "$logs" "$scratch/huge"
if [ "$(id -u)" -eq 0 ] && mount -t hugetlbfs -o mode=1777 none "$scratch/huge" 2>/dev/null; then mounted=1; fi

failed=0 passed=0 skipped=0 mode='' user=''
base=() launcher=()

# `base` is where a program runs without us, `launcher` the way that the row is about.
choose() {
  mode=$1 user=$2 base=() launcher=()
  local switch=()
  [ "$user" = user ] && [ "$(id -u)" -eq 0 ] && switch=(--user "$nobody")
  if [ "$mode" = kernel ]; then
    [ ${#switch[@]} -eq 0 ] || base=(setpriv "--reuid=$nobody" "--regid=$nobody" --clear-groups)
    launcher=("${base[@]}")
  else
    base=("$build/deny-userfaultfd" "${switch[@]}")
    launcher=("${base[@]}" "$root/build/bin/userfault" run --engine "$engine" --)
  fi
}

say() { printf '%-7s %-28s %-6s %-4s %8s  %s\n' "$@"; }

# wanted NAME: whether this row runs at all.
wanted() {
  if ! grep -Eq -- "$only" <<<"$1"; then return 1; fi
  [ -z "$list" ] || { echo "$1"; return 1; }
}

skip() {
  wanted "$1" || return 0
  say skip "$1" "$mode" "$user" - "$2"
  skipped=$((skipped + 1))
}

# row NAME LIMIT_S DETAIL COMMAND...: runs it; DETAIL is a function that turns the log into a remark.
row() {
  local name=$1 limit=$2 detail=$3 log status=0 start taken
  shift 3
  wanted "$name" || return 0
  log=$logs/${mode}-${user}-${name//[^a-zA-Z0-9]/_}.log
  start=$EPOCHREALTIME
  (cd "$scratch" && timeout --kill-after=10 "$limit" "$@") >"$log" 2>&1 </dev/null || status=$?
  taken=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f s", b - a }')
  if [ $status -eq 0 ]; then
    say pass "$name" "$mode" "$user" "$taken" "$($detail "$log")"
    passed=$((passed + 1))
  elif [ "$mode/$user" = kernel/user ]; then
    # What the kernel refuses to an ordinary user is why `userfault run` exists, not a failure.
    say refused "$name" "$mode" "$user" "$taken" "$(tail -n 1 "$log" | cut -c 1-90)"
  else
    say FAIL "$name" "$mode" "$user" "$taken" "status $status, $(tail -n 1 "$log" | cut -c 1-90) [$log]"
    failed=$((failed + 1))
  fi
}

# shellcheck source=tests/programs/build.sh
. "$parts/build.sh"
# shellcheck source=tests/programs/rows.sh
. "$parts/rows.sh"

[ -n "$list" ] || build_programs
for chosen_mode in $modes; do
  for chosen_user in $users; do
    if [ "$chosen_user" = root ] && [ "$(id -u)" -ne 0 ]; then
      echo "rows as root are left out: this is not root" >&2
      continue
    fi
    choose "$chosen_mode" "$chosen_user"
    all_rows
    [ -z "$list" ] || exit 0
  done
done
[ -n "$list" ] || echo "$passed passed, $failed failed, $skipped skipped; logs in $logs"
[ "$failed" -eq 0 ]
