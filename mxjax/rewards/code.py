"""Grades programs by running them in the sandbox against tests that stay outside.

Three shapes of test, told apart by their keys:

| test | how it is run |
|---|---|
| `{"input": str, "output": str}` | a process that reads standard input; output compared line by line |
| `{"args": [...], "expected": ...}` | our driver calls `entry_point` in a process; its JSON is compared here |
| `{"check": source}` | the test program runs in one job and calls the candidate in another, as plain values |

The candidate never shares a process with an expected output. The exception is a check whose arguments are not plain
values: it runs together with the candidate, which could forge its pass, and so that counts only where the caller says
so (`in_process`). A program with a class `Solution`, LeetCode's format, finds the usual imports made.

A test may have a "setup", source that runs before the program; a "tolerance" for decimal numbers; one with "args" may
be "wrapped": its expected value is a list of one element that stands for the element as well; and a check may have a
"prelude", source that stands before it, and "functions", names of the candidate that the check could mistake for
builtins. `"public": True` marks a test that the question's text shows: votes compare programs on it
(`rewards.program_tool`).
"""

from __future__ import annotations

import decimal
import json
import math
import random
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mxjax.rewards.verdict import InfrastructureError, Verdict
from mxjax.sandbox import Outcome, Sandbox, SandboxLimits
from mxjax.sandbox.inside import wire
from mxjax.sandbox.jobs import Job

PASSED, WRONG = "passed", "wrong_answer"
CALLED = "called"
IN_PROCESS = "in_process"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NOT_PLAIN = wire.dumps({"not plain": ""})[:22]
_BROKEN = wire.dumps({"broken": ""})
_ENDED = wire.dumps("ended")
_ERROR = wire.dumps({"error": ""})[:18]
Test = Mapping[str, Any]


def grade_code(
    program: str,
    tests: Sequence[Test],
    sandbox: Sandbox,
    entry_point: str | None = None,
    all_pass: bool = True,
    limits: SandboxLimits | None = None,
    subset: int | None = None,
    seed: int = 0,
    in_process: bool = False,
) -> Verdict:
    """Runs `program` on tests; correct iff it passes all that are run.

    Args:
        program: the candidate's source.
        tests: see the module's docstring; the shapes may be mixed.
        sandbox: where to run it.
        entry_point: the function, or method of a class `Solution`, that "args" tests call.
        all_pass: stop at the first test that fails; False: run all, for the share that passes.
        limits: of each test.
        subset: run only so many tests, drawn by `seed`, the same ones for every program.
        in_process: count the passes of checks that had to share the program's process, which it could forge.

    Returns:
        `how` is "tests", "in_process" if any check had to run beside the program, or, not correct, the status of the
        first test that failed; `statuses` has one for each test that was run, "in_process" for a pass not counted.

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
        status, how = _run_test(program, test, sandbox, entry_point, limits or SandboxLimits())
        if how == IN_PROCESS and status == PASSED:
            together = True
            status = PASSED if in_process else IN_PROCESS
        statuses.append(status)
        if status != PASSED and all_pass:
            break
    passed = statuses.count(PASSED)
    failed = next((status for status in statuses if status != PASSED), None)
    how = failed or (IN_PROCESS if together else "tests")
    return Verdict(failed is None, how, passed, len(chosen), tuple(statuses))


def _run_test(
    program: str, test: Test, sandbox: Sandbox, entry_point: str | None, limits: SandboxLimits
) -> tuple[str, str]:
    """(status, how) of one test."""
    if "check" in test:
        return run_check(program, test, sandbox, limits)
    if "args" in test and "expected" in test:
        if entry_point is None:
            raise ValueError("Tests with args need the name of the function: pass entry_point.")
        status, value = call_candidate(program, entry_point, test, sandbox, limits)
        if status == CALLED:
            wanted = [test["expected"], *(test["expected"] if test.get("wrapped") else ())]
            same = any(same_value(expected, value, test.get("tolerance")) for expected in wanted)
            status = PASSED if same else WRONG
        return status, "tests"
    if isinstance(test.get("input"), str) and isinstance(test.get("output"), str):
        outcome = known(sandbox.run(with_setup(program, test), test["input"].encode(), limits))
        if not outcome.ok:
            return outcome.status, "tests"
        same = same_output(test["output"], outcome.stdout.decode(errors="replace"), test.get("tolerance"))
        return PASSED if same else WRONG, "tests"
    raise ValueError(
        f"A test has input and output, args and expected, or check; this one has {', '.join(test) or 'nothing'}."
    )


def with_setup(program: str, test: Test) -> str:
    """The program behind the test's setup, as one source."""
    return f"{test['setup']}\n{program}" if test.get("setup") else program


def same_output(expected: str, given: str, tolerance: float | None = None) -> bool:
    """Whether two outputs agree: lines right-stripped, blank lines at the end aside, or token by token as decimals."""
    wanted, found = _lines(expected), _lines(given)
    if wanted == found:
        return True
    if len(wanted) != len(found):
        return False
    return all(a == b or _same_tokens(a.split(), b.split(), tolerance) for a, b in zip(wanted, found, strict=True))


def _lines(text: str) -> list[str]:
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).rstrip("\n").split("\n")


def _same_tokens(wanted: list[str], found: list[str], tolerance: float | None) -> bool:
    return len(wanted) == len(found) and all(
        a == b or _same_number(a, b, tolerance) for a, b in zip(wanted, found, strict=True)
    )


def _same_number(wanted: str, found: str, tolerance: float | None) -> bool:
    if len(wanted) > 400 or len(found) > 400 or not (_NUMBER.fullmatch(wanted) and _NUMBER.fullmatch(found)):
        return False
    if tolerance is not None:
        return math.isclose(float(wanted), float(found), rel_tol=tolerance, abs_tol=tolerance)
    return decimal.Decimal(wanted) == decimal.Decimal(found)


def same_value(wanted: Any, found: Any, tolerance: float | None = None) -> bool:
    """Whether two plain values agree; numbers by value, true and false only with themselves.

    `found` comes from a hostile program: it may hold `wire.Unbuilt`, and whatever it is, this ends.
    """
    try:
        return _same(wanted, found, tolerance)
    except (ValueError, OverflowError, RecursionError):  # of numbers too long, too large, or nesting too deep
        return False


def _same(wanted: Any, found: Any, tolerance: float | None) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, (int, float)) and isinstance(found, (int, float)):
        within = tolerance is not None and wanted != found
        return math.isclose(wanted, found, rel_tol=tolerance, abs_tol=tolerance) if within else wanted == found
    if isinstance(wanted, (list, tuple)):
        alike = isinstance(found, (list, tuple) if isinstance(wanted, list) else tuple)  # JSON has lists only
        return alike and len(wanted) == len(found) and all(_same(a, b, tolerance) for a, b in zip(wanted, found))
    if isinstance(wanted, dict):
        pairs = _pairs(found)
        keyed = {_key(key): value for key, value in pairs or ()}
        given = {_key(key): value for key, value in wanted.items()}
        alike = pairs is not None and given.keys() == keyed.keys()
        return alike and all(_same(given[key], keyed[key], tolerance) for key in given)
    if isinstance(wanted, (set, frozenset)):
        return canonical(wanted) == canonical(found)
    return type(wanted) is type(found) and wanted == found


def _pairs(value: Any) -> list | None:
    """The pairs of a dict, built or not; None for anything else."""
    if isinstance(value, wire.Unbuilt) and value.kind == "dict":
        return value.items
    return list(value.items()) if isinstance(value, dict) else None


def _key(key: Any) -> str:
    """The key of a dict as text, since JSON has text keys only."""
    try:
        return str(key) if key is None or isinstance(key, (str, int, float)) else canonical(key)
    except ValueError:  # an integer of more digits than Python writes
        return canonical(key)


def canonical(value: Any) -> str:
    """A plain value as text, the same for values that `same_value` takes for equal. Raises RecursionError.

    The time is bounded by the size of the value, which may come from a hostile program and hold `wire.Unbuilt`.
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
    """The outcome, if it says anything about the program. Raises InfrastructureError if not."""
    if outcome.status == "infrastructure":
        raise InfrastructureError(outcome.stderr.decode(errors="replace"))
    return outcome


def call_candidate(
    program: str, entry_point: str, test: Test, sandbox: Sandbox, limits: SandboxLimits
) -> tuple[str, Any]:
    """One call of the candidate's function with `test["args"]`: ("called", its value), or why there is none and None.

    Sets and dicts of the value are `wire.Unbuilt`, as in all that is decoded here.
    """
    if sandbox.level == "C":
        return _call_in_script(with_setup(program, test), entry_point, list(test["args"]), sandbox, limits)
    request = wire.dumps([entry_point, [], list(test["args"]), {}])
    payload = {"kind": "functions", "source": program, "setup": test.get("setup", "")}

    def attempt(zygote) -> tuple[str, Any]:
        job = Job(zygote, payload, b"", limits, channel=True)
        try:
            reply = job.ask(request, limits.wall)
            if reply is None:
                outcome = job.wait()
                return "runtime_error" if outcome.ok else outcome.status, None
        finally:
            job.close()
        return read_reply(reply)

    return sandbox.attempt(attempt)


def read_reply(line: bytes) -> tuple[str, Any]:
    """("called", the value) of a reply, ("runtime_error", None) for any that holds none, whatever its shape."""
    try:
        reply = wire.loads(line, hashed=False)
    except wire.NotPlain:
        return "runtime_error", None
    pairs = _pairs(reply) or ()
    return (CALLED, pairs[0][1]) if len(pairs) == 1 and pairs[0][0] == "value" else ("runtime_error", None)


def run_check(program: str, test: Test, sandbox: Sandbox, limits: SandboxLimits) -> tuple[str, str]:
    """(status, how) of a check: its program in one job, the candidate's functions in another."""
    if sandbox.level == "C":
        return _check_in_script(with_setup(program, test), test, sandbox, limits), IN_PROCESS
    status = sandbox.attempt(lambda zygote: _relay(zygote, program, test, limits))
    if status != IN_PROCESS:
        return status, "tests"
    return sandbox.attempt(lambda zygote: _check_beside(zygote, program, test, limits)), IN_PROCESS


def _check_beside(zygote, program: str, test: Test, limits: SandboxLimits) -> str:
    """The status of a check that shares the candidate's process and says on the channel that it came to its end.

    No secret lies in that process before: what a candidate can find there is worth nothing.
    """
    payload = {"kind": "together", "source": program, "setup": test.get("setup", ""), "check": test["check"]}
    job = Job(zygote, {**payload, "prelude": test.get("prelude", "")}, b"", limits, channel=True)
    try:
        ended = job.receive(time.monotonic() + limits.wall) == _ENDED
        return _status_beside(job.wait(), ended)
    finally:
        job.close()


def _check_in_script(source: str, test: Test, sandbox: Sandbox, limits: SandboxLimits) -> str:
    """`_check_beside` where a job has no descriptor of its own: the end is a word, drawn anew, as the last line."""
    token = secrets.token_hex(16)
    whole = f"{source}\n{test.get('prelude', '')}\n{test['check']}\nprint('\\n{token}')"
    outcome = sandbox.run(whole, b"", limits)
    return _status_beside(outcome, outcome.stdout.rstrip().endswith(token.encode()))


def _status_beside(outcome: Outcome, ended: bool) -> str:
    if known(outcome).ok:
        return PASSED if ended else WRONG
    last = outcome.stderr.rstrip().rsplit(b"\n", 1)[-1]
    return WRONG if last.startswith(b"AssertionError") else outcome.status


def _relay(zygote, program: str, test: Test, limits: SandboxLimits) -> str:
    """The status of a check, or "in_process" if an argument cannot be sent. Raises ZygoteLost."""
    payload = {"kind": "functions", "source": program, "setup": test.get("setup", "")}
    candidate = Job(zygote, payload, b"", limits, channel=True)
    tests = None
    try:
        payload = {"kind": "tests", "source": test["check"], "prelude": test.get("prelude", "")}
        payload["functions"] = list(test.get("functions", ()))
        tests = Job(zygote, payload, b"", limits, channel=True)
        deadline = time.monotonic() + limits.wall
        failed = False
        while (request := tests.receive(deadline)) is not None:
            if request.startswith(_NOT_PLAIN):
                return IN_PROCESS
            if request == _BROKEN:
                return "runtime_error"
            reply = candidate.ask(request, limits.wall)
            if reply is None:
                outcome = candidate.wait()
                return "runtime_error" if outcome.ok else outcome.status
            failed = reply.startswith(_ERROR)
            tests.send(reply)
        outcome = tests.wait()
        if outcome.ok:
            return PASSED
        if outcome.status == "runtime_error":
            return "runtime_error" if failed else WRONG
        return outcome.status
    finally:
        candidate.close()
        if tests is not None:
            tests.close()


def _call_in_script(
    source: str, entry_point: str, args: list, sandbox: Sandbox, limits: SandboxLimits
) -> tuple[str, Any]:
    """`call_candidate` where a job has no descriptor of its own: the value is the last line printed."""
    script = (
        f"{source}\nimport json as _json\n_f = globals().get({entry_point!r}) or getattr(Solution(), {entry_point!r})\n"
        f"print('\\n' + _json.dumps(_f(*_json.loads({json.dumps(args)!r}))))"
    )
    outcome = known(sandbox.run(script, b"", limits))
    if not outcome.ok:
        return outcome.status, None
    try:
        return CALLED, json.loads(outcome.stdout.rstrip().rsplit(b"\n", 1)[-1])
    except (ValueError, RecursionError):
        return WRONG, None
