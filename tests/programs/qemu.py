#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""qemu.py snapshot|postcopy GUEST -- QEMU ARGUMENT...

Runs guest.S under QEMU and takes it through the two migrations that need userfaultfd:

  snapshot  background-snapshot to a file while the guest writes (write-protect faults), then a
            restore from that file by a second process;
  postcopy  a migration between two processes that switches to postcopy-ram while the guest writes
            (missing faults in the receiving process).

The guest checks every word of its memory and says so once a round over the serial port; a round
number that goes on after the migration is the proof. What comes after `--` is the command that
starts QEMU, with any launcher in front of it. Waits on QMP answers and serial lines, never on time;
the limit below only ends a run that hangs.
"""
import json
import os
import select
import socket
import subprocess
import sys
import time

LIMIT_S = float(os.environ.get("QEMU_LIMIT_S", "150"))
MACHINE = ["-accel", "tcg", "-m", "128", "-nodefaults", "-display", "none", "-serial", "stdio"]
# Slow enough that the guest gets through rounds while its pages go, in bytes a second.
BANDWIDTH = 24 << 20


class Failure(Exception):
    pass


class Lines:
    """Lines from a descriptor, each waited for until the run's deadline."""

    def __init__(self, fd, name):
        self.fd, self.name, self.rest = fd, name, b""

    def next(self, deadline):
        while b"\n" not in self.rest:
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failure(f"{self.name}: nothing came within {LIMIT_S:.0f} s")
            chunk = os.read(self.fd, 65536)
            if not chunk:
                raise Failure(f"{self.name}: closed")
            self.rest += chunk
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode(errors="replace").strip()


class Qemu:
    def __init__(self, command, guest, name, extra=()):
        ours, theirs = socket.socketpair()
        self.name, self.deadline, self.events = name, time.monotonic() + LIMIT_S, []
        qmp = ["-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"]
        self.process = subprocess.Popen([*command, *MACHINE, "-kernel", guest, *qmp, *extra], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, pass_fds=[theirs.fileno()])
        theirs.close()
        self.qmp = ours
        self.answers = Lines(ours.fileno(), f"{name}: QMP")
        self.serial = Lines(self.process.stdout.fileno(), f"{name}: serial port")
        self.answer("QMP")
        self.do("qmp_capabilities")

    def answer(self, *keys):
        while True:
            message = json.loads(self.answers.next(self.deadline))
            if "error" in message:
                raise Failure(f"{self.name}: {message['error']['desc']}")
            for key in keys:
                if key in message:
                    return message[key]
            if "event" in message:
                self.events.append(message)

    def do(self, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.qmp.sendall(json.dumps(request).encode())
        return self.answer("return")

    def enable(self, *names):
        capabilities = [{"capability": name, "state": True} for name in ("events", *names)]
        self.do("migrate-set-capabilities", capabilities=capabilities)

    def wait_event(self, name):
        """Until an event of that name; a migration that fails ends the run."""
        while True:
            while self.events:
                event = self.events.pop(0)
                status = event["data"].get("status") if event["event"] == "MIGRATION" else None
                if status in ("failed", "cancelled"):
                    raise Failure(f"{self.name}: migration {status}: {self.do('query-migrate')}")
                if name in (event["event"], status):
                    return
            self.events.append(self.next_event())

    def next_event(self):
        while True:
            message = json.loads(self.answers.next(self.deadline))
            if "event" in message:
                return message

    def round(self):
        line = self.serial.next(self.deadline)
        if not line.startswith("R "):
            raise Failure(f"{self.name}: the guest says: {line}")
        return int(line[2:], 16)

    def rounds(self, count):
        return [self.round() for _ in range(count)]

    def waiting_rounds(self):
        """The rounds that are there already."""
        seen = []
        while b"\n" in self.serial.rest or select.select([self.serial.fd], [], [], 0)[0]:
            seen.append(self.round())
        return seen

    def quit(self):
        try:
            self.do("quit")
        except (Failure, OSError):
            pass  # It may close the monitor before it answers.
        status = self.process.wait(timeout=30)
        if status != 0:
            raise Failure(f"{self.name}: exit status {status}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def consecutive(rounds, name):
    if rounds != list(range(rounds[0], rounds[0] + len(rounds))):
        raise Failure(f"{name}: rounds out of order: {rounds}")


def snapshot(command, guest, started):
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"userfault-snapshot-{os.getpid()}")
    source = Qemu(command, guest, "source")
    started.append(source)
    before = source.rounds(3)
    source.enable("background-snapshot")
    source.do("migrate-set-parameters", max_bandwidth=BANDWIDTH)
    source.do("migrate", uri=f"exec:cat > {path}")
    source.wait_event("active")
    # The guest stands still only while its devices are saved. RESUME before the end is the proof that
    # its memory goes to the file while it writes.
    source.wait_event("RESUME")
    source.wait_event("completed")
    during = source.waiting_rounds()
    after = source.rounds(2)
    consecutive(before + during + after, "source")
    source.quit()
    try:
        copy = Qemu(command, guest, "restored", ["-incoming", f"exec:cat {path}"])
        started.append(copy)
        restored = copy.rounds(3)
        copy.quit()
    finally:
        os.unlink(path)
    consecutive(restored, "restored")
    if not before[-1] < restored[0] <= before[-1] + len(during) + 1:
        raise Failure(f"restored at round {restored[0]}, saved after {before[-1]}")
    return f"{len(during)} rounds while saving; restored in round {restored[0]}"


def postcopy(command, guest, started):
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"userfault-postcopy-{os.getpid()}")
    target = Qemu(command, guest, "target", ["-incoming", "defer"])
    started.append(target)
    target.enable("postcopy-ram")
    target.do("migrate-incoming", uri=f"unix:{path}")
    source = Qemu(command, guest, "source")
    started.append(source)
    before = source.rounds(3)
    source.enable("postcopy-ram")
    # Without the second limit most pages are pushed before the guest asks for them.
    source.do("migrate-set-parameters", max_bandwidth=BANDWIDTH, max_postcopy_bandwidth=BANDWIDTH)
    source.do("migrate", uri=f"unix:{path}")
    source.wait_event("active")
    source.do("migrate-start-postcopy")
    source.wait_event("completed")
    before += source.waiting_rounds()
    requests = source.do("query-migrate")["ram"]["postcopy-requests"]
    after = target.rounds(3)
    consecutive(before + after, "source and target")
    if not requests:
        raise Failure("the target asked for no page: nothing was tried")
    source.quit()
    target.quit()
    return f"{requests} pages asked for; went on with round {after[0]}"


def main():
    kind, guest, separator, *command = sys.argv[1:]
    started = []
    try:
        assert separator == "--"
        print({"snapshot": snapshot, "postcopy": postcopy}[kind](command, guest, started))
    except Failure as failure:
        print(f"qemu.py: {failure}", file=sys.stderr)
        return 1
    finally:
        for qemu in started:
            qemu.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
