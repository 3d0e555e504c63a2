"""Benchmarks by name: shipped samples, prepared files, plain golds, and one sentence for what is missing."""

import json
import pathlib

import pytest
from data_support import PUBLISHED, write_rows

from mxjax.data import benchmarks, load_benchmark
from mxjax.data.catalogue import SETS
from mxjax.rewards import grade_math
from tests.support import optional

SAMPLED = ("gsm8k", "humaneval", "mbpp", "svamp")


@pytest.mark.parametrize("name", SAMPLED)
def test_shipped_samples(name):
    questions = load_benchmark(name)
    assert len(questions) == 50 == len({question.id for question in questions})
    assert {question.source for question in questions} == {f"{name}:sample"}
    assert {question.task_type for question in questions} == {SETS[name].task_type}
    for question in questions:
        assert question.split == "test" and question.text == question.text.strip()
        if question.task_type == "math":
            assert grade_math(question.gold, f"FINAL ANSWER: \\boxed{{{question.gold}}}").how == "integer"
        else:
            assert question.tests and all(test["check"] for test in question.tests)


def test_samples_are_of_test_splits_and_attributed():
    readme = (pathlib.Path(benchmarks.__file__).parent / "samples" / "README.md").read_text()
    assert [name for name in SETS if SETS[name].sampled] == list(SAMPLED)
    assert all(f"`{name}.jsonl`" in readme for name in SAMPLED) and "CC BY 4.0" in readme


def test_limit_is_a_seeded_sample_in_order():
    everything = [question.id for question in load_benchmark("gsm8k")]
    some = [question.id for question in load_benchmark("gsm8k", limit=10, seed=3)]
    assert some == [id for id in everything if id in some] and len(some) == 10
    assert some == [question.id for question in load_benchmark("gsm8k", limit=10, seed=3)]
    assert some != [question.id for question in load_benchmark("gsm8k", limit=10, seed=4)]
    assert len(load_benchmark("gsm8k", limit=99)) == 50


def test_a_prepared_file_goes_before_the_sample(tmp_path, monkeypatch):
    (tmp_path / "gsm8k").mkdir()
    row = {"question": "How much?", "answer": "1,000 + 234 = <<1000+234=1234>>\n#### 1,234"}
    (tmp_path / "gsm8k" / "test.jsonl").write_text(json.dumps(row))
    (question,) = load_benchmark("gsm8k", data_dir=str(tmp_path))
    assert (question.id, question.gold, question.source) == ("gsm8k:1", "1234", "gsm8k")
    monkeypatch.setenv("MXJAX_DATA", str(tmp_path))
    assert load_benchmark("gsm8k") == [question]


def test_a_wrong_row_is_named(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text(json.dumps({"question": "How much?", "answer": "no marker"}))
    with pytest.raises(ValueError, match=r"test\.jsonl, line 1: not a row of gsm8k"):
        load_benchmark("gsm8k", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "math500",
            r"run `mxjax data prepare math500 --from PATH`, or put its rows in .*/math500/test.jsonl \(--data_dir,",
        ),
        ("mbpp/train", "mbpp/train is not here: run `mxjax data prepare mbpp/train`"),
        ("dapo", "dapo has no test split, only train"),
        ("gsm8k/dev", "gsm8k has no split 'dev': one of train, test"),
        ("chain_sum", "Unknown benchmark 'chain_sum': use one of aime24"),
        ("jsonl:/nowhere/at/all.jsonl", "Cannot read the question file /nowhere/at/all.jsonl"),
    ],
)
def test_missing_benchmarks(name, message):
    with pytest.raises(ValueError, match=message) as error:
        load_benchmark(name)
    assert "\n" not in str(error.value)


def test_limit_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        load_benchmark("gsm8k", limit=0)


def test_procedural_and_file_benchmarks(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "3 + 2", "answer": "5"}\n{"question": "3 + 3", "answer": "6"}\n')
    assert [q.gold for q in load_benchmark(f"jsonl:{tmp_path / 'q.jsonl'}")] == ["5", "6"]
    assert len(load_benchmark(f"jsonl:{tmp_path / 'q.jsonl'}", limit=1)) == 1
    optional("reasoning_gym")
    assert len(load_benchmark("reasoning_gym:chain_sum", limit=30)) == 30
    assert load_benchmark("reasoning_gym:chain_sum", seed=1)[0].split == "test"


def test_a_users_task_is_a_benchmark(tmp_path, monkeypatch):
    (tmp_path / "own_benchmark.py").write_text(
        "from mxjax.rollout import Question, Task\n"
        "def make():\n"
        "    return Task(lambda split, seed: [Question(f'{split}{i}', f'{i}?', gold=str(i)) for i in range(9)])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert [question.id for question in load_benchmark("own_benchmark:make")] == [f"test{i}" for i in range(9)]
    assert len(load_benchmark("own_benchmark:make", limit=4)) == 4


def test_a_split_takes_its_own_rows_of_a_common_file(data_directory):
    row = {
        "text": "Add.",
        "code": "def add(a, b): return a + b",
        "test_setup_code": "",
        "test_list": ["assert add(1, 2) == 3"],
    }
    rows = [{**row, "task_id": i, "text": f"Add {i}."} for i in (1, 10, 11, 510, 511, 600, 601, 974)]
    for split, ids in (("test", (11, 510)), ("validation", (511, 600)), ("train", (601, 974))):
        write_rows(data_directory / "mbpp" / f"{split}.jsonl", *rows)
        questions = load_benchmark(f"mbpp/{split}")
        assert [question.text.split(".")[0] for question in questions] == [f"Add {i}" for i in ids]
        assert [test.get("public") for test in questions[0].tests] == [True]
        assert load_benchmark(f"mbpp/{split}", limit=2) == questions
        assert load_benchmark(f"mbpp/{split}", limit=1)[0] in questions


def test_a_set_without_test_questions_says_so():
    with pytest.raises(ValueError, match="dapo has no test split, only train: name another set"):
        benchmarks.text_keys("dapo")


COUNTS = {
    "aime24": 30, "aime25": 30, "amc23": 40, "code_contests": 165, "gsm8k": 1319, "gsm8k/train": 7473,
    "humaneval": 164, "math500": 500, "mawps": 2065, "mbpp": 500, "mbpp/train": 374, "mbpp/validation": 90,
    "olympiadbench": 675, "svamp": 1000,
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_published_files(name, data_directory):
    set_name, _, split = name.partition("/")
    source = PUBLISHED / set_name / ("mbpp.jsonl" if set_name == "mbpp" else f"{split or 'test'}.jsonl")
    if not source.exists():
        pytest.skip(f"the published file of {name} is not beside the repository")
    (data_directory / set_name).mkdir(parents=True)
    (data_directory / set_name / f"{split or 'test'}.jsonl").write_bytes(source.read_bytes())
    questions = load_benchmark(name)
    assert len(questions) == COUNTS[name] and COUNTS[name] in SETS[set_name].splits[split or "test"].rows
    assert {question.source for question in questions} == {name}
    if SETS[set_name].task_type == "math":
        assert all(grade_math(q.gold, f"FINAL ANSWER: \\boxed{{{q.gold}}}") for q in questions)
    else:
        assert all(question.tests for question in questions)
    if name == "code_contests":
        shown = sum(any(test.get("public") for test in question.tests) for question in questions)
        assert shown == 139  # the others accept several outputs, and the test holds another than the statement
