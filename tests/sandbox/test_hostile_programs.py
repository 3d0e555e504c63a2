"""Hostile programs at each level: none reaches anything, each ends as it should, and siblings' verdicts stand.

A program prints BREACH when an attempt succeeds. The table is `hostile.txt`: `=== name | statuses`, where "*" is any
but infrastructure, "wall" marks programs that wait for the wall clock, and "silent" that nothing may be printed.
"""

import contextlib
import os
import pathlib
import re
import resource
import signal
import time

import pytest
from support import sandbox

from mxjax.sandbox import SandboxLimits, jobs, zygotes

LIMITS = SandboxLimits(cpu_s=0.5, wall_s=6, memory_mb=128, output_bytes=100_000, processes=16, disk_mb=4)
ENDS = {"ok", "runtime_error", "time", "memory", "output", "compile"}
SIBLING = "secret = 'sibling-secret-{}'\nprint(sum(int(line) for line in open(0)))"


def mounted():
    """What is mounted on this machine, but for what other tests mount for themselves."""
    return [line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if "/pytest-of-" not in line]


def programs():
    text = pathlib.Path(__file__).with_name("hostile.txt").read_text()
    for name, wanted, source in re.findall(r"^=== (.*?) \| (.*?)\n(.*?)(?=^=== |\Z)", text, re.MULTILINE | re.DOTALL):
        yield name, set(wanted.split()), source.replace("#NUL", "\0")


TABLE = list(programs())


@pytest.fixture(scope="module", params=["A", "B"])
def box(request):
    """A sandbox of each level whose processes bear a mark in the environment that they were started with."""
    with marked() as mark, sandbox(request.param) as made:
        made.mark = mark
        yield made


@contextlib.contextmanager
def marked():
    """A mark on all processes that sandboxes start meanwhile; none of them can take it off by a new session."""
    mark = f"{time.monotonic_ns()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(zygotes._ENVIRONMENT, "MARK_OF_A_TEST", mark)
        yield mark


def processes_of(mark):
    """Process ids with a mark, bubblewrap's own included, the youngest last."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            environment = pathlib.Path("/proc", entry, "environ").read_bytes()
        except OSError:
            continue
        if f"MARK_OF_A_TEST={mark}".encode() in environment and stat[0] != "Z":
            found[int(stat[19]), int(entry)] = int(entry)
    return [found[key] for key in sorted(found)]


def parent_of(process):
    return int(pathlib.Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[1])


def soon(condition):
    """Whether a condition comes true within some seconds."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def left_behind():
    folders = ("/tmp", "/var/tmp", "/dev/shm", "/", "/root", "/usr/lib")
    names = {f"{folder}/{name}" for folder in folders if os.access(folder, os.R_OK) for name in os.listdir(folder)}
    return {name for name in names if "mxjax-hostile" in name or "left-behind" in name}


def test_the_table_is_large():
    assert len(TABLE) >= 80 and len({name for name, _, _ in TABLE}) == len(TABLE)


def test_the_published_table_has_every_program():
    page = pathlib.Path(__file__).parents[2].joinpath("docs", "hostile_programs.md").read_text()
    assert re.findall(r"^\| (.*?) \| \w+ \| \w+ \|$", page, re.MULTILINE) == [name for name, _, _ in TABLE]


def test_hostile_programs_reach_nothing_and_change_no_verdict(box):
    mounts, before = mounted(), len(processes_of(box.mark))
    assert before >= 2  # the warm process and one ahead of need
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
    assert soon(lambda: len(processes_of(box.mark)) <= before)
    assert mounted() == mounts and left_behind() == set()


def test_a_process_killed_while_it_waits_for_its_job_costs_no_verdict(box):
    assert box.run("print(1)").ok
    zygote = box._zygote
    os.kill(processes_of(box.mark)[-1], signal.SIGKILL)  # the youngest, forked ahead of need
    assert box.run("print(2)").stdout == b"2\n"
    assert box._zygote is zygote


def test_a_job_killed_from_outside_runs_again(box):
    assert box.run("print(1)").ok
    zygote, ahead = box._zygote, processes_of(box.mark)[-1]
    future = box.submit("import time\ntime.sleep(1)\nprint('here')")
    assert soon(lambda: processes_of(box.mark)[-1] != ahead)  # it has begun, and there is another one ahead
    os.kill(ahead, signal.SIGKILL)
    assert future.result().stdout == b"here\n" and box._zygote is zygote


def test_memory_runs_out_for_jobs_first(box):
    assert pathlib.Path("/proc", str(processes_of(box.mark)[-1]), "oom_score_adj").read_text() == "1000\n"


def test_a_warm_process_that_does_not_answer_is_replaced(box, monkeypatch):
    monkeypatch.setattr(jobs, "_GRACE_S", 0.3)
    assert box.run("print(1)").ok
    zygote = box._zygote
    os.kill(parent_of(processes_of(box.mark)[-1]), signal.SIGSTOP)
    monkeypatch.setattr(zygotes.Zygote, "fork", lambda *given, real=zygotes.Zygote.fork: (
        monkeypatch.setattr(jobs, "_GRACE_S", 10) if given[0] is not zygote else None, real(*given)
    ))  # fmt: skip
    assert box.run("print(2)", limits=SandboxLimits(cpu_s=5, wall_s=5)).stdout == b"2\n"
    assert box._zygote is not zygote


def test_a_machine_without_room_for_another_job_costs_no_other_job():
    with marked() as mark, sandbox("auto", workers=12) as box:
        assert box.run("print(1)").ok
        zygote, warm = box._zygote, parent_of(processes_of(mark)[-1])
        hard = resource.prlimit(warm, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(warm, resource.RLIMIT_NOFILE, (15, hard))
        futures = [box.submit("import time\ntime.sleep(0.5)\nprint('here')") for _ in range(12)]
        outcomes = {(future.result().status, future.result().stdout) for future in futures}
        assert ("infrastructure", b"") in outcomes <= {("ok", b"here\n"), ("infrastructure", b"")}
        resource.prlimit(warm, resource.RLIMIT_NOFILE, (hard, hard))
        assert box.run("print(2)").ok and box._zygote is zygote


def test_a_job_that_ended_before_the_clock_was_read_has_its_verdict(box):
    assert box.run("print(1)").ok
    ahead = processes_of(box.mark)[-1]
    warm = parent_of(ahead)
    future = box.submit("import time\ntime.sleep(1)\nprint('here')", limits=SandboxLimits(wall_s=2))
    assert soon(lambda: processes_of(box.mark)[-1] != ahead)
    os.kill(warm, signal.SIGSTOP)
    time.sleep(2.5)
    os.kill(warm, signal.SIGCONT)
    assert future.result().stdout == b"here\n" and future.result().ok


def test_nothing_is_left_once_a_sandbox_is_closed():
    with marked() as mark, sandbox("auto") as box:
        sessions = [box.session() for _ in range(3)]
        assert [session.run("6 * 7") for session in sessions] == ["42\n"] * 3
        loop = box.submit("while True: pass")
        assert len(processes_of(mark)) > 4
    assert soon(lambda: not processes_of(mark)) and loop.result().status == "infrastructure"
