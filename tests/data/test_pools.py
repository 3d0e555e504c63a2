"""Held-out questions never meet training, and a step's questions depend on (seed, step) alone."""

import collections
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxjax.data import QuestionStream, disjoint_pools, held_out, load_questions, pools, texts_of
from mxjax.rollout.records import Question
from tests.support import optional

SUMS = {
    "source": "reasoning_gym:chain_sum",
    "options": {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2},
}
POOL = [Question(f"q{i}", f"What about {i}?", gold=str(i)) for i in range(23)]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("form", ["task", "bare", "mixed"])
def test_real_streams_have_no_text_in_common(seed, form):
    optional("reasoning_gym")
    pools = disjoint_pools({**SUMS, "form": form}, 5_120, 256, seed, held_out_spec={**SUMS, "form": "bare"})
    assert len(pools.held_out) == len(texts_of(pools.held_out)) == 256
    assert len(pools.train) == len(texts_of(pools.train)) == 5_120
    assert not texts_of(pools.train) & texts_of(pools.held_out)
    assert {q.split for q in pools.held_out} == {"test"} and {q.split for q in pools.train} == {"train"}


def test_the_streams_would_meet_if_nothing_kept_them_apart():
    optional("reasoning_gym")
    test = held_out(SUMS, 256, seed=0)
    assert texts_of(load_questions(SUMS, "train", 0, 5_120)) & texts_of(test)


def test_the_held_out_set_does_not_depend_on_training():
    optional("reasoning_gym")
    assert disjoint_pools(SUMS, 1_000, 50, 7).held_out == disjoint_pools(SUMS, 2_000, 50, 7).held_out


def test_a_pool_too_small_for_its_held_out_set():
    optional("reasoning_gym")
    with pytest.raises(ValueError, match="hold out at most 5, or train on a larger pool"):
        disjoint_pools(SUMS, 100, 10)
    assert len(disjoint_pools(SUMS, 100, 10, ratio=10).train) == 100


def test_training_may_repeat_questions_but_held_out_ones_are_distinct():
    optional("reasoning_gym")
    pools = disjoint_pools({**SUMS, "distinct": False}, 5_000, 100)
    assert len(texts_of(pools.held_out)) == 100
    assert len(texts_of(pools.train)) < 5_000 == len({question.id for question in pools.train})
    assert not texts_of(pools.train) & texts_of(pools.held_out)


def test_a_file_is_split_without_loss(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [{"question": f"What about {i % 105}?", "answer": i % 105} for i in range(110)]
    path.write_text("\n".join(map(json.dumps, rows)))
    pools = disjoint_pools(f"jsonl:{path}", None, 5)
    assert len(pools.held_out) == 5 and len(pools.train) == 100
    assert not texts_of(pools.train) & texts_of(pools.held_out)


def test_a_digest_tells_pools_apart():
    digest = pools.Pools(POOL[:5], POOL[5:]).digest
    assert digest == pools.Pools(list(POOL[:5]), POOL[5:]).digest
    others = [(POOL[:6], POOL[6:]), (POOL[4::-1], POOL[5:]), (POOL[:5], POOL[6:]), (POOL[5:], POOL[:5])]
    changed = [dataclasses.replace(POOL[0], text="Another text?"), *POOL[1:5]]
    assert digest not in {pools.Pools(*other).digest for other in [*others, (changed, POOL[5:])]}


def test_a_batch_is_a_function_of_seed_and_step():
    stream = QuestionStream(POOL, seed=5, questions_per_step=4)
    forwards = [stream.batch(step) for step in range(40)]
    backwards = [QuestionStream(POOL, 5, 4).batch(step) for step in reversed(range(40))]
    assert forwards == backwards[::-1]
    np.random.seed(0)
    assert stream.batch(17) == forwards[17]
    assert forwards != [QuestionStream(POOL, 6, 4).batch(step) for step in range(40)]


def test_the_order_is_the_same_in_every_version():
    assert [q.id for q in QuestionStream(POOL, seed=5, questions_per_step=4).batch(7)] == ["q6", "q18", "q11", "q1"]


def test_an_epoch_asks_no_question_twice():
    stream = QuestionStream(POOL, seed=-1, questions_per_step=4)
    assert stream.steps_per_epoch == 5
    epochs = [[q.id for step in range(e * 5, e * 5 + 5) for q in stream.batch(step)] for e in range(30)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 30
    assert {id for epoch in epochs for id in epoch} == {q.id for q in POOL}


@pytest.mark.parametrize(
    ("pool", "size", "message"),
    [
        ([], 4, "data set is empty"),
        (POOL[:3], 4, "cannot be drawn from a pool of 3"),
        (POOL, 0, "cannot be drawn"),
        (POOL + POOL[:1], 4, "same id"),
    ],
)
def test_wrong_streams(pool, size, message):
    with pytest.raises(ValueError, match=message):
        QuestionStream(pool, 0, size)


def test_a_negative_step():
    with pytest.raises(ValueError, match="at least 0"):
        QuestionStream(POOL, 0, 4).batch(-1)


@given(st.integers(-(2**70), 2**70), st.integers(1, 23), st.lists(st.integers(0, 200), min_size=1, max_size=8))
def test_a_batch_depends_on_nothing_but_seed_and_step(seed, size, steps):
    asked = QuestionStream(POOL, seed, size)
    for step in steps:
        batch = QuestionStream(list(POOL), seed, size).batch(step)
        assert asked.batch(step) == batch and len({question.id for question in batch}) == size


def test_every_process_draws_the_same_batches(tmp_path):
    rows = [{"question": f"What about {i}?", "answer": i} for i in range(40)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    program = (
        "from mxjax.data import QuestionStream, load_questions\n"
        f"files = {{'source': 'jsonl:{tmp_path / 'q.jsonl'}', 'weight': 1.0, 'distinct': False}}\n"
        "pool = load_questions([files, {'source': 'mbpp/test', 'weight': 1.0}], seed=5, size=80)\n"
        "print([[q.id for q in QuestionStream(pool, 5, 8).batch(step)] for step in (0, 31)])"
    )
    (tmp_path / "mbpp").mkdir()
    shutil.copy(pathlib.Path(pools.__file__).parent / "samples" / "mbpp.jsonl", tmp_path / "mbpp" / "test.jsonl")
    env = {**os.environ, "MXJAX_DATA": str(tmp_path)}
    drawn = [
        subprocess.run([sys.executable, "-c", program], env={**env, "PYTHONHASHSEED": hashing}, capture_output=True)
        for hashing in ("1", "2")
    ]
    assert drawn[0].stdout == drawn[1].stdout != b"", drawn[0].stderr


def test_a_mixture_is_half_and_half(tmp_path):
    rows = [{"question": f"What about {i}?", "answer": i} for i in range(30)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code = {"question": "Print 1.", "task_type": "code", "tests": [{"input": "", "output": "1"}]}
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps({**code, "question": f"Print {i}."}) for i in range(100)))
    mathematics = {"source": f"jsonl:{tmp_path / 'q.jsonl'}", "weight": 0.5}
    mixture = [mathematics, {"source": f"jsonl:{tmp_path / 'c.jsonl'}", "weight": 0.5}]
    with pytest.raises(ValueError, match="only 30 questions to give, 50 were asked for"):
        load_questions(mixture, size=100)
    drawn = load_questions([{**mathematics, "distinct": False}, mixture[1]], size=100)
    assert [q.task_type for q in drawn].count("math") == 50 == [q.task_type for q in drawn].count("code")
    assert len({question.id for question in drawn}) == 100
    times = collections.Counter(q.text for q in drawn if q.task_type == "math")
    assert len(times) == 30 and set(times.values()) == {1, 2}
