"""The process that compares formulas: it can be killed, hang, die or be asked by many threads."""

import concurrent.futures
import os
import resource
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.rewards import InfrastructureError, algebra, grade_math, latex, symbolic
from mxjax.rewards.symbolic import Comparer, comparable

HANGS = "import sys, time\nprint('ready', flush=True)\nfor line in sys.stdin:\n    time.sleep(600)"
DIES = "import os, sys\nprint('ready', flush=True)\nfor line in sys.stdin:\n    os._exit(1)"
KILLED = DIES.replace("os._exit(1)", "os.kill(os.getpid(), 9)")
LIMITED = DIES.replace("import os,", "import os, signal,").replace(
    "os._exit(1)", "os.kill(os.getpid(), signal.SIGPROF)"
)
WORKING = f"""import runpy
names = runpy.run_path({str(Path(algebra.__file__))!r})
asked = []
def work(gold, answer):
    asked.append(gold)
    if len(asked) > 1:  # the first question is main's own, before it says that it is ready
        {{work}}
    return True
names["main"].__globals__["equal"] = work
names["main"]({{cpu}}, {symbolic.MEMORY_BYTES})
"""
PICKY = """import json, sys, time
print('ready', flush=True)
for line in sys.stdin:
    kind, gold, answer = json.loads(line)
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
            comparer.ask("formula", "x", "x")
    comparer.close()


@pytest.mark.parametrize("program", [DIES, LIMITED])
def test_a_child_that_dies_of_the_formulas_is_no_verdict_and_is_replaced(program):
    comparer = Comparer(program=program)
    assert comparer.ask("formula", "x", "x") is None and comparer.ask("formula", "x", "x") is None
    comparer.close()


@pytest.mark.parametrize("fault", ["os.kill(os.getpid(), 9)", "time.sleep(600)", "os._exit(1)"])
def test_a_child_that_fails_once_is_asked_again(fault, tmp_path):
    """The first child fails and leaves a mark, the second answers."""
    mark = str(tmp_path / "mark")
    once = f"    if not os.path.exists({mark!r}):\n        open({mark!r}, 'w').close()\n        {fault}\n"
    program = PICKY.replace("import json", "import os, json").replace("    kind,", f"{once}    kind,")
    comparer = Comparer(limit_s=1.0, program=program)
    assert comparer.ask("formula", "x", "x") is True
    comparer.close()


def test_want_of_memory_in_the_child_is_no_verdict():
    comparer = Comparer(program=WORKING.format(work="bytearray(1 << 40)", cpu=symbolic.CPU_S))
    assert comparer.ask("formula", "x+1", "1+x") is None
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
        assert comparer.ask("formula", "x", "x") is True
    finally:
        comparer.close()
        for fd in kept:
            os.close(fd)


def test_an_interrupted_comparison_answers_nobody_else(monkeypatch):
    def interrupt(limit_s):
        raise KeyboardInterrupt

    comparer = Comparer(program=PICKY)
    assert comparer.ask("formula", "x", "x") is True
    with monkeypatch.context() as patched:
        patched.setattr(comparer, "_line", interrupt)
        with pytest.raises(KeyboardInterrupt):
            comparer.ask("formula", "x", "y")
    assert comparer.ask("formula", "x", "x") is True
    comparer.close()


def test_a_child_that_cannot_start_is_the_machines_fault():
    with pytest.raises(InfrastructureError):
        Comparer(program="raise SystemExit(1)").ask("formula", "x", "x")


def test_many_threads_get_their_own_answers_while_some_hang():
    comparer = Comparer(limit_s=0.5, program=PICKY)
    pairs = [("1", "1"), ("1", "2"), ("1", "hang"), ("1", "die"), ("3", "3")] * 2

    def ask(pair):
        try:
            return comparer.ask("formula", *pair)
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
assert Comparer(limit_s=5, program={LIMITED!r}).ask("formula", "x", "x") is None
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)


def test_a_verdict_of_the_limit_is_wrong_and_says_so(monkeypatch):
    comparer = Comparer(program=LIMITED)
    monkeypatch.setattr(symbolic, "COMPARER", comparer)
    verdict = grade_math(r"\sqrt{7}+19", r"19+\sqrt{7}")
    assert not verdict and verdict.how == "undecided"
    comparer.close()
    monkeypatch.undo()
    assert grade_math(r"\sqrt{7}+19", r"19+\sqrt{7}")  # a moment without a verdict is forgotten


def test_an_answer_with_many_undecided_parts_costs_two_limits(monkeypatch):
    asked = []
    monkeypatch.setattr(symbolic.COMPARER, "ask", lambda *question: asked.append(question))
    parts = ",".join(rf"\sqrt{{{n}}}" for n in range(2, 40))
    assert grade_math(rf"\{{{parts}\}}", rf"\{{{parts.replace('sqrt', 'ln')}\}}").how == "undecided"
    assert len(asked) == symbolic.MAX_UNDECIDED


def test_work_is_bounded_by_processor_time():
    comparer, started = Comparer(program=WORKING.format(work="sum(range(10**12))", cpu=0.3)), time.monotonic()
    assert comparer.ask("formula", "x", "x") is None and time.monotonic() - started < symbolic.WALL_S / 2
    comparer.close()
    comparer = Comparer(program=WORKING.format(work="__import__('time').sleep(1)", cpu=0.3))
    assert comparer.ask("formula", "x+1", "1+x") is True
    comparer.close()


def test_the_child_finds_what_its_parent_finds(tmp_path, monkeypatch):
    (tmp_path / "of_the_users.py").write_text("VALUE = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    comparer = Comparer(program=f"import of_the_users\n{PICKY.replace('gold == answer', 'of_the_users.VALUE')}")
    assert comparer.ask("formula", "x", "x") is True
    comparer.close()


@pytest.mark.parametrize(
    "answer",
    ["9^{9^{9}}", "9^9^9", "2^{99999}", r"\frac{1}{2^{99999}}", "4=5", "1,2", "x or y", r"\text{7}", r"\input{x}",
     "import os", "(" * 200, r"\sqrt{7}" * 40, "__x__", "(2^{3})^{(4^{50})}", "x^10", r"{2^{3}}^{4}^{5}", "999999!",
     "(30!)!", "4210_{5}", "((9^{999})^{999})^{999}", "x^{10^{10}}", "(a+b)^{99999}", "Evelyn", "abs and x",
     r"\binom{9^{99}}{2}!", r"\frac{1}{2}}", "{", ""],
)  # fmt: skip
def test_unfinished_and_oversized_work_never_reaches_the_child(answer):
    assert not comparable(latex.explicit(answer))


@pytest.mark.parametrize(
    "answer",
    ["2^{-99}", r"\frac{35}{36^{20}}", "x^{10}", "12!", "2^{2^{10}}", "e^{x^{2}}", r"\log_{2} 10", "a_{1}+a_{2}"],
)
def test_powers_of_an_honest_size_reach_the_child(answer):
    assert comparable(answer)


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        (r"\sqrt[3]{-8}", "-2", True),
        ("0.1+0.2", "0.3", True),
        (r"\pi+10^{-2500}", r"\pi", False),
        (r"\frac{1}{0}", r"\frac{2}{0}", False),
        (r"\ln x^{2}", r"2\ln x", True),
        ("|x|", "x", False),
        ("e^{i\\pi}", "-1", True),
        ("n!", "n (n-1)!", True),
        (r"\sqrt{2}+\sqrt{3}+\sqrt{5}", r"\sqrt{10+2\sqrt{6}+2\sqrt{10}+2\sqrt{15}}", True),
        ("\\infty", "-\\infty", False),
        ("xX", "x^{2}", False),
        ("(", "(", False),
    ],
)
def test_equality_is_exact(gold, answer, same):
    assert algebra.equal(gold, answer) is same


def test_what_is_neither_proved_nor_refuted_is_undecided(monkeypatch):
    monkeypatch.setattr(algebra, "_proved", lambda difference: False)
    assert algebra.equal(r"\sin^{2} x", r"1-\cos^{2} x") is None
    assert algebra.equal(r"\sqrt{5+2\sqrt{6}}", r"\sqrt{2}+\sqrt{3}") is None


def rewritten(draw, value: Fraction) -> str:
    """LaTeX of exactly `value`, in one of many forms."""
    if draw(st.integers(0, 2)) == 0:
        other = Fraction(draw(st.integers(-9, 9)), draw(st.integers(1, 9)))
        rest = value - other
        return rf"\frac{{{other.numerator}}}{{{other.denominator}}}+\frac{{{rest.numerator}}}{{{rest.denominator}}}"
    factor = draw(st.integers(2, 12))
    return rf"\frac{{{value.numerator * factor}}}{{{value.denominator * factor}}}"


@st.composite
def sums_of_roots(draw):
    """(gold, the same value written otherwise, a value that differs by a tiny amount)."""
    terms, gold, answer = [], [], []
    for root in draw(st.lists(st.sampled_from([2, 3, 5, 7, 11]), min_size=1, max_size=3, unique=True)):
        terms.append((Fraction(draw(st.integers(1, 60)), draw(st.integers(1, 30))), root))
    for coefficient, root in terms:
        square = draw(st.integers(1, 6))
        gold.append(rf"\frac{{{coefficient.numerator}}}{{{coefficient.denominator}}}\sqrt{{{root}}}")
        answer.append(rf"({rewritten(draw, coefficient / square)})\sqrt{{{root * square * square}}}")
    tiny = draw(st.integers(15, 200))
    order = draw(st.permutations(answer))
    return "+".join(gold), "+".join(order), "+".join([*order, rf"10^{{-{tiny}}}"])


@settings(deadline=None, max_examples=40)
@given(sums_of_roots())
def test_sums_of_roots_are_equal_exactly(sums):
    gold, same, other = sums
    assert algebra.equal(gold, same) is True and algebra.equal(gold, other) is False


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(2, 120), st.integers(1, 60), st.integers(-2, 2))
def test_powers_agree_with_fractions(base, exponent, factor, off):
    value = Fraction(factor, base**exponent)
    given = value + Fraction(off, base ** (2 * exponent))
    written = rf"\frac{{{given.numerator}}}{{{given.denominator}}}"
    assert algebra.equal(rf"{factor} \cdot {base}^{{-{exponent}}}", written) is (off == 0)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-6, 6), min_size=2, max_size=4), st.integers(-3, 3), st.integers(0, 40))
def test_products_are_their_expansions(roots, lead, tiny):
    """NumPy multiplies the factors out."""
    lead = lead or 1
    coefficients = [lead * int(c) for c in np.poly(roots).round().astype(int)]
    degree = len(roots)
    expanded = "+".join(f"({c})x^{{{degree - k}}}" for k, c in enumerate(coefficients))
    product = f"({lead})" + "".join(f"(x-({root}))" for root in roots)
    assert algebra.equal(product, expanded) is True
    assert algebra.equal(product, f"{expanded}+10^{{-{tiny}}}") is False


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 30), st.integers(2, 30))
def test_roots_agree_with_arithmetic(a, b):
    assert bool(grade_math(rf"{a}\sqrt{{{b}}}+\pi", rf"\pi+\sqrt{{{a * a * b}}}"))
    assert not grade_math(rf"{a}\sqrt{{{b}}}+\pi", rf"\pi+\sqrt{{{a * a * b + 1}}}")
