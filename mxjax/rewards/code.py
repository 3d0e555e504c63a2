"""Grading of programs by tests that stay outside their sandbox.

Three shapes of test, told apart by their keys:

| test | how it is run |
|---|---|
| `{"input": str, "output": str}` | a process that reads standard input; output compared line by line |
| `{"args": [...], "expected": ...}` | our driver calls `entry_point` in a process; its JSON is compared here |
| `{"check": source}` | the test program runs in one job and calls the candidate in another, as plain values |

The candidate never shares a process with an expected output. The exception is a check that passes an object of a class
of its own, which cannot leave its process: it runs together with the candidate, which can then do to it what it likes,
so that it counts only with `in_process=True`, and the verdict says `how="in_process"`.

A test may have a "setup", source that is run before the program in its namespace; a "tolerance" for decimal numbers;
"wrapped": True, which also takes the one item of `expected` for right; and a check a "prelude", source that stands
before it, and "functions", names of the candidate that the check could mistake for builtins. `"public": True` marks a
test that the question's text shows: votes compare programs on it (`rewards.program_tool`).

Programs that are called, and programs with a class `Solution`, find the usual imports (`sandbox/inside/usual.py`).
"""

from __future__ import annotations

import decimal
import math
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mxjax.rewards import scripted
from mxjax.rewards.verdict import InfrastructureError, Verdict
from mxjax.sandbox import Outcome, Sandbox, SandboxLimits
from mxjax.sandbox.inside import wire
from mxjax.sandbox.jobs import Job
from mxjax.sandbox.zygotes import Zygote

PASSED, WRONG = "passed", "wrong_answer"
CALLED = "called"
IN_PROCESS = "in_process"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_GOES_ON = ("ask", "value", "error")  # messages that the other side is to have
_LEETCODE = re.compile(r"^class[ \t]+Solution\b", re.MULTILINE)
Test = Mapping[str, Any]


def grade_code(
    program: str,
    tests: Sequence[Test] | None,
    sandbox: Sandbox,
    entry_point: str | None = None,
    all_pass: bool = True,
    limits: SandboxLimits | None = None,
    subset: int | None = None,
    seed: int = 0,
    in_process: bool = False,
) -> Verdict:
    """Run `program` on tests; correct iff it passes all that are run.

    Args:
        program: the candidate's source.
        tests: see the module's docstring; the shapes may be mixed.
        sandbox: where to run it.
        entry_point: the function, or method of a class `Solution`, that "args" tests call.
        all_pass: stop at the first test that fails; False: run all, for the share that passes.
        limits: of each test.
        subset: run only so many tests, drawn by `seed`, the same ones for every program.
        in_process: count checks that only run beside the program, which can forge their outcome.

    Returns:
        `how` is "tests", "in_process" if any check had to run beside the program, or, not correct, the status of the
        first test that failed, "in_process" for a check that is not counted; `statuses` has one for each test that was
        run.

    Raises:
        ValueError: no tests, or a test of no known shape.
        InfrastructureError: the machine failed twice.
    """
    if not tests:
        raise ValueError("A code question without tests cannot be graded: fix the data set's row.")
    chosen = list(tests)
    if subset is not None and subset < len(chosen):
        picked = sorted(random.Random(seed).sample(range(len(chosen)), max(1, subset)))
        chosen = [chosen[index] for index in picked]
    statuses: list[str] = []
    together = False
    for test in chosen:
        status, how = _run_test(program, test, sandbox, entry_point, limits or SandboxLimits(), in_process=in_process)
        statuses.append(status)
        together = together or how == IN_PROCESS
        if status != PASSED and all_pass:
            break
    passed = statuses.count(PASSED)
    failed = next((status for status in statuses if status != PASSED), None)
    how = failed or (IN_PROCESS if together else "tests")
    return Verdict(failed is None, how, passed, len(chosen), tuple(statuses))


def _run_test(
    program: str,
    test: Test,
    sandbox: Sandbox,
    entry_point: str | None,
    limits: SandboxLimits,
    in_process: bool,
) -> tuple[str, str]:
    """(status, how) of one test."""
    setup = test.get("setup") or ""
    if "check" in test:
        return run_check(program, test, sandbox, limits, in_process)
    if "args" in test and "expected" in test:
        if entry_point is None:
            raise ValueError("Tests with args need the name of the function: pass entry_point.")
        status, value = call_candidate(program, entry_point, list(test["args"]), sandbox, limits, setup=setup)
        if status == CALLED:
            status = PASSED if _is_expected(test, value) else WRONG
        return status, "tests"
    if isinstance(test.get("input"), str) and isinstance(test.get("output"), str):
        outcome = known(sandbox.run(program, test["input"].encode(), limits, setup))
        if not outcome.ok:
            return outcome.status, "tests"
        same = same_output(test["output"], outcome.stdout.decode(errors="replace"), test.get("tolerance"))
        return PASSED if same else WRONG, "tests"
    raise ValueError(
        f"A test has input and output, args and expected, or check; this one has {', '.join(test) or 'nothing'}."
    )


def _is_expected(test: Test, value: Any) -> bool:
    """Whether a call's value is the expected one.

    Where that may be wrapped in a list of one, also its item.
    """
    expected, tolerance = test["expected"], test.get("tolerance")
    is_wrapped = bool(test.get("wrapped")) and isinstance(expected, (list, tuple)) and len(expected) == 1
    return same_value(expected, value, tolerance) or (is_wrapped and same_value(expected[0], value, tolerance))


def same_output(expected: str, actual: str, tolerance: float | None = None) -> bool:
    """Whether two outputs agree.

    Lines right-stripped, blank lines at the end aside, or token by token as decimals.
    """
    expected_lines, actual_lines = _lines(expected), _lines(actual)
    if expected_lines == actual_lines:
        return True
    if len(expected_lines) != len(actual_lines):
        return False
    return all(
        a == b or _same_tokens(a.split(), b.split(), tolerance)
        for a, b in zip(expected_lines, actual_lines, strict=True)
    )


def _lines(text: str) -> list[str]:
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).rstrip("\n").split("\n")


def _same_tokens(expected: list[str], actual: list[str], tolerance: float | None) -> bool:
    return len(expected) == len(actual) and all(
        a == b or _same_number(a, b, tolerance) for a, b in zip(expected, actual, strict=True)
    )


def _same_number(expected: str, actual: str, tolerance: float | None) -> bool:
    if len(expected) > 400 or len(actual) > 400 or not (_NUMBER.fullmatch(expected) and _NUMBER.fullmatch(actual)):
        return False
    if tolerance is not None:
        return math.isclose(float(expected), float(actual), rel_tol=tolerance, abs_tol=tolerance)
    return decimal.Decimal(expected) == decimal.Decimal(actual)


def same_value(expected: Any, actual: Any, tolerance: float | None = None) -> bool:
    """Whether two plain values agree.

    Numbers by value, true and false only with themselves. `found` comes from a hostile program: it may hold
    `wire.Unbuilt`, and whatever it is, this ends.
    """
    try:
        return _same(expected, actual, tolerance)
    except (ValueError, OverflowError, RecursionError):  # of numbers too long, too large, or nesting too deep
        return False


def _same(expected: Any, actual: Any, tolerance: float | None) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, (int, float)) and isinstance(actual, (int, float)):
        if tolerance is None or expected == actual:
            return expected == actual
        return math.isclose(expected, actual, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(expected, (list, tuple)):
        alike = isinstance(actual, (list, tuple) if isinstance(expected, list) else tuple)  # JSON has lists only
        return alike and len(expected) == len(actual) and all(_same(a, b, tolerance) for a, b in zip(expected, actual))
    if isinstance(expected, dict):
        pairs = _pairs(actual)
        actual_by_key = {_key(key): value for key, value in pairs or ()}
        by_key = {_key(key): value for key, value in expected.items()}
        alike = pairs is not None and by_key.keys() == actual_by_key.keys()
        return alike and all(_same(by_key[key], actual_by_key[key], tolerance) for key in by_key)
    if isinstance(expected, (set, frozenset)):
        return canonical(expected) == canonical(actual)
    return type(expected) is type(actual) and expected == actual


def _pairs(value: Any) -> list | None:
    """The pairs of a dict, built or not; None for anything else."""
    if isinstance(value, wire.Unbuilt) and value.kind == "dict":
        return value.items
    return list(value.items()) if isinstance(value, dict) else None


def _key(key: Any) -> str:
    """The key of a dict as text, as JSON has it."""
    try:
        return str(key) if key is None or isinstance(key, (str, int, float)) else canonical(key)
    except ValueError:  # an integer of more digits than Python writes
        return canonical(key)


def canonical(value: Any) -> str:
    """A plain value as text, equal for values that `same_value` equates.

    Raises RecursionError. The time is bounded by the size of the value, which may come from a hostile program and hold
    `wire.Unbuilt`.
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(canonical, value))}]"
    pairs = _pairs(value)
    if pairs is not None:
        return f"{{{', '.join(sorted(f'{_key(key)!r}: {canonical(item)}' for key, item in pairs))}}}"
    if isinstance(value, (set, frozenset, wire.Unbuilt)):
        items = value.items if isinstance(value, wire.Unbuilt) else value
        return f"set({', '.join(sorted(set(map(canonical, items))))})"
    if type(value) in (int, float) and value - value == 0:
        top, bottom = value.as_integer_ratio()
        zeros = max((top & -top).bit_length() - 1, 0)
        return f"{top >> zeros:x}p{zeros - bottom.bit_length() + 1}"
    return repr(value)


def known(outcome: Outcome) -> Outcome:
    """The outcome, if it says anything about the program.

    Raises InfrastructureError if not.
    """
    if outcome.status == "infrastructure":
        raise InfrastructureError(outcome.stderr.decode(errors="replace"))
    return outcome


def call_candidate(
    program: str, entry_point: str, args: list, sandbox: Sandbox, limits: SandboxLimits, setup: str = ""
) -> tuple[str, Any]:
    """One call of the candidate's function.

    ("called", its value), or why there is none and None. Sets and dicts of the value are `wire.Unbuilt`, as in all that
    is decoded here.
    """
    request = wire.dumps({"ask": ["call", entry_point, args, {}]})
    if sandbox.level == "C":
        status, reply = scripted.next_line(_of_candidate(program, setup, True), [request], 0, sandbox, limits)
        return _value_of(reply) if status == "ok" else (status, None)

    def attempt(zygote: Zygote) -> tuple[str, Any]:
        job = Job(zygote, _of_candidate(program, setup, True), b"", limits, channel=True)
        try:
            reply = job.ask(request, limits.wall)
            if reply is None:
                outcome = job.wait()
                return "runtime_error" if outcome.ok else outcome.status, None
        finally:
            job.close()
        return _value_of(reply)

    return sandbox.attempt(attempt)


def _of_candidate(program: str, setup: str, usual: bool) -> dict[str, Any]:
    return {"kind": "functions", "source": program, "setup": setup, "usual": usual or bool(_LEETCODE.search(program))}


def _value_of(reply: bytes) -> tuple[str, Any]:
    """("called", value) of a candidate's reply.

    ("runtime_error", None) for anything else that it sent.
    """
    try:
        kind, value = wire.message(reply, hashed=False)
    except wire.NotPlain:
        return "runtime_error", None
    return (CALLED, value) if kind == "value" else ("runtime_error", None)


def run_check(
    program: str, test: Test, sandbox: Sandbox, limits: SandboxLimits, in_process: bool = False
) -> tuple[str, str]:
    """(status, how) of a check.

    Its program in one job, the candidate's functions in another. A check that cannot be parted from the candidate has
    the status "in_process" unless `in_process` lets it run so.
    """
    candidate = _of_candidate(program, test.get("setup") or "", False)
    tests = {"kind": "tests", "source": test["check"], "prelude": test.get("prelude") or ""}
    tests["functions"] = list(test.get("functions", ()))
    if sandbox.level == "C":
        status = _verdict(scripted.converse(candidate, tests, sandbox, limits))
    else:
        status = sandbox.attempt(lambda zygote: _relay(zygote, candidate, tests, limits))
    if status != IN_PROCESS:
        return status, "tests"
    if not in_process or sandbox.level == "C":
        return IN_PROCESS, IN_PROCESS
    together = {**candidate, "kind": "together", "check": test["check"], "prelude": tests["prelude"]}
    return sandbox.attempt(lambda zygote: _beside(zygote, together, limits)), IN_PROCESS


def _beside(zygote: Zygote, payload: dict[str, Any], limits: SandboxLimits) -> str:
    """The status of a check in the candidate's own process.

    It passes if it says its end and then ends well.
    """
    job = Job(zygote, payload, b"", limits, channel=True)
    ended = job.receive(time.monotonic() + limits.wall)
    outcome = job.wait()
    if outcome.ok:
        return PASSED if ended is not None and wire.kind_of(ended) == "end" else WRONG
    last = outcome.stderr.rstrip().rsplit(b"\n", 1)[-1]
    return WRONG if last.startswith(b"AssertionError") else outcome.status


def _relay(zygote: Zygote, candidate: dict[str, Any], tests: dict[str, Any], limits: SandboxLimits) -> str:
    """The status of a check between two jobs.

    Returns "in_process" if an argument cannot be sent. Raises ZygoteLost.
    """
    theirs, ours = Job(zygote, candidate, b"", limits, channel=True), None
    try:
        ours = Job(zygote, tests, b"", limits, channel=True)
        return _verdict(_turns(theirs, ours, limits))
    finally:
        theirs.close()
        if ours is not None:
            ours.close()


def _turns(theirs: Job, ours: Job, limits: SandboxLimits) -> Iterator[tuple[str, str, bytes]]:
    """The lines of a check as `scripted.converse` gives them, between two jobs."""
    deadline = time.monotonic() + limits.wall
    while (line := ours.receive(deadline)) is not None:
        if wire.kind_of(line) == "end":
            status = ours.wait().status
            yield "tests", status, line
            return
        yield "tests", "ok", line
        reply = theirs.ask(line, limits.wall)
        if reply is None:
            status = theirs.wait().status
            yield "candidate", status, b""
            return
        yield "candidate", "ok", reply
        ours.send(reply)
    yield "tests", ours.wait().status, b""


def _verdict(turns: Iterator[tuple[str, str, bytes]]) -> str:
    """The status of a check, from the lines of both sides.

    What the candidate sends is looked at before it is handed on, so that its faults are its own.
    """
    failed = False
    for side, status, line in turns:
        if side == "tests" and status in ("ok", "runtime_error"):
            kind = wire.kind_of(line) if status == "ok" else ""
            if kind == "end":
                return PASSED
            if kind == "apart":
                return IN_PROCESS
            if kind not in _GOES_ON:
                return "runtime_error" if failed else WRONG
        elif status != "ok":
            return status
        else:
            try:
                kind, _ = wire.message(line, handle=_opaque, hashed=False)
            except wire.NotPlain:
                return "runtime_error"
            if kind not in _GOES_ON:
                return "runtime_error"
            failed = kind == "error"
    return WRONG


def _opaque(handle: int | str) -> None:
    """A handle, which means something to the two jobs alone."""
