#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""passing.py -- LAUNCHER...: two programs that share nothing but a socket.

One registers memory and passes its userfaultfd on with SCM_RIGHTS; the other one, started apart from
it, reads the message and fills the page. Both are this file, under the launcher.
"""

import array
import ctypes
import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile

SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}[os.uname().machine]
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_COPY = 0xC018AA3F, 0xC020AA00, 0xC028AA03
PAGE = 4096
CONTENT = b"from another process"
libc = ctypes.CDLL(None, use_errno=True)


def operate(fd, request, *fields):
    argument = ctypes.create_string_buffer(struct.pack(f"{len(fields)}Q", *fields))
    if libc.ioctl(fd, ctypes.c_ulong(request), argument) < 0:
        raise OSError(ctypes.get_errno(), f"ioctl {request:#x}")


def own(path):
    fd = libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    operate(fd, UFFDIO_API, 0xAA, 0, 0)
    memory = mmap.mmap(-1, PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    operate(fd, UFFDIO_REGISTER, address, PAGE, 1, 0)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        socket.send_fds(peer, [b"memory"], [fd])
    os.close(fd)
    seen = ctypes.string_at(address, len(CONTENT))
    if seen != CONTENT:
        sys.exit(f"the page holds {seen!r}")


def serve(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("listening", flush=True)
        peer, _ = listener.accept()
    _, fds, _, _ = socket.recv_fds(peer, 16, 1)
    select.select(fds, [], [])
    message = array.array("Q", [0] * 4)
    address, _ = message.buffer_info()
    if libc.read(fds[0], ctypes.c_void_p(address), 32) != 32:
        raise OSError(ctypes.get_errno(), "read")
    page = CONTENT.ljust(PAGE, b".")
    source = ctypes.create_string_buffer(page, PAGE)
    operate(fds[0], UFFDIO_COPY, message[2] & -PAGE & (1 << 64) - 1, ctypes.addressof(source), PAGE, 0, 0)


def main():
    if sys.argv[1] in ("own", "serve"):
        (own if sys.argv[1] == "own" else serve)(sys.argv[2])
        return
    launcher = sys.argv[sys.argv.index("--") + 1 :]
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = directory + "/socket"
        me = ["env", "python3", os.path.abspath(__file__)]
        with subprocess.Popen([*launcher, *me, "serve", path], stdout=subprocess.PIPE) as server:
            server.stdout.readline()
            status = subprocess.call([*launcher, *me, "own", path])
            status = status or server.wait()
    sys.exit(status)


main()
