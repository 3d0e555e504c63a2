"""What cannot be graded is refused when it is loaded, by file, line, id and what is wrong with it."""

import codecs
import gzip
import json
import types

import pytest
from data.data_support import write_rows
from hypothesis import given
from hypothesis import strategies as st

from mxjax import cli
from mxjax.cold_start.sft import read_conversations
from mxjax.data import load_benchmark, load_questions
from mxjax.data.gradable import SHAPES, check_gradable
from mxjax.data.prepared import load_split
from mxjax.data.readers import last_box
from mxjax.errors import UserError
from mxjax.mas.prompts import load_prompts
from mxjax.rollout.records import Question, Task

STREAM, CALL, CHECK = {"input": "1", "output": "2"}, {"args": [1], "expected": 2}, {"check": "assert f(1) == 2"}


def code(*tests, gold="f"):
    return {"id": "c7", "question": "Write f.", "task_type": "code", "answer": gold, "tests": list(tests)}


def loaded(tmp_path, *rows):
    return load_questions(f"jsonl:{write_rows(tmp_path / 'q.jsonl', *rows)}")


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ({**STREAM, "inputs": "1"}, "test 2 has the unknown key 'inputs'"),
        ({**CALL, "time_limit": 3}, "test 2 has the unknown key 'time_limit'"),
        ({**CHECK, "tolerance": 1e-3}, "test 2 has the unknown key 'tolerance'"),
        ({**STREAM, **CALL}, "test 2 has the unknown key 'args'"),
        ({"stdin": "1", "stdout": "2"}, "test 2 has the keys stdin, stdout: it needs input and output, args"),
        ({"args": [1]}, "test 2 has the keys args: it needs"),
        ({}, "test 2 has the keys none: it needs"),
        ([1, 2], "test 2 must be an object, got list"),
        ({"input": ["1"], "output": "2"}, "test 2 has input of the wrong kind: it must be text"),
        ({"args": 1, "expected": 2}, "test 2 has args of the wrong kind: it must be a list, got 1"),
        ({**CALL, "public": "yes"}, "test 2 has public of the wrong kind: it must be True or False"),
        ({**CHECK, "functions": [1]}, "test 2 has functions that are not names"),
        ({**CALL, "tolerance": -1}, "test 2 has the tolerance -1"),
        ({**CALL, "tolerance": "small"}, "test 2 has the tolerance 'small'"),
        ('{"args": [1], "expected": [1, {"a": NaN}]}', "test 2 expects NaN"),
        ('{"args": [1], "expected": 1, "tolerance": NaN}', "test 2 has the tolerance nan"),
    ],
)
def test_a_test_of_no_known_shape_is_refused(test, says, tmp_path):
    row = json.dumps(code(CALL, "THIS")).replace('"THIS"', test if isinstance(test, str) else json.dumps(test))
    with pytest.raises(UserError) as caught:
        loaded(tmp_path, {"question": "1 + 1", "answer": 2}, row)
    assert f"{tmp_path / 'q.jsonl'}, line 2 (id c7): {says}" in str(caught.value)


def test_every_known_key_of_a_test_is_taken(tmp_path):
    more = {"setup": "import os", "public": True}
    tests = [{**STREAM, "tolerance": 1e-3, **more}, {**CALL, "tolerance": None, "wrapped": True, **more}]
    tests += [{**CHECK, "prelude": "", "functions": ["f"], **more}]
    assert loaded(tmp_path, code(*tests))[0].tests == tests
    assert {key for own, extra in SHAPES for key in own | extra} | set(more) == {key for test in tests for key in test}


def test_calls_need_the_functions_name(tmp_path):
    with pytest.raises(UserError, match="test 1 has args, which needs the name of the function"):
        loaded(tmp_path, code(CALL, gold=None))
    assert loaded(tmp_path, code(STREAM, CHECK, gold=None))[0].gold is None


@pytest.mark.parametrize(
    ("gold", "says"),
    [
        ("NaN", "needs the answer"), ("Infinity", "needs the answer"), ("-Infinity", "needs the answer"),
        ('"nan"', "'nan' is no value"), ('"NaN"', "'NaN' is no value"), ('"null"', "'null' is no value"),
        ('"12 + 7 = 19 #### 19"', "is a worked one: keep what stands after ####"),
        (r'"\\frac{1}{2"', "cannot be read"), (r'"so \\boxed{5}"', "cannot be read"), ('"}"', "cannot be read"),
        (json.dumps("9" * 600), "cannot be read"), (r'"\ud800"', "cannot be read"),
    ],
)  # fmt: skip
def test_an_answer_that_nothing_can_equal_is_refused(gold, says, tmp_path):
    with pytest.raises(UserError) as caught:
        loaded(tmp_path, f'{{"id": 3, "question": "How many?", "answer": {gold}}}')
    place = str(tmp_path / "q.jsonl") + ", line 1 (id 3): "
    assert str(caught.value).startswith(place) and says in str(caught.value)


@pytest.mark.parametrize("gold", [r"\frac{1}{2}", "5", "5.50", "x^2+1", "(1,2)", r"\{1,2\}", "1,000", "50\\%", "(C)"])
def test_an_answer_in_its_own_form_is_taken(gold, tmp_path):
    assert loaded(tmp_path, {"question": "How many?", "answer": gold})[0].gold == gold


@given(st.text(min_size=1, max_size=30))
def test_any_text_is_graded_or_refused_never_an_error(gold):
    for kind in ("math", "text"):
        try:
            check_gradable(Question("q", "How many?", kind, gold), "here")
        except UserError as error:
            assert str(error).startswith("here: ")


def test_a_question_that_no_tokenizer_reads_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"line 1: the question has half of a character at 4 \(a lone surrogate\)"):
        loaded(tmp_path, r'{"question": "Add \ud83d", "answer": "5"}')


def test_one_text_has_one_answer(tmp_path):
    rows = [{"id": "a", "question": "What is 2 + 2?", "answer": "4"}, {"id": "b", "question": "3", "answer": "3"}]
    again = {"id": "z", "question": "What is  2 + 2?"}
    with pytest.raises(UserError, match=r"Questions a and z of jsonl:.* have one text and the answers '4' and '5'"):
        loaded(tmp_path, *rows, {**again, "answer": "5"})
    assert len(loaded(tmp_path, *rows, {**again, "answer": "4.0"})) == 2  # the same answer, and the text once
    assert len(loaded(tmp_path, *rows, {**again, "answer": "four", "question": "What is 2 + 3?"})) == 3
    with pytest.raises(UserError, match="have one text"):
        load_benchmark(f"jsonl:{write_rows(tmp_path / 'q.jsonl', *rows, {**again, 'answer': '5'})}")


@pytest.fixture
def own_task(monkeypatch):
    """A user's task of given questions, by name."""

    def make(questions, verify=None):
        module = types.ModuleType("own_questions")
        module.make = lambda: Task(questions, verify)
        monkeypatch.setitem(__import__("sys").modules, "own_questions", module)
        return "own_questions:make"

    return make


def test_the_questions_of_a_task_are_looked_at_likewise(own_task):
    good = Question("g", "1 + 1", gold="2")
    for wrong, says in [
        (Question("w", "2 + 2"), "question w: the answer must be text that is not empty, got None"),
        (Question("w", "2 + 2", gold="nan"), "question w: the answer 'nan' is no value"),
        (Question("w", "Draw it.", "picture", "x"), "the task_type 'picture' needs a verify of its own"),
        (Question("w", "Write f.", "code", "f", [{"arg": [1]}]), "question w: test 1 has the keys arg"),
        (Question("w", "1 + 1", gold="3"), "Questions g and w .* have one text"),
        ("1 + 1", "must hold Question records, number 1 is of str"),
    ]:
        with pytest.raises(UserError, match=says):
            load_questions(own_task([good, wrong]))
        if isinstance(wrong, Question) and wrong.text != good.text:  # a verifier takes what it likes
            assert len(load_questions(own_task([good, wrong], lambda question, answer: True))) == 2


def test_a_row_without_a_name_gets_one(tmp_path):
    ids = [q.id for q in loaded(tmp_path, *({"id": None, "question": f"{n} + 1", "answer": n + 1} for n in range(3)))]
    assert len(set(ids)) == 3 and "None" not in ids


# A mark before the first line, as some editors leave it


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json"])
def test_a_byte_order_mark_is_read(ending, tmp_path, data_directory):
    row = {"question": "3 + 2", "answer": "So\n#### 5"}
    text = codecs.BOM_UTF8 + json.dumps([row] if ending == "json" else row).encode()
    path = tmp_path / f"rows.{ending}"
    path.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    assert cli.main(["data", "prepare", "gsm8k/test", "--from", str(path), "--partial"]) == 0
    assert load_split("gsm8k", "test")[0].gold == "5"


def test_a_byte_order_mark_is_read_in_every_file_of_the_users(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(codecs.BOM_UTF8 + b'{"question": "3 + 2", "answer": 5}\r\n\r\n')
    assert load_questions(f"jsonl:{path}")[0].gold == "5"
    path.write_bytes(codecs.BOM_UTF8 + '{"messages": [{"role": "assistant", "content": "a\u2028b"}]}\n\n'.encode())
    assert read_conversations(str(path))[0][0]["content"] == "a\u2028b"
    (tmp_path / "prompts.toml").write_bytes(codecs.BOM_UTF8 + b'first_agent = "Q: {question}"\r\n')
    assert load_prompts(tmp_path / "prompts.toml").first_agent == "Q: {question}"
    (tmp_path / "design.py").write_bytes(codecs.BOM_UTF8 + b"x = 1\n")
    assert cli.main(["design", "show", str(tmp_path / "design.py")]) == 0


# Golds out of worked solutions


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        (r"so it is $\boxed{2}$.", "2"), (r"so it is $\boxed 2$.", "2"), (r"so it is $\fbox{2}$.", "2"),
        (r"$\fbox{1}$, no: $\boxed{2}$", "2"), (r"$\boxed{1}$, no: $\fbox{2}$", "2"),
        (r"it is $\boxed {\frac12}$", r"\frac12"), (r"it is $\boxed\frac{1}{2}$", r"\frac{1}{2}"),
        (r"it is $x=\boxed 2 + y$ then", "2 + y"), (r"\boxed 9. So", "9"), (r"is \[\boxed{\{1,2\}}\]", r"\{1,2\}"),
        (r"Final answer: none yet. $\boxed{3}$, see above", "3"),
    ],
)  # fmt: skip
def test_the_last_box_is_the_answer_however_it_is_written(solution, gold):
    assert last_box(solution) == gold


@pytest.mark.parametrize("solution", ["it is 2", r"it is $\boxed{2", r"\boxedtext{2}", r"$\boxed{}$ then $\boxed$"])
def test_a_solution_without_an_answer_is_refused(solution, tmp_path):
    rows = write_rows(tmp_path / "r.jsonl", {"problem": "How many?", "solution": solution})
    assert cli.main(["data", "prepare", "math/train", "--from", str(rows), "--output", str(tmp_path)]) == 2


# Damaged rows


GOOD = [{"unique_id": f"u{n}", "problem": f"What is {n}?", "answer": str(n)} for n in range(4)]
BAD = [
    ('{"problem": "cut', "line 2: not valid JSON"),
    ("[1]", "line 2: expected a JSON object"),
    ({"unique_id": "u9", "problem": "What?"}, "line 2 (id u9): not a row of math500 (no column 'answer')"),
    ({"unique_id": "u9", "problem": "", "answer": "1"}, "line 2 (id u9): not a row of math500 (the question or its"),
    (
        {"unique_id": "u9", "problem": "What?", "answer": r"\frac{1"},
        "line 2 (id u9): the answer '\\\\frac{1' cannot be",
    ),
]


@pytest.mark.parametrize(("bad", "says"), BAD)
def test_a_damaged_row_names_itself_and_is_left_out_on_demand(bad, says, tmp_path, data_directory, capsys):
    path = write_rows(tmp_path / "rows.jsonl", GOOD[0], bad, *GOOD[1:])
    command = ["data", "prepare", "math500", "--from", str(path)]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert f"{path}, {says}" in said and "or leave such rows out with --partial" in said and said.count("\n") == 1
    assert not list(data_directory.rglob("*.jsonl*"))
    assert cli.main([*command, "--partial"]) == 0
    printed = capsys.readouterr().out
    assert "math500/test: 4 questions" in printed and f"left out: {path}, {says}" in printed
    assert [question.gold for question in load_split("math500", "test")] == ["0", "1", "2", "3"]
    manifest = json.loads((data_directory / "math500" / "test.manifest.json").read_text())
    assert (manifest["rows"], manifest["damaged"]) == (4, 1)


def test_many_damaged_rows_are_counted(tmp_path, data_directory, capsys):
    path = write_rows(tmp_path / "rows.jsonl", *GOOD, *(["{"] * 25))
    assert cli.main(["data", "prepare", "math500", "--from", str(path), "--partial"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("left out:") == 10 and "and 15 rows more" in printed
