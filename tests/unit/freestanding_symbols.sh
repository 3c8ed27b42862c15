#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: freestanding_symbols.sh NM OBJECT…
# Fails when an object of the user engine refers to a symbol outside it: libc, a runtime, thread-local
# storage. In-thread handlers, the handler of SIGSYS and the agent's thread run nearly all of it. Objects of
# other rooms are passed over. An entry of the list that no object needs any more is a failure, too.
set -euo pipefail
nm=$1
shift
# OBJECT SYMBOL, and what makes it safe.
declare -A allowed=(
  ["user_engine.cc.o ioctl"]="asks the preload library's copy of the engine through libc's name, once a process"
  ["user_engine.cc.o __errno_location"]="the errno of the thread that faulted, saved around an in-thread handler"
  ["user_engine.cc.o _ZN9userfault6engine13kernel_engineEv"]="the other engine, for descriptors that are not of this one"
  ["written_scan.cc.o _ZN9userfault6engine13kernel_engineEv"]="PAGEMAP_SCAN of memory that is not served"
  ["fork.cc.o pthread_atfork"]="in a constructor and in open"
  ["dispatch.cc.o environ"]="read once, in API"
  ["remote_descriptor.cc.o memcmp"]="async-signal-safe (signal-safety(7))"
  ["remote_descriptor.cc.o memset"]="async-signal-safe (signal-safety(7))"
)
declare -A needed=()
checked=0
bad=0
for object in "$@"; do
  case $object in */engine/user/*) ;; *) continue ;; esac
  checked=$((checked + 1))
  name=$(basename "$object")
  while read -r symbol; do
    case $symbol in
      _GLOBAL_OFFSET_TABLE_ | userfault_rt_* | _ZN9userfault6engine4user* | _ZNK9userfault6engine4user*) continue ;;
    esac
    needed["$name $symbol"]=1
    [ -n "${allowed["$name $symbol"]-}" ] || { echo "$name needs $symbol"; bad=$((bad + 1)); }
  done < <("$nm" -u "$object" | awk '{print $2}')
done
for entry in "${!allowed[@]}"; do
  [ -n "${needed["$entry"]-}" ] || { echo "no longer needed, take it off the list: $entry"; bad=$((bad + 1)); }
done
echo "$checked objects of the user engine, $bad findings"
[ "$checked" -gt 30 ] && [ "$bad" -eq 0 ]
