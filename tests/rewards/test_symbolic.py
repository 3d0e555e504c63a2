"""The process that compares formulas: it can be killed, hang, die or be asked by many threads."""

import concurrent.futures
import os
import resource
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import optional

from mxjax.rewards import InfrastructureError, grade_math, symbolic
from mxjax.rewards.symbolic import Comparer, comparable

HANGS = "import sys, time\nprint('ready', flush=True)\nfor line in sys.stdin:\n    time.sleep(600)"
DIES = "import os, sys\nprint('ready', flush=True)\nfor line in sys.stdin:\n    os._exit(1)"
KILLED = DIES.replace("os._exit(1)", "os.kill(os.getpid(), 9)")
LIMITED = DIES.replace("import os,", "import os, signal,").replace(
    "os._exit(1)", "os.kill(os.getpid(), signal.SIGPROF)"
)
PICKY = """import json, sys, time
print('ready', flush=True)
for line in sys.stdin:
    gold, answer = json.loads(line)
    if answer == 'hang':
        time.sleep(600)
    if answer == 'die':
        sys.exit(1)
    print(json.dumps(gold == answer), flush=True)
"""


@pytest.mark.parametrize("program", [HANGS, KILLED])
def test_a_child_that_hangs_or_is_killed_twice_is_the_machines_fault(program):
    comparer = Comparer(limit_s=0.3, program=program)
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="twice"):
            comparer.same("x", "x")
    comparer.close()


@pytest.mark.parametrize("program", [DIES, LIMITED])
def test_a_child_that_dies_of_the_formulas_is_no_verdict_and_is_replaced(program):
    comparer = Comparer(program=program)
    assert comparer.same("x", "x") is None and comparer.same("x", "x") is None
    comparer.close()


@pytest.mark.parametrize("fault", ["os.kill(os.getpid(), 9)", "time.sleep(600)", "os._exit(1)"])
def test_a_child_that_fails_once_is_asked_again(fault, tmp_path):
    """The first child fails and leaves a mark, the second answers."""
    mark = str(tmp_path / "mark")
    once = f"    if not os.path.exists({mark!r}):\n        open({mark!r}, 'w').close()\n        {fault}\n"
    program = PICKY.replace("import json", "import os, json").replace("    gold,", f"{once}    gold,")
    comparer = Comparer(limit_s=1.0, program=program)
    assert comparer.same("x", "x") is True
    comparer.close()


def test_want_of_memory_in_the_child_is_no_verdict():
    optional("math_verify")
    program = symbolic._CHILD.format(memory=symbolic.MEMORY_BYTES, cpu=symbolic.CPU_S)
    comparer = Comparer(program=program.replace("found = bool(", "bytearray(1 << 40); found = bool("))
    assert comparer.same("x+1", "1+x") is None
    comparer.close()


def test_a_process_with_many_open_files_compares_formulas():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 1_200:
        pytest.skip("this machine allows fewer than 1,200 open files")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1_200), hard))
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(1_030)]
    comparer = Comparer(program=PICKY)
    try:
        assert comparer.same("x", "x") is True
    finally:
        comparer.close()
        for fd in kept:
            os.close(fd)


def test_a_child_that_cannot_start_is_the_machines_fault():
    with pytest.raises(InfrastructureError):
        Comparer(program="raise SystemExit(1)").same("x", "x")


def test_many_threads_get_their_own_answers_while_some_hang():
    comparer = Comparer(limit_s=0.5, program=PICKY)
    pairs = [("1", "1"), ("1", "2"), ("1", "hang"), ("1", "die"), ("3", "3")] * 2

    def ask(pair):
        try:
            return comparer.same(*pair)
        except InfrastructureError:
            return "machine"

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        found = list(threads.map(ask, pairs))
    comparer.close()
    assert found == [True, False, "machine", None, True] * 2


@pytest.mark.parametrize(
    "hide", ["signal(signal.SIGPROF, signal.SIG_IGN)", "pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])"]
)
def test_the_timers_signal_ends_a_child_whose_parent_does_not_want_it(hide):
    """In a process of its own: libraries may have a profiler in this one, whose signals would end it afterwards."""
    script = f"""
import signal
from mxjax.rewards.symbolic import Comparer
signal.{hide}
assert Comparer(limit_s=5, program={LIMITED!r}).same("x", "x") is None
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)


def test_a_verdict_of_the_limit_is_wrong_and_says_so(monkeypatch):
    optional("math_verify")
    comparer = Comparer(program=LIMITED)
    monkeypatch.setattr(symbolic, "COMPARER", comparer)
    verdict = grade_math(r"\sqrt{7}+19", r"19+\sqrt{7}")
    assert not verdict and verdict.how == "symbolic_limit"
    comparer.close()
    monkeypatch.undo()
    assert grade_math(r"\sqrt{7}+19", r"19+\sqrt{7}")  # a moment without a verdict is forgotten


def test_work_is_bounded_by_processor_time():
    optional("math_verify")
    program = symbolic._CHILD.format(memory=symbolic.MEMORY_BYTES, cpu=0.3)
    endless = program.replace("found = bool(", "sum(range(10**12)); found = bool(")
    comparer, started = Comparer(program=endless), time.monotonic()
    assert comparer.same("x", "x") is None and time.monotonic() - started < symbolic.WALL_S / 2
    comparer.close()
    comparer = Comparer(program=program.replace("found = bool(", "import time; time.sleep(1); found = bool("))
    assert comparer.same("x+1", "1+x") is True
    comparer.close()


def test_the_child_finds_what_its_parent_finds(tmp_path, monkeypatch):
    (tmp_path / "of_the_users.py").write_text("VALUE = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    comparer = Comparer(program=f"import of_the_users\n{PICKY.replace('gold == answer', 'of_the_users.VALUE')}")
    assert comparer.same("x", "x") is True
    comparer.close()


@pytest.mark.parametrize(
    "answer",
    ["9^{9^{9}}", "9^9^9", r"2^{99999}", "5!", "4=5", "1,2", "x or y", r"\text{7}", r"\input{x}", "import os", "9" * 20,
     "(" * 200, r"\sqrt{7}" * 40, "__x__", "(2^3)^(4^5)", "x^10", r"{2^{3}}^{4}^{5}"],
)  # fmt: skip
def test_unfinished_and_oversized_work_never_reaches_the_child(answer):
    assert not comparable(r"\sqrt{7}", answer)


def test_decimals_are_compared_only_with_decimals():
    assert not comparable(r"\sqrt{7}", "2.6457513") and comparable(r"2.5\pi", r"\pi \cdot 2.50")
    assert not comparable(r"2.5\pi", "7.853982") and comparable(".5x", "0.5x") and not comparable("0.5x+1", "x.+1")


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 30), st.integers(2, 30))
def test_roots_agree_with_arithmetic(a, b):
    optional("math_verify")
    assert bool(grade_math(rf"{a}\sqrt{{{b}}}+\pi", rf"\pi+\sqrt{{{a * a * b}}}"))
    assert not grade_math(rf"{a}\sqrt{{{b}}}+\pi", rf"\pi+\sqrt{{{a * a * b + 1}}}")
