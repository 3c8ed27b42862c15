#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# userfault restore from the outside: what it prints, its JSON, its exit status.
# usage: restore_test.sh USERFAULT LIVE_PROCESS CASE
set -euo pipefail
userfault=$1 live=$2 case=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

die() { echo "FAILED: $*" >&2; exit 1; }
# expect STATUS TEXT ARGUMENT... : restore ends with this status and says this text.
expect() {
  local status=$1 text=$2 got=0
  shift 2
  timeout 60 "$userfault" restore "$@" >out 2>&1 || got=$?
  [ "$got" -eq "$status" ] || { cat out; die "restore $*: status $got, expected $status"; }
  grep -qF -- "$text" out || { cat out; die "restore $*: does not say: $text"; }
}
field() { grep -oE "\"$1\": *[^,}]+" report.json | head -1 | sed 's/.*: *//'; }
flat() { head -c "${1:-3000001}" /dev/urandom >image; }

case $case in
  flat)
    flat
    for access in sequential random; do
      expect 0 "every byte: 3000001 bytes" image --access $access --verify --json report.json
      [ "$(field verified)" = true ] || die "verified is not true"
      [ "$(field bytes)" = 3000001 ] || die "bytes"
      [ "$(($(field pages_by_fault) + $(field pages_by_prefetch)))" -eq 733 ] || die "pages"
    done ;;
  json)
    flat
    expect 0 '"engine"' image --json - --histogram --prefetch --readers 4
    expect 0 "" image --json report.json
    for name in engine bytes verified first_byte_us faults pages_by_fault pages_by_prefetch latency_us p50 p90 p99 max bytes_per_s; do
      [ -n "$(field $name)" ] || die "no field $name"
    done
    [ "$(field verified)" = false ] || die "verified without --verify"
    expect 1 "cannot write" image --json /nonexistent/report.json ;;
  part)
    flat
    expect 0 "every byte: 70000 bytes" image --offset 12345 --length 70000 --verify
    expect 1 "truncated" image --offset 2999000 --length 70000
    expect 1 "behind its end" image --offset 4000000 ;;
  shapes)
    flat 9000000
    for shape in "--around 16 --workers 3" "--page-size 2m" "--page-size 2m --access random" "--prefetch --access none" \
      "--prefetch --access random --readers 8" "--access none"; do
      # shellcheck disable=SC2086
      expect 0 "every byte: 9000000 bytes" image $shape --verify
    done ;;
  mapped)
    flat 9000000
    expect 0 "every byte: 9000000 bytes" image --mapped --verify --json report.json
    [ "$(field mapped_pages)" -gt 1000 ] || die "a walk was not mapped"
    expect 0 "every byte: 9000000 bytes" image --mapped --verify --budget 1m --prefetch --access random
    expect 1 "only for reading" image --mapped --writable
    expect 1 "not packed" zero:1m --mapped
    "$live" 8 core
    expect 0 "every byte" core --mapped --verify --prefetch ;;
  core)
    "$live" 8 core
    expect 0 "ELF core" core --verify --json report.json
    [ "$(field zero_pages)" -gt 0 ] || die "no zero page in a core"
    expect 0 "every byte" core --verify --relocate --access random --prefetch
    expect 0 "flat file" core --offset 0 --verify ;;
  bad_core)
    "$live" 8 core
    head -c 100000 core >short
    expect 1 "truncated" short
    head -c 10 core >tiny
    expect 1 "too short for an ELF core" tiny
    expect 1 "not a core" "$userfault"
    expect 0 "flat file" "$userfault" --offset 0 --verify ;;
  bad_file)
    expect 1 "No such file" missing
    expect 1 "not a regular file" .
    : >empty
    expect 1 "no bytes" empty
    truncate -s 1G hole
    expect 0 "" hole --length 16M --verify ;;
  too_large)
    # Holes cost page tables, one byte for 512.
    kib=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
    truncate -s "$((kib * 600))K" holes || { echo "skipped: this file system has no file of 600 times the memory"; exit 77; }
    expect 1 "larger than memory" holes ;;
  unreadable)
    flat
    chmod 000 image
    if [ "$(id -u)" -eq 0 ]; then
      chmod 755 . && chmod 000 image
      command -v setpriv >/dev/null || { echo "skipped: no setpriv"; exit 77; }
      status=0
      setpriv --reuid 65534 --regid 65534 --clear-groups "$userfault" restore "$work/image" >out 2>&1 || status=$?
      [ "$status" -eq 1 ] && grep -q "Permission denied" out || { cat out; die "status $status"; }
    else
      expect 1 "Permission denied" image
    fi ;;
  usage)
    flat
    expect 2 "" image --around 3
    expect 2 "" image --engine nothing
    expect 2 "" image --page-size 3k
    expect 2 "" ;;
  engines)
    flat
    for engine in kernel user; do
      if "$userfault" restore image --engine $engine --access none --quiet 2>out; then
        expect 0 "every byte" image --engine $engine --access random --prefetch --verify
        expect 0 "engine       $engine" image --engine $engine
      else
        grep -q "the $engine engine is not available" out || { cat out; die "no reason given"; }
      fi
    done ;;
  names)
    flat
    expect 0 "flat file" file:image --verify
    expect 0 "every byte: 1048576 bytes" zero:1m --verify
    expect 1 "not a size" zero:much
    expect 1 "not an ELF file" core:image
    "$live" 8 core
    expect 0 "ELF core" core:core --verify
    expect 0 "flat file" file:core --verify ;;
  packed)
    flat
    "$userfault" pack image --quiet >out 2>&1 || { cat out; grep -q "built without zstd" out && exit 77; die "pack"; }
    for options in "--access sequential" "--access random --readers 4 --prefetch" "--page-size 2m" "--offset 12345 --length 70000"; do
      # shellcheck disable=SC2086
      expect 0 "every byte" image.zst --verify $options
    done
    expect 0 "packed file" zstd:image.zst
    expect 1 "not a packed image" zstd:image
    "$live" 8 core
    "$userfault" pack core --quiet
    expect 0 "ELF core" core.zst --verify --relocate
    expect 0 "ELF core" core:core.zst --verify
    expect 0 "packed file" core.zst --offset 0 --verify
    printf 'X' | dd of=image.zst bs=1 seek=1000000 conv=notrunc status=none
    expect 1 "the packed image is damaged there" image.zst
    head -c 1000000 image.zst >short.zst
    expect 1 "not a packed image, or truncated" zstd:short.zst ;;
  budget)
    flat 20000001
    for engine in kernel user; do
      "$userfault" restore image --engine $engine --access none --quiet 2>out || { cat out; continue; }
      for shape in "4m --access sequential" "4m --access random --readers 4" "4m --access none" "8m --page-size 2m" \
        "4m --prefetch"; do
        # shellcheck disable=SC2086
        expect 0 "every byte: 20000001 bytes" image --engine $engine --verify --json report.json --budget $shape
        [ "$(field evictions)" -gt 0 ] || die "$shape: nothing was evicted"
        [ "$(field resident_bytes)" -le "$(field budget)" ] || die "$shape: more than the budget"
      done
      "$live" 16 core
      expect 0 "every byte" core --engine $engine --budget 4m --verify --access random
    done ;;
  writable)
    flat 5000001
    cp image before
    for engine in kernel user; do
      "$userfault" restore image --engine $engine --access none --quiet 2>out || { cat out; continue; }
      expect 0 "every byte" image --engine $engine --writable --access random --budget 1m --verify --json report.json
      [ "$(field bytes_inverted)" = 1221 ] || die "$(field bytes_inverted) bytes inverted, 1221 expected"
      # cmp -l counts from 1: the first byte of every page differs, and nothing else.
      cmp -l before image >different || true
      awk '$1 % 4096 != 1 { exit 1 }' different || die "a byte that was not written has changed"
      [ "$(wc -l <different)" -eq 1221 ] || die "$(wc -l <different) bytes differ"
      expect 0 "every byte" image --engine $engine --writable --readers 3 --verify
      cmp before image || die "inverted twice, it is another file"
      expect 0 "every byte" image --engine $engine --writable --access none --verify
      expect 0 "every byte" image --engine $engine --budget 1m --verify
      cmp before image || die "something was written without --access"
    done
    "$live" 8 core
    expect 1 "only a flat file" core --writable
    expect 1 "only a flat file" zero:1m --writable ;;
  *) die "no such case: $case" ;;
esac
