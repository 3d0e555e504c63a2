"""What a candidate sends: 10,000 mutated messages, none of which makes a grader raise, take long, or pass."""

import json
import random

import pytest

from mxjax.rewards import grade_code
from mxjax.rewards.code import _value_of, _verdict, canonical, same_value
from mxjax.sandbox import SandboxLimits
from mxjax.sandbox.inside import wire

VALUES = [
    7, -1.5, True, None, "text", 10**5000, float("nan"), 2j, b"\xff", [1, [2, (3, 4)]], {1, 2}, frozenset(["a", (1,)]),
    {"a": {1: [2]}, (1, 2): {3}}, range(9), {}, set(), [], (), {"k": [{"n": None}] * 3},
]  # fmt: skip
ODD = [
    None, True, 0, -1, 1e308, float("nan"), float("inf"), 10**30, "", "set", "\ud800", [], {}, [[]], [1, 2, 3],
    {"set": 1},
    {"set": [1]}, {"set": [{"list": []}]}, {"dict": [1]}, {"dict": [[1, 2, 3]]}, {"dict": [[{"dict": []}, 1]]},
    {"tuple": None}, {"int": "zz"}, {"int": 5}, {"int": "0x" + "f" * 300}, {"float": "x"}, {"float": []}, {"bytes": 1},
    {"bytes": "?"}, {"complex": [1]}, {"complex": ["1", {}]}, {"range": [1, 2, 0]}, {"range": ["a"]},
    {"range": [0, 10**40]},
    {"handle": 0}, {"handle": -1}, {"handle": "exit"}, {"handle": None}, {"a": 1, "b": 2}, {"": []}, {"list": "ab"},
    {"frozenset": [{"set": []}]}, {"dict": [["value", 1], ["value", 2]]}, {"dict": [[None, 1]]},
]  # fmt: skip
EXPECTED = [7, "text", [1, 2], {"a": 1}, {1, 2}, None, 1.5, (1, [2])]


def mutants(seed, count):
    """Lines made of good messages by changes of the JSON or of its bytes."""
    draw = random.Random(seed)
    good = [wire.dumps({"value": value}) for value in VALUES] + [
        wire.dumps({"error": ["ValueError", "x"]}), wire.dumps({"ask": ["call", "f", [1], {"k": 2}]}),
        wire.dumps({"ask": ["global", "f"]}), wire.dumps({"end": None}), wire.dumps({"apart": "x"}),
    ]  # fmt: skip
    for _ in range(count):
        line = draw.choice(good)
        if draw.random() < 0.6:
            for _ in range(4):
                tree = json.loads(line)
                if draw.random() < 0.7 and line.startswith(b'{"dict": [["') and len(tree["dict"][0]) == 2:
                    tree["dict"][0][1] = replaced(tree["dict"][0][1], draw)
                else:
                    tree = replaced(tree, draw)
                line = json.dumps(tree).encode() + b"\n"
                if draw.random() < 0.7 or not isinstance(tree, dict):
                    break
        else:
            line = bytearray(line)
            for _ in range(draw.choice((1, 1, 2, 8))):
                place = draw.randrange(len(line))
                line[place : place + draw.randrange(3)] = bytes(
                    draw.choice(b'{}[]",:\\\xff\xc3\x00 0129eNaIntrue-.') for _ in range(draw.randrange(4))
                )
        yield bytes(line).replace(b"\n", b" ") + b"\n"


def replaced(tree, draw):
    """A JSON value with one place in it replaced, doubled, wrapped or left out."""
    if isinstance(tree, (list, dict)) and tree and draw.random() < 0.85:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = draw.choice(list(keys))
        changed = dict(tree) if isinstance(tree, dict) else list(tree)
        if draw.random() < 0.1:
            del changed[key]
        elif isinstance(tree, dict) and draw.random() < 0.2:
            changed[draw.choice(("set", "dict", "list", "int", "handle", "value", ""))] = changed.pop(key)
        else:
            changed[key] = replaced(tree[key], draw)
        return changed
    wrapped = tree
    for _ in range(draw.choice((0, 0, 1, 60))):
        wrapped = {draw.choice(("list", "tuple", "set", "frozenset", "dict")): [wrapped]}
    return draw.choice((*ODD, wrapped, [tree, tree], {"set": [tree]}))


def test_no_line_makes_a_grader_raise():
    kinds = set()
    for line in mutants(0, 10_000):
        status, value = _value_of(line)
        kinds.add(status)
        assert status in ("called", "runtime_error") and (status == "called" or value is None)
        if status == "called":
            canonical(value)
            for expected in EXPECTED:
                assert same_value(expected, value, 1e-6) in (True, False)
        turns = [("tests", "ok", wire.dumps({"ask": ["global", "f"]})), ("candidate", "ok", line),
                 ("tests", "runtime_error", b"")]  # fmt: skip
        assert _verdict(iter(turns)) in ("runtime_error", "wrong_answer")
    assert kinds == {"called", "runtime_error"}


@pytest.mark.parametrize(
    "line",
    [b'{"set": [1]}', b"[" * 100_000, b'{"list": [' * 50_000, b'{"dict": [["value", ' + b'{"set": [' * 30_000,
     b'{"dict": [["value", 1' + b"0" * 5000 + b"]]}", b'{"dict": [["value", {"int": "0x' + b"f" * 100_000 + b'"}]]}',
     b"\xff\xfe\x00", '{"dict": [["value", 1]]}'.encode("utf-16"), b"", b"null",
     b'{"dict": [["value", 1], ["value", 1]]}', b'{"dict": [[["value"], 1]]}',
     b'{"dict": [["error", {"list": ["ValueError", 1]}]]}', b'{"dict": [["ask", {"list": ["call"]}]]}'],
)  # fmt: skip
def test_lines_of_the_wrong_shape(line):
    status, _ = _value_of(line + b"\n")
    assert status == ("called" if b'"int"' in line else "runtime_error")


def test_keys_in_keys_take_no_more_text_than_they_have():
    """Each key was written inside the text of the next, with twice the backslashes of the one before."""
    key = '"k"'
    for _ in range(60):
        key = f'{{"dict": [[{key}, 1]]}}'
    assert _value_of(f'{{"dict": [["value", {key}]]}}\n'.encode()) == ("runtime_error", None)
    nested = '"k"'
    for _ in range(60):
        nested = f'{{"tuple": [{nested}, {{"frozenset": [{nested[:40] and 1}]}}]}}'
    status, value = _value_of(f'{{"dict": [["value", {{"dict": [[{nested}, 1]]}}]]}}\n'.encode())
    assert status == "called" and len(canonical(value)) < 10_000


def sends(line):
    return f"import os\nos.write(3, bytes.fromhex('{line.hex()}'))\ndef f(x):\n    return 1\n"


@pytest.mark.parametrize("count", [8, pytest.param(400, marks=pytest.mark.slow)])
def test_lines_sent_by_real_programs(box, count):
    check = "got = f(2)\nassert got == 'never' or [] == got"
    futures = [
        box.call(grade_code, sends(line), [test], box, "f", True, SandboxLimits(cpu_s=2))
        for line in mutants(count, count)
        for test in ({"args": [2], "expected": "never"}, {"check": check, "functions": ["f"]})
    ]
    for future in futures:
        verdict = future.result()
        assert not verdict and verdict.how in ("runtime_error", "wrong_answer")


def test_a_reply_of_the_wrong_shape_is_a_runtime_error(box):
    for line in (b'{"set": [1]}\n', b"[]\n", b'{"dict": [["value", {"dict": [[{"list": []}, 1]]}]]}\n'):
        for test in ({"args": [2], "expected": 2}, {"check": "assert f(2) == 2", "functions": ["f"]}):
            assert grade_code(sends(line), [test], box, "f").how == "runtime_error"


def test_a_program_that_closes_its_channel_while_sent_a_long_argument_has_failed(box):
    program = "import os, time\ntime.sleep(0.5)\nos.close(3)\ntime.sleep(0.5)\ndef f(x):\n    return 1\n"
    test = {"args": ["x" * 5_000_000], "expected": 1}
    assert grade_code(program, [test], box, "f").how == "runtime_error"
