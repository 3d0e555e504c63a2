"""Hostile programs at each level: none reaches anything, each ends as it should, and siblings' verdicts stand.

A program prints BREACH when an attempt succeeds. The table is `hostile.txt`: `=== name | statuses`, where "*" is any
but infrastructure, "wall" marks programs that wait for the wall clock, and "silent" that nothing may be printed.
"""

import os
import pathlib
import re
import signal
import time

from mxjax.sandbox import SandboxLimits

LIMITS = SandboxLimits(cpu_s=0.5, wall_s=6, memory_mb=128, output_bytes=100_000, processes=16, disk_mb=4)
ENDS = {"ok", "runtime_error", "time", "memory", "output", "compile"}
SIBLING = "secret = 'sibling-secret-{}'\nprint(sum(int(line) for line in open(0)))"


def programs():
    text = pathlib.Path(__file__).with_name("hostile.txt").read_text()
    for name, wanted, source in re.findall(r"^=== (.*?) \| (.*?)\n(.*?)(?=^=== |\Z)", text, re.MULTILINE | re.DOTALL):
        yield name, set(wanted.split()), source.replace("#NUL", "\0")


TABLE = list(programs())


def processes_of(box):
    """Process ids in the process group of the warm process, itself and bubblewrap's own included."""
    group = box._zygote.process.pid
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat[2]) == group and stat[0] != "Z":
            found.append(int(entry))
    return found


def left_behind():
    folders = ("/tmp", "/var/tmp", "/dev/shm", "/", "/root", "/usr/lib")
    names = {f"{folder}/{name}" for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)}
    return {name for name in names if "mxjax-hostile" in name or "left-behind" in name}


def test_the_table_is_large():
    assert len(TABLE) >= 80 and len({name for name, _, _ in TABLE}) == len(TABLE)


def test_hostile_programs_reach_nothing_and_change_no_verdict(box):
    mounts, before = pathlib.Path("/proc/mounts").read_text(), len(processes_of(box))
    siblings, wrong = [], []
    pending = []
    for number, (name, wanted, source) in enumerate(TABLE):
        limits = LIMITS if "wall" not in wanted else SandboxLimits(cpu_s=0.5, wall_s=0.7, memory_mb=128)
        pending.append((name, wanted, box.submit(source, b"", limits)))
        if number % 4 == 0:
            siblings.append(box.submit(SIBLING.format(number), b"1\n2\n3\n", SandboxLimits(cpu_s=5, wall_s=60)))
    for name, wanted, future in pending:
        outcome = future.result()
        expected = ENDS if "*" in wanted else wanted & ENDS
        breach = b"BREACH" in outcome.stdout or ("silent" in wanted and outcome.stdout)
        if outcome.status not in expected or breach:
            wrong.append((name, outcome.status, outcome.stdout[:200], outcome.stderr[-200:]))
    assert not wrong, "\n".join(map(str, wrong))
    assert [(s.result().status, s.result().stdout) for s in siblings] == [("ok", b"6\n")] * len(siblings)
    for _ in range(50):
        if len(processes_of(box)) <= before:
            break
        time.sleep(0.05)
    assert len(processes_of(box)) <= before
    assert pathlib.Path("/proc/mounts").read_text() == mounts and left_behind() == set()


def test_a_process_killed_while_it_waits_for_its_job_costs_no_verdict(box):
    assert box.run("print(1)").ok
    os.kill(max(processes_of(box)), signal.SIGKILL)  # the youngest, forked ahead of need
    assert box.run("print(2)").stdout == b"2\n"
