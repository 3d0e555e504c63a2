"""Readers of public data sets, one for each form of row.

A reader makes one question of a row, with its gold answer or its tests. A reader raises for a row that is not of its
form (KeyError, TypeError, ValueError, AttributeError), and `NoTests` for a code question that the set itself gives no
usable test.
"""

from __future__ import annotations

import ast
import base64
import collections
import json
import pickletools
import re
import warnings
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mxjax.data.identity import COMPLETE, DEFINE, MUST_PASS, START_FROM, STDIN
from mxjax.data.rows import Row
from mxjax.rewards.extract import closing_brace

Test = dict[str, Any]

MAX_TESTS_BYTES = 1 << 30
"""Unpacked size of one question's tests above which a row counts as damaged."""
_BOX = re.compile(r"\\(?:boxed|fbox)(?:\s*\{|(?![A-Za-z])\s*(?P<bare>[^\s${][^$\n]*))")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_DAPO = re.compile(
    r"\ASolve the following math problem step by step\..*?\n\n(.*)\n\nRemember to put your answer on its own line.*\Z",
    re.DOTALL,
)
TRAINING_TESTS = 50
_TEST_KINDS = ("public_tests", "private_tests", "generated_tests")
_TEXT_CODES = frozenset(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"))
_OTHER_CODES = frozenset(("PROTO", "FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "STOP"))


class Item(NamedTuple):
    """A row as a question.

    `gold` is the answer, or the function that tests call; `tests` are None for mathematics. A test with `"public":
    True` is one that the question's author shows, so agents may see it.
    """

    text: str
    gold: str | None
    tests: list[Test] | None


class NoTests(ValueError):
    """The set has no usable test for this question."""


Reader = Callable[[Row], Item]


def plain_number(value: Any) -> str:
    """A gold number without thousands separators and without `.0`.

    Whatever is not a number stays as it is.
    """
    text = str(value).strip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    return re.sub(r"(?<=[0-9])\.0+\Z", "", text)


def fields(text: str, gold: str) -> Reader:
    """A reader of rows with question and answer in plain fields."""

    def reader(row: Row) -> Item:
        return _math(row[text], plain_number(row[gold]))

    return reader


def first_of(*readers: Reader) -> Reader:
    """The first of several readers that knows the row's form.

    For sets that are published in several forms.
    """

    def reader(row: Row) -> Item:
        for one in readers[:-1]:
            try:
                return one(row)
            except KeyError:
                continue
        return readers[-1](row)

    return reader


def gsm8k(row: Row) -> Item:
    """A worked answer that ends in `#### <number>`."""
    _, marker, answer = row["answer"].rpartition("####")
    if not marker:
        raise ValueError("the answer has no '#### <number>'")
    return _math(row["question"], plain_number(answer))


def svamp(row: Row) -> Item:
    """A body and a question."""
    body = row["Body"].strip()
    stop = "" if body.endswith((".", "?", "!")) else "."
    return _math(f"{body}{stop} {row['Question'].strip()}", plain_number(row["Answer"]))


def worked_solution(row: Row) -> Item:
    r"""A worked solution whose last box is the answer, as in MATH.

    `\boxed{2}`, `\fbox{2}`, or `\boxed 2` up to `$`.
    """
    return _math(row["problem"], last_box(row["solution"]))


def last_box(solution: str) -> str:
    """What stands in the last box of a worked solution.

    Raises ValueError where there is none, or it never closes.
    """
    box = next(iter(collections.deque(_BOX.finditer(solution), maxlen=1)), None)
    if box is None:
        raise ValueError(r"the solution has no \boxed{answer}")
    if box["bare"] is not None:  # up to the end of the formula, which is no more than a word where none was begun
        inside = solution.count("$", 0, box.start()) % 2
        return (box["bare"] if inside else box["bare"].split()[0]).strip().rstrip(".,;")
    end = closing_brace(solution, box.end())
    if end is None:
        raise ValueError(r"the last \boxed{ of the solution never closes")
    return solution[box.end() : end]


def olympiadbench(row: Row) -> Item:
    """Answers as a list of one LaTeX text, some with a unit.

    The unit is the one that the question asks for.
    """
    (gold,) = row["final_answer"]
    unit = (row.get("unit") or "").strip("$ ")
    if unit and not row.get("is_multiple_answer"):
        gold = gold.strip("$ ") + (unit if unit == "%" or unit.startswith("^") else rf"\text{{ {unit}}}")
    context = (row.get("context") or "").strip()
    return _math(f"{context}\n\n{row['question']}", gold)


def dapo(row: Row) -> Item:
    """A chat prompt that wraps the problem in instructions.

    They are taken off, since a run has its own.
    """
    (message,) = row["prompt"]
    wrapped = _DAPO.match(message["content"].strip())
    return _math(wrapped[1] if wrapped else message["content"], plain_number(row["reward_model"]["ground_truth"]))


def humaneval(row: Row) -> Item:
    """A function to complete.

    What else the prompt defines is there for it, and the check has its own.
    """
    prompt, entry_point = row["prompt"], row["entry_point"]
    helpers = _module(prompt)
    helpers.body = [node for node in helpers.body if getattr(node, "name", None) != entry_point]
    check = f"{row['test']}\ncheck({entry_point})"
    text = f"{COMPLETE}\n\n{prompt.strip()}"
    setup = ast.unparse(helpers)
    return Item(text, None, [{"check": check, "setup": setup, "prelude": setup, "functions": [entry_point]}])


def mbpp(row: Row) -> Item:
    """One test for each assertion.

    The first is public, as usual for this set, since it names the function.
    """
    defined = [node.name for node in _module(row["code"]).body if isinstance(node, ast.FunctionDef)]
    tests: list[Test] = [
        {"check": f"{row['test_setup_code']}\n{test}", "functions": defined} for test in row["test_list"]
    ]
    tests[0]["public"] = True
    text = f"{row['text'].strip()}\n{MUST_PASS}\n{row['test_list'][0].strip()}"
    return Item(text, None, tests)


def _module(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escape sequences in code that is not ours
        return ast.parse(source)


def livecodebench(row: Row) -> Item:
    """Public tests as JSON, hidden ones as JSON or packed (`unpack_tests`).

    Standard input, or calls of a method.
    """
    function = json.loads(row["metadata"]).get("func_name") if row.get("metadata") else None
    tests = []
    for cases, public in ((_parsed(row["public_test_cases"]), True), (unpack_tests(row["private_test_cases"]), False)):
        tests += [_livecodebench_test(case, public) for case in cases]
    if not tests:
        raise NoTests("the row has no tests")
    return _code(row["question_content"], tests, function, row.get("starter_code") or "")


def unpack_tests(packed: str) -> list[Any]:
    """The hidden tests of a LiveCodeBench row.

    JSON, or base64 of zlib of a pickled JSON text. The pickle is never loaded: its text is read from its instructions,
    and one with any other contents is refused. Raises ValueError for that, for damaged bytes, and for more than
    `MAX_TESTS_BYTES`.
    """
    if packed.lstrip().startswith("["):
        return _parsed(packed)
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(packed, validate=True), MAX_TESTS_BYTES)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError("cut off, or larger than any question's tests")
        return _parsed(_pickled_text(content))
    except Exception as error:  # what is no pickle can fail in any way
        raise ValueError(f"the hidden tests cannot be unpacked: {error}") from error


def _pickled_text(content: bytes) -> str:
    """The one text that a pickle holds.

    Raises ValueError for a pickle with anything else in it.
    """
    texts = []
    for code, argument, _ in pickletools.genops(content):
        if code.name in _TEXT_CODES and isinstance(argument, str):
            texts.append(argument)
        elif code.name not in _OTHER_CODES:
            raise ValueError(f"they have the instruction {code.name}, and may only hold one text")
    (text,) = texts
    return text


def _livecodebench_test(case: Row, public: bool) -> Test:
    if case.get("testtype") == "functional":
        arguments = [json.loads(line) for line in case["input"].split("\n") if line.strip()]
        test = {"args": arguments, "expected": json.loads(case["output"])}
    else:
        test = {"input": case["input"], "output": case["output"]}
    return {**test, "public": True} if public else test


def apps(row: Row) -> Item:
    """Inputs and outputs as JSON.

    With `fn_name` they are arguments and results, else standard input and output.
    """
    if not row["input_output"]:
        raise NoTests("the row has no tests")
    try:
        cases = json.loads(row["input_output"])
    except ValueError as error:
        raise NoTests(f"its tests are not JSON that can be read: {error}") from error
    function, outputs = cases.get("fn_name"), cases["outputs"]
    if function:
        # Most rows wrap each result in a list of its own, and nothing says which do.
        is_wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
        mark = {"wrapped": True} if is_wrapped else {}
        pairs = zip(cases["inputs"], outputs, strict=True)
        tests = [{"args": arguments, "expected": expected, **mark} for arguments, expected in pairs]
    else:
        tests = list(_streams(cases["inputs"], outputs))
    if not tests:
        raise NoTests("the row has no tests")
    return _code(row["question"], _with_public(row["question"], tests), function, row.get("starter_code") or "")


def code_contests(row: Row) -> Item:
    """Tests of standard input and output, as the set's home publishes them.

    Public, private and generated ones.
    """
    tests = []
    for kind in _TEST_KINDS:
        cases = row[kind] or {"input": [], "output": []}
        mark = {"public": True} if kind == "public_tests" else {}
        tests += [{**test, **mark} for test in _streams(cases["input"], cases["output"])]
    if not tests:
        raise NoTests("the row has no tests")
    return _code(row["description"], tests)


def fewer_tests(row: Row) -> Row:
    """A row of `code_contests` with its first 50 tests.

    Public and private ones come first; some rows have hundreds.
    """
    left, kept = TRAINING_TESTS, dict(row)
    for kind in _TEST_KINDS:
        cases = row[kind] or {"input": [], "output": []}
        kept[kind] = {side: cases[side][:left] for side in ("input", "output")}
        left -= len(kept[kind]["input"])
    return kept


def stream_lists(row: Row) -> Item:
    """A problem with lists of inputs and outputs.

    Those that the statement prints as examples are public.
    """
    tests = list(_streams(row["tests"]["inputs"], row["tests"]["outputs"]))
    if not tests:
        raise NoTests("the row has no tests")
    return _code(row["problem"], _with_public(row["problem"], tests))


def _math(text: str, gold: str) -> Item:
    if not text.strip() or not gold.strip():
        raise ValueError("the question or its answer is empty")
    return Item(text.strip(), gold.strip(), None)


def _code(text: str, tests: list[Test], function: str | None = None, starter: str = "") -> Item:
    if starter.strip():
        ending = f"{START_FROM}\n{starter.strip()}"
    else:
        ending = f"{DEFINE} {function}." if function else STDIN
    return Item(f"{text.strip()}\n\n{ending}".strip(), function, tests)


def _streams(inputs: Iterable[Any], outputs: Iterable[Any]) -> Iterable[Test]:
    """Tests of standard input and output, as texts or lists of lines."""
    whole = lambda value: value if isinstance(value, str) else "\n".join(map(str, value))
    for stdin, stdout in zip(inputs, outputs, strict=True):
        yield {"input": whole(stdin), "output": whole(stdout)}


def _with_public(text: str, tests: list[Test]) -> list[Test]:
    """Mark as public the tests that `text` itself prints.

    It prints them as "Input ... Output ...", white space aside.
    """
    squeezed = f"{_squeeze(text)} "
    shown = lambda t: "input" in t and f"Input {_squeeze(t['input'])} Output {_squeeze(t['output'])} " in squeezed
    return [{**test, "public": True} if shown(test) else test for test in tests]


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _parsed(cases: Any) -> list[Any]:
    """A list of tests, or the JSON of one."""
    tests = json.loads(cases) if isinstance(cases, (str, bytes)) else cases
    if not isinstance(tests, list):
        raise ValueError(f"tests are a list, got {type(tests).__name__}")
    return tests
