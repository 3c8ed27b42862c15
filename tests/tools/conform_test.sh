#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# userfault conform --engine user where the kernel's engine is out of reach: as a user without
# privileges, under a filter that kills on userfaultfd(2), and under one that hides what an older kernel does
# not have. No test may fail there; what needs
# what is not there is skipped by the suite itself. scripts/conform-table.sh shows the same runs as a table.
# usage: conform_test.sh USERFAULT DENY CASE
set -euo pipefail
userfault=$(realpath "$1") deny=$(realpath "$2") case=$3

skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" -eq 0 ] || skip "only root can become another user and make a mount namespace"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The other user may not be able to reach the build.
chmod 755 "$work"
install -m 755 "$userfault" "$work/userfault"
cd "$work"

unprivileged=(setpriv --reuid 65534 --regid 65534 --clear-groups)
command=("$work/userfault" conform --engine user)
case $case in
  unprivileged | seccomp_unprivileged)
    command -v setpriv >/dev/null || skip "there is no setpriv (util-linux)"
    command=("${unprivileged[@]}" "${command[@]}")
    ;;&
  seccomp | seccomp_unprivileged | old_kernel)
    # 125 is the filter's own refusal, which says why: no mount namespace, no seccomp.
    status=0
    why=$("$deny" true 2>&1) || status=$?
    [ "$status" -ne 125 ] || skip "$why"
    [ "$case" != old_kernel ] || command=(--old-kernel "${command[@]}")
    command=("$deny" "${command[@]}")
    ;;
  unprivileged) ;;
  *) echo "FAILED: there is no case $case"; exit 1 ;;
esac

status=0
"${command[@]}" >out 2>&1 || status=$?
# The last line counts; a run that ended before it, by the filter for one, has none.
if ! tail -1 out | grep -qE ': [1-9][0-9]* passed, 0 failed,' || [ "$status" -ne 0 ]; then
  grep -vE '^ *(pass|skip) ' out || true
  echo "FAILED: ${command[*]} ended with status $status"
  exit 1
fi
tail -1 out
