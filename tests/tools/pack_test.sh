#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# userfault pack and unpack from the outside: files, messages, exit status, and the program zstd.
# usage: pack_test.sh USERFAULT CASE
set -euo pipefail
userfault=$1 case=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

die() { echo "FAILED: $*" >&2; exit 1; }
# expect STATUS TEXT ARGUMENT... : the command ends with this status and says this text.
expect() {
  local status=$1 text=$2 got=0
  shift 2
  timeout 60 "$userfault" "$@" >out 2>&1 || got=$?
  [ "$got" -eq "$status" ] || { cat out; die "$*: status $got, expected $status"; }
  grep -qF -- "$text" out || { cat out; die "$*: does not say: $text"; }
}
head -c 700001 /dev/urandom >image
head -c 900000 /dev/zero >>image
seq 100000 >>image
if ! "$userfault" pack image >out 2>&1; then
  grep -q "built without zstd" out && { echo "skipped: built without zstd"; exit 77; }
  cat out
  die "pack"
fi
[ -s image.zst ] || die "image.zst was not written"

case $case in
  round_trip)
    for options in "--frame-size 64k --level 1" "--frame-size 2m --threads 3" "--level 19 --threads 1"; do
      # shellcheck disable=SC2086
      expect 0 "frames" pack image -o packed $options
      expect 0 "frames" unpack packed -o back
      cmp image back || die "$options: other bytes came back"
      rm packed back
    done
    mv image original
    "$userfault" unpack image.zst --quiet || die "unpack"
    cmp original image || die "other bytes came back" ;;
  zstd)
    command -v zstd >/dev/null || { echo "skipped: no program zstd"; exit 77; }
    zstd -dqc image.zst | cmp - image || die "zstd unpacks other bytes" ;;
  existing)
    expect 1 "is there already" pack image
    expect 0 "" pack image --force
    expect 1 "is there already" unpack image.zst
    expect 0 "" unpack image.zst --force ;;
  damaged)
    expect 0 "frames" unpack image.zst --check
    cp image.zst damaged.zst
    printf 'X' | dd of=damaged.zst bs=1 seek=300000 conv=notrunc status=none
    expect 1 "frame 2 at byte" unpack damaged.zst --check
    expect 1 "is damaged" unpack damaged.zst -o back
    head -c 200000 image.zst >short.zst
    expect 1 "truncated" unpack short.zst
    expect 1 "not a packed image" unpack image -o back
    [ "$(ls)" = "$(printf 'damaged.zst\nimage\nimage.zst\nout\nshort.zst')" ] || { ls; die "something was left behind"; } ;;
  usage)
    expect 2 "" pack
    expect 2 "64k to 2m" pack image -o x --frame-size 4k
    expect 2 "" pack image -o x --level 0
    expect 2 "say --output" unpack image
    expect 2 "writes nothing" unpack image.zst --check -o x
    expect 1 "No such file" pack missing
    expect 1 "not a regular file" pack . -o x
    expect 1 "No such file" pack image -o missing/x ;;
  *) die "no such case: $case" ;;
esac
