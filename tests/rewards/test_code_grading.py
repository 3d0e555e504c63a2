"""The code grader: three shapes of test, honest programs, cheats, and what stays outside the candidate's process."""

import time

import pytest

from mxjax.mas import Result
from mxjax.rewards import InfrastructureError, extract_program, grade_code, make_reward
from mxjax.rewards.code import canonical, same_output, same_value
from mxjax.rewards.examples import program_tool
from mxjax.rollout import Question
from mxjax.sandbox import Outcome, SandboxLimits

LIMITS = SandboxLimits(cpu_s=1, wall_s=10)
SUMS = [{"input": f"{a}\n{a + 1}\n", "output": f"{2 * a + 1}\n"} for a in range(6)]
CALLS = [{"args": [[3, 1, 2]], "expected": [1, 2, 3]}, {"args": [[]], "expected": []}]
CHECK = {"check": "def check(f):\n    assert f(2) == 4\n    assert f((1, 2)) == (1, 2, 1, 2)\ncheck(double)"}


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("print(int(input()) + int(input()))", "tests"),
        ("import sys\nprint(f'{sum(map(int, sys.stdin))}.0  ')", "tests"),
        ("print(int(input()) + 1)", "wrong_answer"),
        ("print(1 / 0)", "runtime_error"),
        ("while True: pass", "time"),
        ("print('7' * 10 ** 8)", "output"),
        ("x = bytearray(10 ** 10)", "memory"),
        ("print(", "compile"),
        ("import os; os._exit(0)", "wrong_answer"),
        ("print('1')\nraise SystemExit(1)", "runtime_error"),
    ],
)
def test_standard_input_to_standard_output(box, program, how):
    verdict = grade_code(program, SUMS[:2], box, limits=LIMITS)
    assert verdict.how == how and bool(verdict) is (how == "tests") and verdict.total == 2


@pytest.mark.parametrize(
    ("program", "correct"),
    [
        ("def f(x): return sorted(x)", True),
        ("def f(x): return tuple(sorted(x))", True),
        ("class Solution:\n    def f(self, x): return sorted(x)", True),
        ("import numpy\ndef f(x): return numpy.sort(numpy.array(x, dtype=int))", True),
        ("def f(x): print('noise'); return sorted(x)", True),
        ("def f(x): return x", False),
        ("def f(x): return None", False),
        ("def g(x): return sorted(x)", False),
        ("class E(list):\n    def __eq__(self, o): return True\ndef f(x): return E()", False),
        ("class E:\n    def __eq__(self, o): return True\ndef f(x): return E()", False),
        ("import os\ndef f(x): os._exit(0)", False),
        ('def f(x):\n    import os\n    os.write(3, b\'{"dict": [["value", true]]}\\n\')\n    return sorted(x)', False),
        ("def f(x):\n    import os\n    os.write(3, b'\\xff' * 10 + b'\\n')", False),
        ("def f(x):\n    while True: pass", False),
    ],
)
def test_calls_of_a_function(box, program, correct):
    assert bool(grade_code(program, CALLS, box, entry_point="f", limits=LIMITS)) is correct


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def f(x): return {10 ** 5000: 1}", {"args": [1], "expected": {"1": 1}}),
        ("def f(x): return 10 ** 400", {"args": [1], "expected": 1.5, "tolerance": 1e-6}),
        (
            "def f(x):\n    d = 1\n    for _ in range(400): d = [d]\n    return d",
            {"args": [1], "expected": eval("[" * 90 + "2" + "]" * 90)},
        ),
    ],
)
def test_numbers_that_cannot_be_written_or_converted_are_wrong_answers(box, program, test):
    assert grade_code(program, [test], box, "f", limits=LIMITS).how in ("wrong_answer", "runtime_error")


def test_a_vote_takes_no_harm_from_what_a_program_returns(box):
    tool = program_tool(box, LIMITS)
    run = lambda value: tool.func(f"def f(): return {value}", args=[], entry_point="f")
    assert run("{10 ** 5000: {2, 1.0}}") == run("{10 ** 5000: {1, 2}}") != run("{10 ** 5000: {1, 3}}")
    assert run("10 ** 400 + 0.5").error and not run("'\\ud800' * 3000").error


def test_items_that_all_hash_alike_cost_the_trainer_no_more_than_others(box):
    """The reply is the same bytes with another factor; n items of one hash take n * n / 2 comparisons in a set."""
    source = (
        "def f(x):\n    import os\n"
        "    items = b','.join(str(i * {factor}).encode() for i in range(30000))\n"
        '    line = b\'{{"dict": [["value", {{"{kind}": [\' + items + b\']}}]]}}\\n\'\n'
        "    while line: line = line[os.write(3, line):]\n"
    )
    for kind in ("set", "frozenset"):
        started = time.process_time()
        program = source.format(factor=2**61 - 1, kind=kind)
        assert grade_code(program, [{"args": [1], "expected": [1]}], box, "f", limits=LIMITS).how == "wrong_answer"
        assert grade_code(program, [{"args": [1], "expected": {1, 2}}], box, "f", limits=LIMITS).how == "wrong_answer"
        assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("value", "same", "different"),
    [
        ("{1, 2, 3}", {3, 2, 1}, {1, 2}),
        ("{1.0, 2}", {1, 2}, {1.5, 2}),
        ("frozenset(['a', 'b'])", frozenset("ab"), ["a", "b"]),
        ("{(1, 2), (3, 4)}", {(3, 4), (1, 2)}, {(1, 2), (4, 3)}),
        ("{'a': {1, 2}}", {"a": {2, 1}}, {"a": [1, 2]}),
        ("{1: 'x', (2, 3): 'y'}", {1: "x", (2, 3): "y"}, {1: "y", (2, 3): "x"}),
        ("{1: [2]}", {"1": [2]}, {"1": [2], "3": 4}),
        ("{}", {}, set()),
        ("set()", set(), {}),
        ("(1, {2})", [1, {2}], [1, {3}]),
        ("10 ** 4100", 10**4100, 10**4100 + 1),
    ],
)
def test_honest_sets_and_dicts_agree_with_themselves_alone(box, value, same, different):
    program = f"def f(): return {value}"
    assert grade_code(program, [{"args": [], "expected": same}], box, "f")
    assert not grade_code(program, [{"args": [], "expected": different}], box, "f")


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("def double(x): return x * 2", "tests"),
        ("def double(x): return x + x", "tests"),
        ("def double(x): return x", "wrong_answer"),
        ("def double(x): raise ValueError", "runtime_error"),
        ("def other(x): return x * 2", "runtime_error"),
        ("def double(x):\n    while True: pass", "time"),
        ("def double(x", "compile"),
        ("import os; os._exit(0)", "runtime_error"),
        ("raise SystemExit", "runtime_error"),
        ("def double(x): raise SystemExit", "runtime_error"),
        ("class E:\n    __eq__ = lambda a, b: True\ndef double(x): return E()", "wrong_answer"),
        ("def double(x): return E()\nclass E(int):\n    __eq__ = lambda a, b: True", "wrong_answer"),
        ("import builtins\nbuiltins.AssertionError = Exception\ndef double(x): return 0", "wrong_answer"),
        ("import sys\nsys.modules['__main__'] = None\ndef double(x): return 0", "wrong_answer"),
        ("import gc, sys\ndef check(f): pass\ndef double(x): return sys._getframe(1)", "wrong_answer"),
    ],
)
def test_checks_run_apart_from_the_candidate(box, program, how):
    verdict = grade_code(program, [CHECK], box, limits=LIMITS)
    assert verdict.how == how and bool(verdict) is (how == "tests")


def test_values_that_are_not_plain_stay_with_the_candidate(box):
    program = "class P:\n    def __init__(s, x): s.x = x\ndef best(ps): return max(p.x for p in ps)\n"
    test = {"check": "assert best([P(1), P(5)]) == 5\nassert list(reversed(range(2))) == [1, 0]"}
    assert grade_code(program, [test], box).how == "tests"
    iterator = {"check": "assert list(pairs([1, 2])) == [(0, 1), (1, 2)]"}
    assert grade_code("def pairs(x): return enumerate(x)", [iterator], box).how == "tests"


@pytest.mark.parametrize(
    ("program", "check"),
    [
        ("def apply(f, x): return f(x)", "assert apply(lambda x: x + 1, 2) == 3"),
        ("def apply(f, x): return f(x)", "assert apply(len, [1, 2]) == 2"),
        ("def without(xs, kind): return [x for x in xs if not isinstance(x, kind)]",
         "assert without([1, 'a', 2.5], int) == ['a', 2.5]"),
        ("def twice(f): return lambda x: f(f(x))", "assert twice(lambda x: x + 3)(1) == 7"),
        ("def sort(xs, key): return sorted(xs, key=key)",
         "seen = []\nassert sort([3, 1], lambda x: seen.append(x) or -x) == [3, 1] and seen == [3, 1]"),
        ("def safe(f):\n    try: return f()\n    except ZeroDivisionError: return 'zero'",
         "assert safe(lambda: 1 / 0) == 'zero'"),
        ("class Node:\n    def __init__(self, v): self.v, self.next = v, None\n"
         "def count(n): return 0 if n is None else 1 + count(n.next)",
         "root = Node(1)\nroot.next = Node(2)\nassert count(root) == 2 and root.next.v == 2 and not root.next.next"),
        ("import concurrent.futures as c\n"
         "def both(f, xs):\n    with c.ThreadPoolExecutor(2) as e: return list(e.map(f, xs))",
         "assert both(lambda x: x * 2, [1, 2, 3]) == [2, 4, 6]"),
        ("LIMIT = 0", "assert not LIMIT"),
    ],
)  # fmt: skip
def test_functions_and_types_of_a_check_reach_the_candidate_apart(box, program, check):
    verdict = grade_code(program, [{"check": check}], box)
    assert verdict and verdict.how == "tests"


def test_a_check_with_objects_of_its_own_counts_only_where_that_is_said(box):
    test = {"check": "class P: n = 1\nassert get(P()) == 1"}
    passes = lambda program: bool(grade_code(program, [test], box, in_process=True))
    strict = grade_code("def get(p): return p.n", [test], box)
    assert (bool(strict), strict.how) == (False, "in_process")
    assert grade_code("def get(p): return p.n", [test], box, in_process=True).how == "in_process"
    assert passes("from __future__ import annotations\ndef get(p: int): return p.n")
    assert not passes("def get(p): return 2")
    assert not passes("import os\ndef get(p): os._exit(0)")
    assert not passes("import os\nos._exit(0)")
    assert not passes("raise SystemExit(0)")


LEAK = """
import gc, os, sys
def every(n=0):
    texts = [str(sys.argv), str(dict(os.environ))]
    frame = sys._getframe()
    while frame:
        texts += [str(frame.f_locals)[:20000], str(frame.f_code.co_consts)]
        frame = frame.f_back
    texts += [str(x)[:5000] for x in gc.get_objects() if type(x) in (dict, list, tuple)]
    texts += [str(vars(m))[:5000] for m in list(sys.modules.values())]
    return "".join(texts)
def get(p):
    {}
"""


def test_nothing_that_a_program_can_read_says_that_it_has_passed(box):
    """Whatever the process holds is printed and written to both outputs; no text makes the check pass."""
    test = {"check": "class P: n = 1\nassert get(P()) == 1"}
    for action in ("print(every()); raise SystemExit(0)", "print(every()); os._exit(0)", "print(every()); return 0"):
        limits = SandboxLimits(output_bytes=1 << 26, cpu_s=5)
        assert not grade_code(LEAK.format(action), [test], box, in_process=True, limits=limits)


@pytest.mark.parametrize(
    "raised",
    ["StopIteration", "StopIteration(4)", "StopAsyncIteration", "GeneratorExit", "SystemExit(0)", "BaseException",
     "type('E', (StopIteration,), {})", "type('StopIteration', (Exception,), {})"],
)  # fmt: skip
def test_what_a_candidate_raises_ends_no_loop_of_a_check(box, raised):
    checks = (
        "for got, want in zip(map(f, [1, 2]), [2, 4]):\n    assert got == want",
        "assert all(map(f, [1, 2])) and next(map(f, [1]), 7) == 7",
    )
    verdict = grade_code(f"def f(x): raise {raised}", [{"check": check} for check in checks], box, all_pass=False)
    assert verdict.statuses == ("runtime_error",) * 2


def test_a_check_may_ask_for_an_exception(box):
    check = "for kind in (ValueError, IndexError, KeyError):\n    try:\n        f(kind.__name__)\n"
    check += "        raise SystemExit(1)\n    except kind:\n        pass"
    program = "def f(name): raise {'ValueError': ValueError, 'IndexError': IndexError, 'KeyError': KeyError}[name]('x')"
    assert grade_code(program, [{"check": check}], box)
    assert not grade_code("def f(name): return 0", [{"check": check}], box)
    unicode = {"check": "try:\n    f()\nexcept RuntimeError as e:\n    assert 'UnicodeDecodeError' in str(e)"}
    assert grade_code("def f(): return b'\\xff'.decode()", [unicode], box)


@pytest.mark.parametrize(
    "program",
    ["def f(x): return exit", "def f(x): return SystemExit", "def f(x): return lambda: exit(0)",
     "import os\nos.write(3, b'{\"dict\": [[\"end\", null]]}\\n')\ndef f(x): return 0",
     "import os\nos.write(3, b'{\"dict\": [[\"value\", {\"handle\": \"exit\"}]]}\\n' * 3)\ndef f(x): return 0",
     "import os\nos.write(3, b'{\"dict\": [[\"ask\", {\"list\": [\"call\", {\"handle\": \"exit\"}, {\"list\": []}, "
     "{\"dict\": []}]}]]}\\n')\ndef f(x): return 0"],
)  # fmt: skip
def test_a_candidate_cannot_end_a_check(box, program):
    test = {"check": "f(1)()\nassert False"}
    assert grade_code(program, [test], box, limits=LIMITS).how in ("runtime_error", "wrong_answer")


def test_a_candidate_that_hangs_up_before_it_is_asked_has_failed(box):
    test = {"args": ["a" * 3_000_000], "expected": 0}
    program = "import os, time\nos.close(3)\ntime.sleep(60)\ndef f(x): return 0"
    assert grade_code(program, [test], box, "f", limits=SandboxLimits(cpu_s=1, wall_s=1)).how == "time"


@pytest.mark.parametrize("asks", ['"get", f, "__name__"', '"set", f, "x", 1', '"global", f', '"call", print, [], {}'])
def test_a_candidate_can_only_call_what_it_was_given(box, asks):
    test = {"check": "assert apply(lambda: 'called') in ('<lambda>', None)"}
    program = f"def apply(f): return f._peer.ask({asks})"
    assert grade_code(program, [test], box, limits=LIMITS).how == "runtime_error"


@pytest.mark.parametrize(
    ("program", "tests", "entry_point"),
    [
        ("print(5)\nexit()", [{"input": "", "output": "5"}], None),
        ("def main():\n    print(5)\n    quit(0)\nmain()", [{"input": "", "output": "5"}], None),
        ("print(bool(copyright), bool(credits), bool(license), bool(help))",
         [{"input": "", "output": "True True True True"}], None),
        ("class Solution:\n    def two(self, nums: List[int]) -> Optional[int]:\n        return Counter(nums)[2]",
         [{"args": [[2, 2, 1]], "expected": 2}, {"check": "assert two([2]) == 1"},
          {"check": "def check(f):\n    assert f(nums=[2, 2]) == 2\ncheck(Solution().two)"}], "two"),
        ("class Solution:\n    def search(self, x): return pow(x, 2, 5) + gcd(x, 4) + (x == inf)",
         [{"args": [2], "expected": 6}], "search"),
        ("def f(x): return heappop(x)", [{"args": [[1, 2]], "expected": 1}], "f"),
        ("class Solution:\n    def deep(self, n): return 0 if n == 0 else 1 + self.deep(n - 1)",
         [{"args": [5000], "expected": 5000}], "deep"),
        ("class Solution:\n"
         "    def s(self, xs): return list(SortedList(xs)) + [TreeNode(4).val, ListNode(5).val]",
         [{"args": [[3, 1]], "expected": [1, 3, 4, 5]}], "s"),
        ("from __future__ import annotations\nclass Solution:\n    def f(self, x: Missing): return x + y",
         [{"args": [1], "expected": 3, "setup": "y = 2"}, {"check": "assert f(1) == 3", "setup": "y = 2"}], "f"),
        ("from __future__ import annotations\nprint(y)", [{"input": "", "output": "2", "setup": "y = 2"}], None),
        ("def f(x): return [x]", [{"args": [1], "expected": [1], "wrapped": True}], "f"),
        ("def f(x): return x", [{"args": [1], "expected": [1], "wrapped": True}], "f"),
        ("import asyncio\n"
         "async def f():\n    await asyncio.sleep(0.01)\n    return await asyncio.to_thread(sum, [2, 3])\n"
         "print(asyncio.run(f()))", [{"input": "", "output": "5"}], None),
    ],
)  # fmt: skip
def test_programs_run_as_benchmarks_run_them(box, program, tests, entry_point):
    assert grade_code(program, tests, box, entry_point).how == "tests"


def test_temporary_files(box):
    if box.run("import os\nprint(os.getcwd())").stdout == b"/\n":
        pytest.skip("level B has no scratch directory without the right to mount")
    program = (
        "import tempfile, os\nwith tempfile.TemporaryFile() as f:\n    f.write(b'5')\n    f.seek(0)\n"
        "    print(f.read().decode())\nwith tempfile.NamedTemporaryFile('w+') as f: print(os.path.exists(f.name))\n"
        "with tempfile.TemporaryDirectory() as d: print(os.listdir(d))\nopen('here', 'w').write('x')\n"
        "print(open('here').read())"
    )
    assert grade_code(program, [{"input": "", "output": "5\nTrue\n[]\nx"}], box)


@pytest.mark.parametrize(
    ("program", "test", "entry_point"),
    [
        ("print(gcd(4, 6))", {"input": "", "output": "2"}, None),
        ("def f(x): return Counter(x)[1]", {"check": "assert f([1]) == 1"}, None),
        ("def f(x): return x", {"args": [1], "expected": [1]}, "f"),
        ("def f(x): return x", {"args": [1], "expected": [1, 1], "wrapped": True}, "f"),
        ("def f(x): return [[x]]", {"args": [1], "expected": [1], "wrapped": True}, "f"),
        ("class Solution:\n    def g(self, x): return x", {"args": [1, 2], "expected": 1}, "gcd"),
    ],
)
def test_nothing_else_is_given_to_a_program(box, program, test, entry_point):
    assert not grade_code(program, [test], box, entry_point)


def test_a_function_may_have_a_builtin_s_name(box):
    test = {"check": "assert sum(10, 15) == 25", "functions": ["sum"]}
    assert grade_code("def sum(a, b): return a + b", [test], box)


def test_helpers_of_the_check_cannot_be_replaced_by_the_candidate(box):
    test = {"prelude": "def poly(xs, x): return sum(c * x ** i for i, c in enumerate(xs))",
            "check": "assert abs(poly([1, 2], root([1, 2]))) < 1e-6"}  # fmt: skip
    assert grade_code("def root(xs): return -xs[0] / xs[1]", [test], box)
    assert not grade_code("def poly(xs, x): return 0\ndef root(xs): return 0", [test], box)


def test_setup_stands_before_the_program(box):
    test = {"check": "assert f([1]) == 1", "setup": "from typing import *"}
    assert grade_code("def f(x: List[int]): return x[0]", [test], box)


def test_all_tests_or_the_first_failure(box):
    program = "a = int(input())\nprint(2 * a + 1 if a < 3 else 0)"
    assert grade_code(program, SUMS, box).statuses == ("passed",) * 3 + ("wrong_answer",)
    share = grade_code(program, SUMS, box, all_pass=False)
    assert (share.correct, share.passed, share.total, len(share.statuses)) == (False, 3, 6, 6)


def test_a_subset_of_tests_is_drawn_by_seed(box):
    verdicts = [grade_code("print(1)", SUMS, box, all_pass=False, subset=2, seed=seed).statuses for seed in (0, 0, 1)]
    assert verdicts[0] == verdicts[1] and all(len(statuses) == 2 for statuses in verdicts)
    drawn = {grade_code("print(1)", SUMS, box, all_pass=False, subset=1, seed=seed).statuses for seed in range(12)}
    assert drawn == {("passed",), ("wrong_answer",)}


def test_no_tests_and_unknown_tests_are_errors(box):
    with pytest.raises(ValueError, match="without tests"):
        grade_code("print(1)", [], box)
    with pytest.raises(ValueError, match="this one has stdin"):
        grade_code("print(1)", [{"stdin": "1"}], box)
    with pytest.raises(ValueError, match="pass entry_point"):
        grade_code("print(1)", CALLS, box)


def test_a_lost_machine_is_no_verdict(box, monkeypatch):
    monkeypatch.setattr(box, "run", lambda *arguments: Outcome("infrastructure", stderr=b"gone"))
    with pytest.raises(InfrastructureError, match="gone"):
        grade_code("print(1)", SUMS, box)


@pytest.mark.parametrize(
    ("expected", "given", "same"),
    [
        ("1 2\n3\n", "1 2  \n3", True),
        ("1 2\n3\n", "1  2\n3\n\n\n", True),
        ("1\n", "\n1\n", False),
        ("1 2 3", "1\n2\n3", False),
        ("0.5", "0.50", True),
        ("0.5", ".5", True),
        ("0.5", "0.5000001", False),
        ("3", "3.0", True),
        ("007", "7", True),
        ("yes", "YES", False),
        ("", "\n", True),
        ("", "x", False),
        ("nan", "nan", True),
        ("1e3", "1000", True),
        ("1", "1e999999999", False),
        ("a\r\nb", "a\nb", True),
        ("12345678901234567890123", "12345678901234567890124", False),
    ],
)
def test_outputs_are_compared_exactly(expected, given, same):
    assert same_output(expected, given) is same


def test_a_tolerance_counts_only_where_the_problem_declares_it():
    assert same_output("0.333333", "0.3333334", tolerance=1e-5) and not same_output("0.3333", "0.34", tolerance=1e-5)
    assert same_value(0.1, 0.1000001, 1e-5) and not same_value(0.1, 0.1000001)
    assert not same_value(1, True) and not same_value(True, 1) and same_value({"a": [1]}, {"a": (1.0,)})


def test_values_that_agree_have_one_text_and_others_have_another():
    groups = [[0, 0.0, -0.0], [1, 1.0], [2**70, 2.0**70], [0.1], [True], [1e308], [{1, 2.0}, frozenset([2, 1.0])],
              [{"1": 2}, {1: 2.0}], [[], ()], [set()], [{}], ["{}"], [float("inf")], [-3, -3.0], [10**5000],
              [{"a: 1, 'b'": 1}], [{"a": 1, "b": 1}], [b"a"], ["a"], [None]]  # fmt: skip
    texts = [{canonical(value) for value in group} for group in groups]
    assert all(len(found) == 1 for found in texts) and len(set.union(*texts)) == len(groups)


@pytest.mark.parametrize(
    ("message", "program"),
    [
        ("<solution>\nx = 1\n</solution>", "x = 1"),
        ("<solution>\n```python\nx = 1\n```\n</solution>", "x = 1\n"),
        ("<solution>a</solution> then <solution>\nb = 2\n</solution>", "b = 2"),
        ("First\n```python\na\n```\nthen\n```python\nb\n```", "b\n"),
        ("x = 1\nprint(x)", "x = 1\nprint(x)"),
        ("I cannot do this.", None),
        ("<solution></solution>", None),
        ("", None),
    ],
)
def test_one_program_is_taken_from_a_message(message, program):
    assert extract_program(message) == program


def test_the_reward_of_a_code_question(box):
    question = Question("q", "Double it.", "code", tests=[{"input": "2", "output": "4"}, {"input": "3", "output": "6"}])
    solved = "<delivery>twice</delivery>\n<solution>\nprint(2 * int(input()))\n</solution>"
    half = solved.replace("2 * int(input())", "4")
    result = lambda text: Result("ok", text, "", 1, 0, "solver#1", text)
    assert make_reward(sandbox=box)(question, result(solved)).total() == 1.4
    assert make_reward(sandbox=box)(question, result(half)).correct == 0
    assert make_reward(sandbox=box, all_pass=False)(question, result(half)).correct == 0.5
    assert make_reward(sandbox=box)(question, result("no")).how == "no_program"
    with pytest.raises(ValueError, match="needs a sandbox"):
        make_reward()(question, result(solved))
