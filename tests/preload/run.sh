#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh USERFAULT: `userfault run` starts what it can, and says why where it cannot.
set -euo pipefail
userfault=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

# refused STATUS PATTERN WORD...: exits with STATUS, says PATTERN, and starts nothing.
refused() {
  local wanted=$1 pattern=$2 status=0
  shift 2
  "$userfault" run "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "run $*: status $status, not $wanted"
  grep -Eq -- "$pattern" "$scratch/err" || fail "run $*: said '$(cat "$scratch/err")', not $pattern"
  [ ! -s "$scratch/out" ] || fail "run $*: something ran"
}
# printed TEXT WORD...: exits with 0 and prints TEXT.
printed() {
  local wanted=$1 output
  shift
  output=$("$userfault" run "$@") || fail "run $*: status $?"
  [ "$output" = "$wanted" ] || fail "run $*: printed '$output', not '$wanted'"
}

refused 2 'which program'
refused 2 'foo' --engine foo true
refused 127 'cannot run no-such-program: No such file' no-such-program
refused 126 'cannot run /etc/passwd: Permission denied' /etc/passwd
printf 'int main(void) { return 0; }\n' >"$scratch/main.c"
${CC:-cc} -o "$scratch/main" "$scratch/main.c"
if ${CC:-cc} -static -o "$scratch/static" "$scratch/main.c" 2>/dev/null; then
  refused 126 'statically linked' "$scratch/static"
  printf '#!%s\n' "$scratch/static" >"$scratch/script"
  chmod +x "$scratch/script"
  refused 126 "$scratch/static is statically linked" "$scratch/script"
  # What a program starts is not refused, but told of.
  "$userfault" run --log "$scratch/log" -- sh -c "$scratch/static; exit 0"
  grep -q "$scratch/static runs without userfault: it is statically linked" "$scratch/log" ||
    fail "nothing is said of a static child: $(cat "$scratch/log")"
fi
# Bad arguments of exec stay the kernel's to refuse, also where they are looked at for the log.
cat >"$scratch/exec.c" <<'C'
#include <errno.h>
#include <unistd.h>
int main(void) {
  char *bad[] = {(char *)16, 0};
  char *good[] = {"true", 0};
  execve("/bin/true", good, bad);
  if (errno != EFAULT) return 1;
  execve("/bin/true", bad, good);
  if (errno != EFAULT) return 2;
  execve((char *)16, good, good);
  return errno == EFAULT ? 0 : 3;
}
C
${CC:-cc} -o "$scratch/exec" "$scratch/exec.c" 2>/dev/null
"$userfault" run --log "$scratch/log" -- "$scratch/exec" || fail "bad arguments of exec: status $?"

"$userfault" run --log "$scratch/log" -- env -u LD_PRELOAD true
grep -Eq "true runs without userfault: its environment has no LD_PRELOAD" "$scratch/log" ||
  fail "nothing is said of a child without LD_PRELOAD: $(cat "$scratch/log")"
${CC:-cc} -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 -o "$scratch/musl" "$scratch/main.c"
refused 126 "not glibc's" "$scratch/musl"
head -c 64 "$scratch/musl" >"$scratch/other"
printf '\x16' | dd of="$scratch/other" bs=1 seek=18 conv=notrunc status=none
chmod +x "$scratch/other"
refused 126 'another machine' "$scratch/other"
if [ "$(id -u)" -eq 0 ]; then
  cp "$scratch/main" "$scratch/setuid"
  chown 65534 "$scratch/setuid"
  chmod 4755 "$scratch/setuid"
  refused 126 'set-user-ID' "$scratch/setuid"
fi

printed '--verbose -- x' echo --verbose -- x
printed '--engine user' -- echo --engine user
printed 'a b' -- sh -c 'echo "$@"' sh a b
printf 'echo plain "$1"\n' >"$scratch/plain"
chmod +x "$scratch/plain"
printed 'plain x' -- "$scratch/plain" x
printed 'user -' --engine user --verbose -- sh -c 'echo $USERFAULT_ENGINE $USERFAULT_LOG'
# It follows a shell, and stands before another preload.
LD_PRELOAD=libm.so.6 printed 'libuserfault-preload.so:libm.so.6' -- sh -c 'echo ${LD_PRELOAD##*/}'
status=0
"$userfault" run -- sh -c 'exit 7' || status=$?
[ "$status" -eq 7 ] || fail "the program's exit status is $status"

# auto: where the kernel's opens for this user but refuses fork events, ours takes its place.
cat >"$scratch/events.c" <<'C'
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_FORK};
  const long fd = syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);
  return fd < 0 ? 2 : ioctl((int)fd, UFFDIO_API, &api) == 0 ? 0 : 1;
}
C
${CC:-cc} -o "$scratch/events" "$scratch/events.c"
chmod 755 "$scratch"
other=(setpriv --reuid=65534 --regid=65534 --clear-groups)
if [ "$(id -u)" -eq 0 ] && "${other[@]}" test -x "$userfault" 2>/dev/null; then
  "${other[@]}" "$userfault" run --engine auto -- "$scratch/events" || fail "auto: fork events are refused: status $?"
fi
