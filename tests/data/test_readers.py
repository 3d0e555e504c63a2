"""Rows of public sets as questions: every form that is about, hidden tests unpacked without trusting their bytes."""

import base64
import json
import pickle
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import sandbox

from mxjax.data import readers
from mxjax.data.readers import NoTests, plain_number
from mxjax.rewards import grade_code, grade_math
from mxjax.sandbox import SandboxLimits

DOUBLE = "print(2 * int(input()))"


def packed(value) -> str:
    """As LiveCodeBench packs hidden tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def livecodebench_row(public, private, function="", starter=""):
    return {
        "question_content": "Double it.", "starter_code": starter, "public_test_cases": json.dumps(public),
        "private_test_cases": private, "metadata": json.dumps({"func_name": function} if function else {}),
    }  # fmt: skip


@pytest.fixture(scope="module")
def auto():
    with sandbox("auto") as box:
        yield box


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("1,234", "1234"),
        (" 70,000 ", "70000"),
        (145.0, "145"),
        (2.5, "2.5"),
        ("1,2", "1,2"),
        ("1,234.50", "1234.50"),
        ("025", "025"),
        (r"\frac{1}{2}", r"\frac{1}{2}"),
    ],
)
def test_plain_numbers(value, plain):
    assert plain_number(value) == plain


@pytest.mark.parametrize(
    ("reader", "row", "text", "gold"),
    [
        (readers.gsm8k, {"question": "How much?", "answer": "1,000 + 234\n#### 1,234"}, "How much?", "1234"),
        (readers.svamp, {"Body": "A hen lays 3 eggs", "Question": "How many?", "Answer": 3.0},
         "A hen lays 3 eggs. How many?", "3"),
        (readers.worked_solution, {"problem": "Find x.", "solution": r"So \boxed{1}, no: \boxed{\frac{3}{4}}."},
         "Find x.", r"\frac{3}{4}"),
        (readers.olympiadbench, {"context": None, "question": "How long?", "final_answer": ["45"], "unit": "minute",
         "is_multiple_answer": False}, "How long?", r"45\text{ minute}"),
        (readers.olympiadbench, {"context": "A park.", "question": "How large?", "final_answer": ["$166$"],
         "unit": "$cm^2$"}, "A park.\n\nHow large?", r"166\text{ cm^2}"),
        (readers.olympiadbench, {"question": "Which?", "final_answer": ["1,3"], "unit": None}, "Which?", "1,3"),
        (readers.dapo, {"prompt": [{"role": "user", "content":
         "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
         "$Answer (without quotes) where $Answer is the answer to the problem.\n\nIn a\n\nright triangle?\n\n"
         'Remember to put your answer on its own line after "Answer:".'}], "reward_model": {"ground_truth": "34"}},
         "In a\n\nright triangle?", "34"),
        (readers.dapo, {"prompt": [{"content": "Plain."}], "reward_model": {"ground_truth": "-1"}}, "Plain.", "-1"),
    ],
)  # fmt: skip
def test_mathematics(reader, row, text, gold):
    assert reader(row) == (text, gold, None)
    assert grade_math(gold, f"FINAL ANSWER: \\boxed{{{gold}}}")


def test_an_answer_may_leave_the_unit_out():
    row = {"question": "How long?", "final_answer": ["45"], "unit": "minute"}
    gold = readers.olympiadbench(row).gold
    assert grade_math(gold, r"\boxed{45}") and not grade_math(gold, r"\boxed{46}")


@pytest.mark.parametrize(
    ("reader", "row"),
    [
        (readers.gsm8k, {"question": "How much?", "answer": "no marker"}),
        (readers.gsm8k, {"question": "How much?", "answer": "####  "}),
        (readers.worked_solution, {"problem": "Find x.", "solution": "3"}),
        (readers.olympiadbench, {"question": "Which?", "final_answer": ["1", "2"]}),
        (readers.fields("a", "b"), {"a": " ", "b": 3}),
    ],
)
def test_rows_without_an_answer_are_refused(reader, row):
    with pytest.raises(ValueError):
        reader(row)


def test_code_contests(auto):
    cases = lambda *numbers: {"input": [f"{n}\n" for n in numbers], "output": [f"{2 * n}\n" for n in numbers]}
    row = {"description": "Double it.", "public_tests": cases(1), "private_tests": cases(2, 3), "generated_tests": None}
    item = readers.code_contests(row)
    assert "standard input" in item.text and item.gold is None
    assert [test.get("public", False) for test in item.tests] == [True, False, False]
    assert grade_code(DOUBLE, item.tests, auto) and not grade_code("print(2)", item.tests, auto)
    many = {**row, "generated_tests": cases(*range(200))}
    fewer = readers.code_contests(readers.fewer_tests(many))
    assert fewer.tests[:3] == item.tests and len(fewer.tests) == readers.TRAINING_TESTS
    with pytest.raises(NoTests):
        readers.code_contests({**row, "public_tests": cases(), "private_tests": cases()})


def test_examples_that_the_statement_prints_are_public():
    text = "Sum.\n\nExample\n\nInput\n\n\n2 3\n\n\nOutput\n\n\n5\n\nInput\n\n1 1\n\nOutput\n\n23"
    row = {"problem": text, "tests": {"inputs": ["2 3\n", "1 1\n", "3 2\n"], "outputs": ["5 \n", "2\n", "5\n"]}}
    assert [test.get("public", False) for test in readers.stream_lists(row).tests] == [True, False, False]


def test_apps_with_standard_input(auto):
    cases = {"inputs": ["1\n2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]}
    item = readers.apps({"question": "Add.", "input_output": json.dumps(cases), "starter_code": ""})
    assert item.tests == [{"input": "1\n2\n", "output": "3\n"}, {"input": "3\n4", "output": "7"}]
    assert grade_code("print(int(input()) + int(input()))", item.tests, auto)


@pytest.mark.parametrize("outputs", [[3, 7], [[3], [7]]])
def test_apps_with_calls(auto, outputs):
    cases = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": outputs}
    row = {"question": "Add.", "input_output": json.dumps(cases), "starter_code": "class Solution:\n    def add("}
    item = readers.apps(row)
    assert item.gold == "add" and "Start from this code" in item.text
    program = "class Solution:\n    def add(self, a, b):\n        return a + b"
    assert grade_code(program, item.tests, auto, item.gold)
    assert "Define the function add" in readers.apps({**row, "starter_code": ""}).text


@pytest.mark.parametrize(("body", "right"), [("[x]", True), ("x", True), ("[[x]]", False), ("[x, x]", False)])
def test_apps_results_of_one_may_be_wrapped_or_not(auto, body, right):
    cases = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [2]]}
    item = readers.apps({"question": "Wrap it.", "input_output": json.dumps(cases)})
    assert bool(grade_code(f"def f(x): return {body}", item.tests, auto, item.gold)) is right


def test_apps_keeps_lists_that_are_results():
    cases = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [1, 2]]}
    item = readers.apps({"question": "Divisors.", "input_output": json.dumps(cases)})
    assert [test["expected"] for test in item.tests] == [[1], [1, 2]]


@pytest.mark.parametrize("tests", ["", "{}x", '{"inputs": [], "outputs": []}', '{"inputs": [' + "9" * 5000 + "]}"])
def test_apps_rows_that_cannot_be_graded(tests):
    with pytest.raises(NoTests):
        readers.apps({"question": "Add.", "input_output": tests})


def test_livecodebench_with_standard_input(auto):
    public = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
    hidden = [{"input": "21\n", "output": "42\n", "testtype": "stdin"}]
    for private in (packed(json.dumps(hidden)), json.dumps(hidden)):
        item = readers.livecodebench(livecodebench_row(public, private))
        assert [test.get("public", False) for test in item.tests] == [True, False]
        assert grade_code(DOUBLE, item.tests, auto) and not grade_code("print(2)", item.tests, auto)


def test_livecodebench_with_calls(auto):
    case = {"input": '[1, 2]\n"a"', "output": '["a", "a", "a"]', "testtype": "functional"}
    item = readers.livecodebench(livecodebench_row([case], packed("[]"), "rep", "class Solution:\n    def rep("))
    assert item.tests == [{"args": [[1, 2], "a"], "expected": ["a", "a", "a"], "public": True}]
    program = "class Solution:\n    def rep(self, xs, s):\n        return [s] * sum(xs)"
    assert item.gold == "rep" and grade_code(program, item.tests, auto, item.gold, limits=SandboxLimits(cpu_s=5))


@pytest.mark.parametrize("protocol", range(6))
def test_hidden_tests_of_every_protocol(protocol):
    hidden = [{"input": "é\ud800\n", "output": "2"}] * 300
    content = zlib.compress(pickle.dumps(json.dumps(hidden, ensure_ascii=protocol < 3), protocol))
    assert readers.unpack_tests(base64.b64encode(content).decode()) == hidden


def test_a_pickle_cannot_ask_for_memory():
    bomb = b"X\x02\x00\x00\x00[]r\xff\xff\xff\x7f."  # a memo of 2**31 places
    tracemalloc.start()
    assert readers.unpack_tests(base64.b64encode(zlib.compress(bomb)).decode()) == []
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    huge = b"\x80\x05\x96\xff\xff\xff\xff\x0f\x00\x00\x00."  # a bytearray of 64 gigabytes
    with pytest.raises(ValueError, match="cannot be unpacked"):
        readers.unpack_tests(base64.b64encode(zlib.compress(huge)).decode())


class Hostile:
    def __reduce__(self):
        return print, ("BREACH",)


@pytest.mark.parametrize(
    "private",
    [
        packed(Hostile()),
        packed([Hostile()]),
        packed("[")[:40],
        packed(json.dumps({"no": "list"})),
        "no base64 !",
        base64.b64encode(b"no zlib").decode(),
        base64.b64encode(zlib.compress(b"no pickle")).decode(),
        base64.b64encode(zlib.compress(b"")).decode(),
    ],
)
def test_hostile_or_damaged_hidden_tests_are_refused(private, capfd):
    with pytest.raises(ValueError):
        readers.unpack_tests(private)
    assert "BREACH" not in capfd.readouterr().out


def test_a_bomb_of_hidden_tests_is_refused(monkeypatch):
    monkeypatch.setattr(readers, "MAX_TESTS_BYTES", 1000)
    with pytest.raises(ValueError, match="larger"):
        readers.unpack_tests(packed(json.dumps(["x" * 10_000])))


@given(st.binary(max_size=60))
def test_any_bytes_for_a_pickle_are_an_error_or_plain(content):
    try:
        assert isinstance(readers.unpack_tests(base64.b64encode(zlib.compress(content)).decode()), list)
    except ValueError:
        pass
