#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: sigsafe_symbols.sh NM OBJECT…
# Fails when an object of the signal-safe room needs a symbol from outside the room: libc, a runtime,
# thread-local storage. Objects of other rooms are passed over.
set -euo pipefail
nm=$1
shift
checked=0
bad=0
for object in "$@"; do
  case $object in */engine/user/sigsafe/*) ;; *) continue ;; esac
  checked=$((checked + 1))
  while read -r symbol; do
    case $symbol in
      _GLOBAL_OFFSET_TABLE_ | userfault_sigsafe_* | _ZN9userfault7sigsafe* | _ZNK9userfault7sigsafe*) ;;
      *) echo "$(basename "$object") needs $symbol" && bad=$((bad + 1)) ;;
    esac
  done < <("$nm" -u "$object" | awk '{print $2}')
done
echo "$checked objects of the signal-safe room, $bad symbols from outside"
[ "$checked" -gt 0 ] && [ "$bad" -eq 0 ]
