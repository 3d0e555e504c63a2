"""Specs to questions: generators, files, mixtures and users' own tasks; every mistake is one clear sentence."""

import json
import re
import subprocess
import sys
import types

import pytest
from ml_collections import ConfigDict

from mxjax.data import Task, load_questions, load_task, texts_of
from mxjax.data.arithmetic import evaluate
from mxjax.data.sources import read_jsonl
from mxjax.rollout.records import Question
from tests.support import optional

CHAIN_SUM = "reasoning_gym:chain_sum"
SMALL = {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2}


@pytest.fixture
def gym():
    return optional("reasoning_gym")


def chain_sum(**fields):
    return {"source": CHAIN_SUM, "options": SMALL, **fields}


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return f"jsonl:{path}"


def test_importing_data_does_not_import_reasoning_gym():
    program = "import sys, mxjax.data; print('reasoning_gym' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"


def test_without_reasoning_gym_the_error_names_the_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ImportError, match=r"pip install 'mxjax\[data\]'"):
        load_questions(CHAIN_SUM, size=2)


def test_a_stream_is_a_function_of_its_arguments(gym):
    questions = load_questions(chain_sum(), "train", 3, 50)
    assert questions == load_questions(ConfigDict(chain_sum()), "train", 3, 50)
    assert questions[:20] == load_questions(chain_sum(), "train", 3, 20)
    assert texts_of(questions) != texts_of(load_questions(chain_sum(), "train", 4, 50))
    assert texts_of(questions) != texts_of(load_questions(chain_sum(), "test", 3, 50))


def test_questions_carry_what_is_promised(gym):
    for question in load_questions(chain_sum(form="bare"), "train", 0, 50):
        assert question.source == CHAIN_SUM and question.split == "train" and question.task_type == "math"
        assert question.id.startswith(CHAIN_SUM)
        assert evaluate(question.text) == int(question.gold)


@pytest.mark.parametrize("task", ["basic_arithmetic", "products", "chain_sum"])
def test_bare_and_task_forms(gym, task):
    source = f"reasoning_gym:{task}"
    bare = load_questions({"source": source, "form": "bare"}, size=40)
    wordy = load_questions({"source": source, "form": "task"}, size=40)
    assert texts_of(bare) == texts_of(wordy)
    assert all(b.text in w.text and b.text != w.text for b, w in zip(bare, wordy, strict=True))


def test_sums_have_terms_of_mixed_length_and_right_golds():
    spec = {"source": "arithmetic:sums", "options": {**SMALL, "max_terms": 3}, "form": "mixed", "distinct": False}
    questions = load_questions(spec, "train", 0, 2_000)
    assert questions == load_questions(spec, "train", 0, 2_000)
    numbers = [re.findall(r"\d+", question.text) for question in questions]
    assert {len(n) for n in numbers} == {2, 3} and {len(x) for n in numbers for x in n} == {1, 2}
    mixed = [n for n in numbers if len({len(x) for x in n}) > 1]
    assert 0.5 < len(mixed) / 2_000 < 0.75  # 1/2 of two terms, 3/4 of three
    for question in questions:
        expression = question.text.removeprefix("What is ").removesuffix("?")
        assert str(eval(expression)) == question.gold  # CPython as the oracle, on text of digits, + and -
    bare = sum(question.text[0].isdigit() for question in questions)
    assert 0.45 < bare / 2_000 < 0.55


@pytest.mark.parametrize("options", [{"min_terms": 3, "max_terms": 2}, {"min_digits": 0}, {"terms": 2}])
def test_impossible_sums_are_refused(options):
    with pytest.raises(ValueError, match="arithmetic:sums refuses the options"):
        load_questions({"source": "arithmetic:sums", "options": options}, size=2)


def test_mixed_form_keeps_its_share(gym):
    questions = load_questions(chain_sum(form="mixed", bare_share=0.25), size=2_000)
    bare = sum(not question.text.startswith("State") for question in questions)
    assert 0.2 < bare / 2_000 < 0.3


def test_golds_that_the_generator_got_wrong_are_left_out(gym):
    spec = {"source": "reasoning_gym:basic_arithmetic", "form": "bare", "options": {"allow_parentheses": False}}
    for question in load_questions(spec, size=200):
        assert evaluate(question.text) == int(question.gold)


def test_tasks_with_words_for_answers(gym):
    assert {q.task_type for q in load_questions("reasoning_gym:spell_backward", size=20)} == {"text"}
    assert {q.task_type for q in load_questions("reasoning_gym:letter_counting", size=20)} == {"math"}
    with pytest.raises(ValueError, match="no bare arithmetic form"):
        load_questions({"source": "reasoning_gym:letter_counting", "form": "bare"}, size=2)


def test_a_space_can_be_drawn_to_its_end_but_not_further(gym):
    spec = chain_sum(options={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
    assert len(texts_of(load_questions(spec, size=200))) == 200
    with pytest.raises(ValueError, match="only 200 questions to give, 201 were asked for"):
        load_questions(spec, size=201)
    repeated = load_questions({**spec, "distinct": False}, size=500)
    assert len({question.id for question in repeated}) == 500 and len(texts_of(repeated)) <= 200


def test_excluded_texts_do_not_occur_in_any_wording(gym):
    bare = load_questions(chain_sum(form="bare"), seed=1, size=100)
    again = load_questions(chain_sum(form="task"), seed=1, size=100, exclude_texts=[q.text for q in bare])
    assert not texts_of(bare) & texts_of(again)


def test_mixture_by_weight(gym):
    mixture = [chain_sum(weight=3.0), {"source": "reasoning_gym:products", "weight": 1.0}]
    questions = load_questions(mixture, size=101)
    assert [q.source for q in questions].count(CHAIN_SUM) == 76 and len(questions) == 101
    assert len(texts_of(questions)) == 101
    with pytest.raises(ValueError, match="set size"):
        load_questions(mixture)
    with pytest.raises(ValueError, match="must not all be zero"):
        load_questions([chain_sum(weight=0), chain_sum(weight=0)], size=5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("chain_sum", "Unknown question source 'chain_sum'"),
        (chain_sum(colour="red"), "unknown key 'colour'"),
        ({"options": {}}, "no key 'source'"),
        (7, "a string, a mapping or a list"),
        ([], "mixture is empty"),
        *[(chain_sum(weight=weight), "weight") for weight in (float("inf"), float("nan"), -1, "heavy", True, None)],
        *[(chain_sum(bare_share=share), "bare_share") for share in (float("nan"), -0.1, "x")],
        (chain_sum(distinct="no"), "distinct must be True or False"),
        (chain_sum(options="fast"), "options must be a mapping"),
        ({"source": 7}, "source must be text"),
        (chain_sum(form="verse"), "form must be one of"),
        (chain_sum(form="mixed", bare_share=2.0), "bare_share"),
        (chain_sum(options={"bogus": 1}), "refuses the options"),
        (chain_sum(options={"min_terms": 3, "max_terms": 2}), "refuses the options"),
        ("reasoning_gym:no_such_task", "no task 'no_such_task'"),
        ("no_such_module:task", "Cannot import 'no_such_module'"),
        ("json:no_such_function", "no function 'no_such_function'"),
        ("time:time", "must return a mxjax.data.Task"),
    ],
)
def test_wrong_specs(gym, spec, message):
    with pytest.raises(ValueError, match=message):
        load_questions(spec, size=3)


def test_generators_need_a_size(gym):
    with pytest.raises(ValueError, match="set the number of questions"):
        load_questions(CHAIN_SUM)
    with pytest.raises(ValueError, match="at least 1"):
        load_questions(CHAIN_SUM, size=0)


def test_jsonl(tmp_path):
    spec = write(
        tmp_path / "q.jsonl",
        {"question": "3 + 2", "answer": 5},
        "",
        {"id": "mine", "text": "colour of the sky", "gold": "blue", "task_type": "text"},
        {"problem": "print 1", "task_type": "code", "tests": [{"input": "", "output": "1"}]},
    )
    first, second, third = load_questions(spec, "test")
    assert (first.text, first.gold, first.task_type, first.split) == ("3 + 2", "5", "math", "test")
    assert (second.id, second.gold, second.task_type) == ("mine", "blue", "text")
    assert third.tests == [{"input": "", "output": "1"}]


def test_jsonl_sample_is_seeded_and_in_order(tmp_path):
    spec = write(tmp_path / "q.jsonl", *({"question": f"What about {i}?", "answer": i} for i in range(100)))
    some = load_questions(spec, seed=1, size=10)
    assert some == load_questions(spec, seed=1, size=10) != load_questions(spec, seed=2, size=10)
    golds = [int(question.gold) for question in some]
    assert golds == sorted(golds)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "line 2: not valid JSON"),
        ("[1]", "line 2: expected a JSON object"),
        ({"answer": "5"}, "line 2: needs a non-empty string"),
        ({"question": "  ", "answer": "5"}, "line 2: needs a non-empty string"),
        ({"question": "3 + 2"}, "line 2: needs the answer"),
        ({"question": "3 + 2", "answer": ""}, "line 2: needs the answer"),
        ({"question": "3 + 2", "answer": True}, "line 2: needs the answer"),
        ({"question": "3 + 2", "answer": None}, "line 2: needs the answer"),
        ({"question": "3 + 2", "answer": "5", "task_type": "poem"}, "line 2: task_type"),
        ({"question": "print", "task_type": "code", "tests": []}, "line 2: a code question needs"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, row, message):
    spec = write(tmp_path / "q.jsonl", {"question": "1 + 1", "answer": "2"}, row)
    with pytest.raises(ValueError, match=message) as error:
        load_questions(spec)
    assert str(tmp_path / "q.jsonl") in str(error.value) and "\n" not in str(error.value)


def test_missing_empty_and_binary_files(tmp_path):
    with pytest.raises(ValueError, match="Cannot read the question file"):
        read_jsonl(str(tmp_path / "absent.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(ValueError, match="is empty"):
        read_jsonl(str(tmp_path / "empty.jsonl"))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="Cannot read the question file"):
        read_jsonl(str(tmp_path / "binary.jsonl"))


def test_a_users_task(monkeypatch, tmp_path):
    sums = [Question(f"s{i}", f"{i} + {i}", gold=str(2 * i)) for i in range(10)]
    module = types.ModuleType("my_sums")
    module.fixed = lambda: Task(sums, verify=lambda question, answer: answer == question.gold)
    module.made = lambda: Task(lambda split, seed: sums[seed:])
    module.empty = lambda: Task([])
    module.fails = lambda: 1 / 0
    module.late = lambda: Task(lambda split, seed: 1 / 0)
    monkeypatch.setitem(sys.modules, "my_sums", module)
    assert [q.gold for q in load_questions("my_sums:fixed", "test")] == [q.gold for q in sums]
    assert {q.split for q in load_questions("my_sums:fixed", "test")} == {"test"}
    assert len(load_questions("my_sums:made", seed=4)) == 6
    assert load_task("my_sums:fixed").verify(sums[1], "2")
    with pytest.raises(ValueError, match="has no questions"):
        load_questions("my_sums:empty")
    for name in ("fails", "late"):
        with pytest.raises(ValueError, match=rf"The task 'my_sums:{name}' .* fails with ZeroDivisionError: division"):
            load_questions(f"my_sums:{name}")
    (tmp_path / "misspelt.py").write_text("def make(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ValueError, match="'misspelt:make' cannot be read, since importing its module fails with Syntax"
    ):
        load_questions("misspelt:make")
    with pytest.raises(ValueError, match="only 10 questions to give, 11"):
        load_questions("my_sums:fixed", size=11)
    with pytest.raises(ValueError, match="no questions left"):
        load_questions("my_sums:fixed", exclude_texts=texts_of(sums))
