"""Benchmarks by name: shipped samples, prepared files, plain golds, and one sentence for what is missing."""

import json
import pathlib

import pytest

from mxjax.data import load_benchmark
from mxjax.data.benchmarks import ADAPTERS, plain_number
from mxjax.rewards import grade_math
from tests.support import optional

PREPARED = pathlib.Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def no_data_directory(monkeypatch):
    monkeypatch.delenv("MXJAX_DATA", raising=False)


@pytest.mark.parametrize("name", ["gsm8k", "svamp"])
def test_shipped_samples(name):
    questions = load_benchmark(name)
    assert len(questions) == 50 == len({question.id for question in questions})
    assert {question.source for question in questions} == {f"{name}:sample"}
    for question in questions:
        assert question.split == "test" and question.text == question.text.strip()
        assert grade_math(question.gold, f"FINAL ANSWER: \\boxed{{{question.gold}}}").how == "integer"


def test_limit_is_a_seeded_sample_in_order():
    everything = [question.id for question in load_benchmark("gsm8k")]
    some = [question.id for question in load_benchmark("gsm8k", limit=10, seed=3)]
    assert some == [id for id in everything if id in some] and len(some) == 10
    assert some == [question.id for question in load_benchmark("gsm8k", limit=10, seed=3)]
    assert some != [question.id for question in load_benchmark("gsm8k", limit=10, seed=4)]
    assert len(load_benchmark("gsm8k", limit=99)) == 50


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
        ("math500", "put its rows in <data_dir>/math500/test.jsonl and set --data_dir or MXJAX_DATA"),
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


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_full_benchmarks_grade_their_own_golds(name):
    if not (PREPARED / name / "test.jsonl").exists():
        pytest.skip(f"the full {name} file is not beside the repository")
    questions = load_benchmark(name, data_dir=str(PREPARED))
    assert {question.source for question in questions} == {name}
    assert all(grade_math(question.gold, f"FINAL ANSWER: \\boxed{{{question.gold}}}") for question in questions)
