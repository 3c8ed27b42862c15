#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plain.py PROGRAM: a program that never opens a userfaultfd, with and without us.

BASE and UNDER in the environment are the two launchers, words apart by spaces. The program's output
and exit status must be the same under both; then its shortest run is started in turns under one and
the other, and the ratio of the medians is printed. With the same launcher twice the ratio is the
noise.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

STARTS = 15

PYTHON = "import json, zlib, threading, hashlib; print(zlib.crc32(json.dumps(list(range(99999))).encode()))"
GIT = """set -e
git init -q -b main repo && cd repo
for i in 1 2 3 4 5; do seq 1 "$i"000 > "file$i" && git add . && git commit -q -m "commit $i"; done
git log --format=%s --stat && git gc -q && git fsck --strict && git cat-file -p HEAD^{tree}
"""
GCC = """set -e
printf '#include <stdio.h>\\nint main(void) { puts("compiled"); return 0; }\\n' > a.c
gcc -O2 -pipe -o a a.c && ./a && gcc -O2 -S -o - a.c | sed /ident/d
"""
REDIS = """set -e
redis-server --port 0 --unixsocket "$PWD/s" --save '' --daemonize no --logfile log >/dev/null &
until redis-cli -s s ping 2>/dev/null | grep -q PONG; do kill -0 $!; done
for i in $(seq 50); do redis-cli -s s set "key$i" "value$i" >/dev/null; done
redis-cli -s s mget key1 key25 key50
redis-cli -s s eval 'local n = 0; for i = 1, 100000 do n = n + i end; return n' 0
redis-cli -s s save && redis-cli -s s shutdown nosave
wait
"""
PROGRAMS = {
    "python3": (["python3", "-c", PYTHON], ["python3", "-S", "-c", "pass"]),
    "git": (["sh", "-c", GIT], ["git", "--version"]),
    "gcc": (["sh", "-c", GCC], ["gcc", "--version"]),
    "redis-server": (["sh", "-c", REDIS], ["redis-server", "--version"]),
}
# So that two runs can be the same: commit times and names are part of git's objects.
SAME = {"GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z", "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
for role in ("AUTHOR", "COMMITTER"):
    SAME |= {f"GIT_{role}_NAME": "nobody", f"GIT_{role}_EMAIL": "nobody@example.org"}


def run(launcher, command):
    directory = tempfile.mkdtemp()
    os.chmod(directory, 0o777)
    try:
        done = subprocess.run([*launcher, *command], cwd=directory, env={**os.environ, **SAME}, text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout
    finally:
        shutil.rmtree(directory)


def start_ms(launcher, command):
    before = time.perf_counter()
    subprocess.run([*launcher, *command], stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - before) * 1000


def main():
    work, short = PROGRAMS[sys.argv[1]]
    base, under = os.environ["BASE"].split(), os.environ["UNDER"].split()
    wanted, got = run(base, work), run(under, work)
    if wanted[0] != 0:
        print(f"plain.py: without us it fails already: {wanted}")
        return 1
    if wanted != got:
        print(f"plain.py: exit status and output without us:\n{wanted[0]}\n{wanted[1]}\nwith us:\n{got[0]}\n{got[1]}")
        return 1
    times = [(start_ms(base, short), start_ms(under, short)) for _ in range(STARTS)]
    plain, ours = (statistics.median(column) for column in zip(*times))
    print(f"output unchanged; start-up {plain:.1f} ms, with us {ours:.1f} ms, ratio {ours / plain:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
