# SPDX-License-Identifier: Apache-2.0
"""userfault doctor --json is JSON, is what the table says, and holds what its manual page lists."""
import json
import subprocess
import sys

command = sys.argv[1]
done = subprocess.run([command, "doctor", "--json", "-"], capture_output=True, text=True)
found = json.loads(done.stdout)
table = subprocess.run([command, "doctor"], capture_output=True, text=True).stdout

members = {"kernel", "engine", "why", "seccomp_mode", "cap_sys_ptrace", "ways", "user_engine", "features",
           "register", "facilities", "settings"}
assert set(found) == members, set(found) ^ members
assert done.returncode == (1 if found["engine"] is None else 0), done.returncode
assert len(found["ways"]) == 4 and len(found["features"]) == 17
for way in found["ways"]:
    assert way["opens"] == (way["errno"] is None and not way["killed"]), way
    assert way["opens"] == (way["refused_by"] is None) or way["errno"] is not None, way
for each in found["features"]:
    row = next(line.split() for line in table.splitlines() if line.split()[:1] == [each["name"]])
    assert row[1] == ("yes" if each["offered"] else "no"), row
if found["engine"] is not None:
    assert len(found["register"]) == 70, len(found["register"])
    for row in found["register"]:
        assert (row["errno"] is None) == bool(row["operations"]), row
unwritable = subprocess.run([command, "doctor", "--json", "/nowhere/at/all"], capture_output=True, text=True)
assert unwritable.returncode == 1 and "cannot write /nowhere/at/all: No such file" in unwritable.stderr, unwritable
wrong = subprocess.run([command, "doctor", "--engine", "none"], capture_output=True, text=True)
assert wrong.returncode == 2, wrong
