"""Ordinary use of the sandbox: outcomes told apart, honest programs, sessions, lost workers, levels."""

import concurrent.futures
import os
import pathlib
import resource
import signal
import subprocess
import sys
import threading

import pytest
from support import sandbox

from mxjax.sandbox import Outcome, Sandbox, SandboxLimits, SandboxUnavailable, jobs, parts, pool, probe, syscalls
from mxjax.sandbox.outcome import InfrastructureError

LIMITS = SandboxLimits(cpu_s=0.5, wall_s=5, memory_mb=256)


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("print(6 * 7)", "ok"),
        ("1 / 0", "runtime_error"),
        ("raise SystemExit(2)", "runtime_error"),
        ("raise SystemExit", "ok"),
        ("while True: pass", "time"),
        ("x = 'x' * 10 ** 10", "memory"),
        ("print('x' * 10 ** 7)", "output"),
        ("def (", "compile"),
        ("exec('def (')", "runtime_error"),
        ("import os; os.abort()", "runtime_error"),
        ("import sys; print('MemoryError', file=sys.stderr)", "ok"),
    ],
)
def test_outcomes_are_told_apart(box, source, status):
    assert box.run(source, limits=LIMITS).status == status


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nprint(sum(int(x) for x in sys.stdin))",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "import sys\nread = sys.stdin.buffer.readline\nprint(int(read()) + int(read()) + int(read()))",
        "n = 3\ndef f():\n    return sum(int(input()) for _ in range(n))\nprint(f())",
        "import os\nprint(sum(map(int, os.read(0, 100).split())))",
        "print(sum(map(int, open(0).read().split())))",
        "print(sum(map(int, open('/dev/stdin').read().split())))",
        "import fileinput\nprint(sum(int(x) for x in fileinput.input()))",
        "if __name__ == '__main__':\n    print(int(input()) + int(input()) + int(input()))",
        "import numpy as np\nprint(np.fromstring(open(0).read(), sep=' ', dtype=int).sum())",
        "import sys, threading\nsys.setrecursionlimit(10 ** 5)\ndef main():\n    print(sum(map(int, sys.stdin)))\n"
        "t = threading.Thread(target=main)\nt.start()\nt.join()",
        "import sys\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nsys.setrecursionlimit(50000)\nf(20000)\n"
        "print(sum(map(int, sys.stdin)))",
        "import sympy, sys\nprint(sympy.Add(*map(sympy.Integer, sys.stdin.read().split())))",
        "import atexit\natexit.register(lambda: print(6))",
        "import dataclasses, typing, collections, heapq, bisect, itertools, functools, decimal, fractions, statistics\n"
        "@dataclasses.dataclass\nclass P:\n    x: int\nprint(P(6).x)",
        "import sys\nprint(6)\nsys.exit(0)",
        "import fcntl, os\nfd = os.dup(1)\nflags = fcntl.fcntl(fd, fcntl.F_GETFL)\n"
        "fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)\nfcntl.fcntl(fd, fcntl.F_SETFL, flags)\n"
        "fcntl.fcntl(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 9), fcntl.F_SETFD, 0)\nos.write(fd, b'6')",
        "from typing import *\nfrom collections import *\nprint(Counter(open(0).read())['\\n'] * 2)",
    ],
)
def test_honest_programs_run(box, source):
    outcome = box.run(source, b"1\n2\n3\n")
    assert (outcome.status, outcome.stdout.strip()) == ("ok", b"6"), outcome


def test_bytes_go_in_and_come_out_unchanged(box):
    data = bytes(range(256)) * 300
    outcome = box.run("import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())", data)
    assert outcome.ok and outcome.stdout == data


def test_a_program_draws_the_same_numbers_every_time(box):
    source = "import random, numpy\nprint(random.random(), numpy.random.rand(), {'a', 'b', 'c', 'd'}, hash('x'))"
    assert len({box.run(source).stdout for _ in range(3)}) == 1


def test_the_trainer_s_environment_stays_outside(box, monkeypatch):
    monkeypatch.setenv("MXJAX_SECRET", "hidden")
    assert b"MXJAX_SECRET" not in box.run("import os\nprint(os.environ)").stdout


def test_output_is_cut_at_the_limit(box):
    outcome = box.run("print('x' * 5000)", limits=SandboxLimits(output_bytes=100))
    assert outcome.status == "output" and len(outcome.stdout) == 100
    assert box.run("print('x' * 99)", limits=SandboxLimits(output_bytes=100)).ok


def test_any_thread_may_run_programs(box):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda n: box.run(f"print({n} + int(input()))", b"1"), range(40)))
    assert [int(outcome.stdout) for outcome in outcomes] == list(range(1, 41))


def test_a_lost_worker_is_replaced_and_its_jobs_run_again(box):
    futures = [box.submit("import time; time.sleep(0.5); print('here')") for _ in range(2)]
    threading.Event().wait(0.2)
    os.killpg(box._zygote.process.pid, signal.SIGKILL)
    assert [future.result().stdout for future in futures] == [b"here\n"] * 2


def test_a_machine_that_fails_twice_is_infrastructure_and_never_a_verdict(box, monkeypatch):
    def fails(zygote):
        raise pool.ZygoteLost("no")

    with pytest.raises(InfrastructureError):
        box.attempt(fails)
    monkeypatch.setattr(pool, "Job", lambda *arguments, **options: fails(None))
    assert box.run("print(1)").status == "infrastructure"


def test_a_job_that_something_outside_killed_while_it_compiled_is_no_verdict():
    report = {"why": "compile", "code": -signal.SIGKILL, "cpu_s": 0.1, "wall_s": 0.1}
    with pytest.raises(InfrastructureError, match="outside"):
        jobs._status(report, SandboxLimits(), False, b"")


def test_huge_limits_cost_nothing(box):
    zygote = box._zygote
    assert box.run("print(1)", limits=SandboxLimits(cpu_s=3e6)).ok and box._zygote is zygote


def test_a_process_with_many_open_files_runs_programs(box):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 1_200:
        pytest.skip("this machine allows fewer than 1,200 open files")
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(1_030)]
    try:
        assert box.run("print(1)").ok
        with box.session() as session:
            assert session.run("6 * 7") == "42\n"
    finally:
        for fd in kept:
            os.close(fd)


def test_a_process_that_can_open_no_more_files_reports_the_machine(box):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert box.run("print(1)").ok
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2, hard))
    try:
        outcome = box.run("print(1)")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert outcome.status == "infrastructure" and b"no room" in outcome.stderr
    assert box.run("print(1)").ok


def test_sixteen_threads_run_within_the_ordinary_limits(box):
    source = "import threading, time\nts = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(16)]\n"
    outcome = box.run(source + "for t in ts: t.start()\nfor t in ts: t.join()\nprint('done')")
    assert outcome.stdout == b"done\n", outcome


def test_sandboxes_do_not_share_the_users_of_their_jobs():
    if os.geteuid() != 0:
        pytest.skip("only root gives each job a user of its own")
    with sandbox("auto") as one, sandbox("auto") as other:
        users = [int(box.run("import os\nprint(os.getuid())").stdout) for box in (one, other) for _ in range(3)]
    assert len(set(users)) == 6 and min(users) >= 60_000


def test_the_last_words_of_a_warm_process_are_in_the_error(box):
    zygote = box._zygote
    zygote._control.send(b"not a job")
    zygote.process.wait()
    assert "IndexError" in str(zygote.lost("gone")) and box.run("print(1)").ok


def run_inside(source):
    """Runs source in a process that can import what the warm process imports."""
    inside = str(pathlib.Path(jobs.__file__).parent / "inside")
    command = [sys.executable, "-c", f"import os, sys\nsys.path.insert(0, {inside!r})\n{source}"]
    return subprocess.run(command, capture_output=True)


def test_a_job_whose_warm_process_has_ended_does_not_begin():
    started = run_inside("import jail\njail.die_with(os.getppid())\njail.die_with(os.getpid())")
    assert b"warm process has ended" in started.stderr


def test_a_job_that_fails_before_its_program_never_goes_on_as_the_warm_process():
    started = run_inside(
        "import zygote\ndef fails(*given): raise OSError\nzygote._become_job = fails\n"
        "zygote._ahead({'pids': None, 'own_uid': False}, iter(()), {})\nos.write(1, b'warm')"
    )
    assert started.stdout == b"warm", started.stderr


def test_a_session_keeps_its_variables_and_reports_errors_as_text(box):
    with box.session(SandboxLimits(cpu_s=1, wall_s=1, output_bytes=1000)) as session:
        assert session.run("x = 20\nprint('set')") == "set\n"
        assert session.run("x + 1") == "21\n"
        assert session.run("1 / 0").endswith("ZeroDivisionError: division by zero\n")
        error = session.run("def (")
        assert "SyntaxError" in error and "Traceback" not in error  # no frames of ours
        assert session.run("x") == "20\n"
        assert session.run("while True: pass") == "[stopped: out of time; variables are lost]"
        assert "NameError" in session.run("x")
        assert "too much output" in session.run("print('y' * 10000)")
        assert "interpreter was left" in session.run("import os; os._exit(0)")
        assert session.run("import numpy, sympy; numpy.arange(3)") == "array([0, 1, 2])\n"


def test_sessions_do_not_share_variables(box):
    with box.session() as one, box.session() as other:
        one.run("x = 1")
        assert "NameError" in other.run("x")
        assert one.run("x") == "1\n"


def test_a_session_is_stopped_between_two_pieces_of_code(box):
    with box.session() as session:
        session.run(
            "import threading, time\nticks = 0\ndef tick():\n    global ticks\n    while True:\n"
            "        ticks += 1\n        time.sleep(0.001)\nthreading.Thread(target=tick, daemon=True).start()"
        )
        before = int(session.run("ticks"))
        threading.Event().wait(0.5)
        assert int(session.run("ticks")) < before + 200


def test_the_self_test_names_what_a_job_could_do():
    assert probe.verdict(Outcome("ok", b"[]\n")) == ""
    assert probe.verdict(Outcome("ok", b'["fork", "mount"]\n')) == "a job could fork, mount"
    assert "runtime_error (NameError: x)" in probe.verdict(Outcome("runtime_error", b"", b"...\nNameError: x\n"))


def test_a_level_whose_walls_are_missing_is_not_used(monkeypatch):
    """With a filter that allows everything, the self-test must refuse level B."""
    sandbox("B").close()
    allow_all = (0x06).to_bytes(2, "little") + b"\0\0" + (0x7FFF0000).to_bytes(4, "little")
    monkeypatch.setattr("mxjax.sandbox.zygotes.compiled_filter", lambda: allow_all)
    with pytest.raises(SandboxUnavailable, match=r"a job could .*open a socket.*fork"):
        Sandbox("B")


def test_without_any_level_it_refuses_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(Sandbox, "_fault", lambda self, level: "absent")
    with pytest.raises(SandboxUnavailable, match="level A: absent; level B: absent; level C: absent"):
        Sandbox()
    with Sandbox(allow_unsafe=True) as box:
        assert box.level == "none" and "install" in box.advice


def test_auto_takes_the_strongest_level_and_says_how_to_get_a_stronger_one(monkeypatch):
    fault = Sandbox._fault
    monkeypatch.setattr(Sandbox, "_fault", lambda self, level: "absent" if level == "A" else fault(self, level))
    sandbox("B").close()
    with Sandbox() as box:
        assert box.level == "B" and "bubblewrap" in box.advice
        assert box.run("print(1)").ok


@pytest.mark.parametrize(
    ("bwrap", "seccomp", "named", "unnamed"),
    [
        (None, None, ["bubblewrap ("], ["pyseccomp", "libseccomp"]),
        ("/usr/bin/bwrap", ImportError, ["pyseccomp ("], ["install bubblewrap", "libseccomp"]),
        ("/usr/bin/bwrap", RuntimeError, ["libseccomp ("], ["install bubblewrap", "pyseccomp"]),
        (None, ImportError, ["bubblewrap (", "pyseccomp ("], ["libseccomp"]),
        ("/usr/bin/bwrap", None, ["does not work: no namespaces"], ["install"]),
    ],
)
def test_the_advice_names_the_part_that_is_missing(monkeypatch, bwrap, seccomp, named, unnamed):
    def compiled():
        if seccomp:
            raise seccomp("absent")

    monkeypatch.setattr(parts.shutil, "which", lambda name: bwrap)
    monkeypatch.setattr(parts, "compiled_filter", compiled)
    monkeypatch.setattr(Sandbox, "_fault", lambda self, level: "" if level == "C" else "no namespaces")
    with Sandbox() as box:
        assert all(word in box.advice for word in named) and not any(word in box.advice for word in unnamed)
    monkeypatch.setattr(Sandbox, "_fault", lambda self, level: "refused")
    with pytest.raises(SandboxUnavailable) as refused:
        Sandbox()
    assert all(word in str(refused.value) for word in named if bwrap is None or seccomp)


@pytest.mark.parametrize("limits", [{"cpu_s": 0}, {"memory_mb": 0.5}, {"wall_s": -1}, {"output_bytes": "1"}])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(ValueError, match=f"SandboxLimits.{next(iter(limits))} must be a positive number"):
        SandboxLimits(**limits)


@pytest.mark.parametrize("options", [{"level": "D"}, {"workers": 0}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ValueError, match=r"level must be|at least 1 worker"):
        Sandbox(**options)


def test_the_filter_is_a_whole_seccomp_program():
    pytest.importorskip("pyseccomp")
    assert len(syscalls.compiled_filter()) % 8 == 0 and len(syscalls.compiled_filter()) > 800
