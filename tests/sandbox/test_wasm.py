"""Level C: the same hostile programs in WebAssembly, where most attempts have no system call to make."""

import pytest
from support import sandbox
from test_hostile_programs import ENDS, LIMITS, SIBLING, TABLE, left_behind

from mxjax.rewards import grade_code
from mxjax.sandbox import SandboxLimits, SandboxUnavailable

NOT_APPLICABLE = {
    "changes of what is read-only": "chmod does nothing there, and says so to nobody",
    "inherited descriptors": "the runtime's own folders are open, for reading",
}
LOOPS = ("loop", "loop in C", "loop in except and finally", "loop at exit")
FLOODS = ("output flood", "error flood", "both floods", "one endless line")
MUST_END = {**dict.fromkeys(LOOPS, "time"), **dict.fromkeys(FLOODS, "output")}


@pytest.fixture(scope="module")
def box():
    with sandbox("C") as made:
        yield made


@pytest.mark.slow
def test_hostile_programs_reach_nothing_and_change_no_verdict(box):
    assert {*NOT_APPLICABLE, *MUST_END} <= {name for name, _, _ in TABLE}
    pending, siblings = [], []
    for number, (name, wanted, source) in enumerate(TABLE):
        if name in NOT_APPLICABLE:
            continue
        limits = LIMITS if "wall" not in wanted else SandboxLimits(cpu_s=0.5, wall_s=0.7, memory_mb=128)
        pending.append((name, wanted, box.submit(source, b"", limits)))
        if number % 8 == 0:
            siblings.append(box.submit(SIBLING.format(number), b"1\n2\n3\n", SandboxLimits(cpu_s=5, wall_s=60)))
    wrong = []
    for name, wanted, future in pending:
        outcome = future.result()
        breach = b"BREACH" in outcome.stdout or ("silent" in wanted and outcome.stdout)
        if breach or outcome.status not in ENDS or outcome.status != MUST_END.get(name, outcome.status):
            wrong.append((name, outcome.status, outcome.stdout[:200], outcome.stderr[-200:]))
    assert not wrong, "\n".join(map(str, wrong))
    assert [(s.result().status, s.result().stdout) for s in siblings] == [("ok", b"6\n")] * len(siblings)
    assert left_behind() == set()


@pytest.mark.slow
def test_programs_are_graded_and_sessions_refused(box):
    assert box.level == "C"
    tests = [{"input": "2\n", "output": "4\n"}, {"args": [3], "expected": 6}, {"check": "assert double(4) == 8"}]
    program = "def double(x):\n    return 2 * x\nimport sys\nfor line in sys.stdin: print(double(int(line)))"
    assert grade_code(program, tests, box, "double")
    assert not grade_code(program.replace("2 * x", "x"), tests, box, "double")
    with pytest.raises(SandboxUnavailable, match="Level C has no Python sessions"):
        box.session()
