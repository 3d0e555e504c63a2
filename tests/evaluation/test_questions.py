"""The questions of a benchmark: each id once, samples named as such."""

import dataclasses

import pytest

from mxjax.data import load_benchmark
from mxjax.evaluation.harness import distinct, shown_name
from mxjax.rollout import Question

SUM = Question("sum", "1 + 1", gold="2")


def test_an_id_stands_for_one_question():
    other = Question("other", "1 + 1", gold="2")
    assert distinct("own", [SUM, other, dataclasses.replace(SUM)]) == [SUM, other]
    with pytest.raises(ValueError, match="own has two different questions with the id 'sum'"):
        distinct("own", [SUM, dataclasses.replace(SUM, text="2 + 2")])


def test_rows_on_a_shipped_sample_say_so(tmp_path):
    sample = load_benchmark("gsm8k", limit=2, data_dir=str(tmp_path))
    assert shown_name("gsm8k", sample) == shown_name("gsm8k/test", sample) == "gsm8k:sample"
    assert shown_name("jsonl:own.jsonl", [SUM]) == "jsonl:own.jsonl"
