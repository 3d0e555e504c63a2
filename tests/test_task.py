"""A user's own task, a module of three lines: it trains, it is evaluated, and its own verifier grades it."""

import json
import os
import types

import pytest
from runs import mxjax, tiny, tiny_run

from mxjax.config import default_config
from mxjax.data import load_benchmark
from mxjax.data.pools import question_pools
from mxjax.errors import UserError
from mxjax.grading import open_grading
from mxjax.rollout import Question

MODULE = '''
from mxjax.rollout import Question, Task


def near(question, answer):
    """Right within 1."""
    digits = "".join(c for c in answer if c.isdigit())
    return bool(digits) and abs(int(digits) - int(question.gold)) <= 1


def make():
    return Task([Question(f"q{i}", f"{i} + {i + 3}", gold=str(2 * i + 3)) for i in range(120)], near)
'''


@pytest.fixture
def task(tmp_path, monkeypatch):
    """The name of the task, its module on the path of this process and of those it starts."""
    (tmp_path / "sums_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return "sums_of_mine:make"


def returned(text):
    """A finished execution whose returned message an agent gave."""
    return types.SimpleNamespace(status="ok", reason="", content=text, origin_call="a", origin_text=text)


def test_its_questions_are_graded_by_its_verifier_and_others_by_theirs(task):
    questions = [*load_benchmark(task), Question("other", "1 + 1", gold="2")]
    assert {question.source for question in questions[:-1]} == {task}
    with open_grading(default_config(), questions) as grading:
        assert grading.level is None
        assert grading.reward(questions[0], returned(r"\boxed{4}")).correct == 1.0  # of 3, within 1
        assert grading.reward(questions[0], returned(r"\boxed{5}")).correct == 0.0
        assert grading.reward(questions[-1], returned(r"\boxed{3}")).correct == 0.0
        assert grading.reward(questions[-1], returned(r"\boxed{2}")).correct == 1.0


def test_its_questions_are_split_without_overlap(task):
    config = default_config()
    config.task, config.data.train_size, config.data.validation_size = task, 100, 5
    pools = question_pools(config)
    assert len(pools.train) == 100 and len(pools.held_out) == 5
    assert not {q.text for q in pools.train} & {q.text for q in pools.held_out}
    config.task = "sums_of_mine:absent"
    with pytest.raises(UserError, match="has no function 'absent'"):
        question_pools(config)


@pytest.mark.slow
def test_it_trains_and_is_evaluated(task, tmp_path):
    run = tmp_path / "run"
    cold_start = f"--config.init={tiny_run() / 'cold_start'}"
    flags = (f"--config.task={task}", "--config.data.train_size=100", cold_start, "--config.rl.steps=1")
    mxjax(*tiny("train", run, *flags))
    results = json.loads((run / "results.json").read_text())
    assert {row["benchmark"] for row in results["rows"]} == {"held_out"}
    asked = ("evaluate", "--checkpoint", run, "--benchmark", task, "--system", "single", "--limit", "6", "--quiet")
    refused = mxjax(*asked, check=False)
    assert refused.returncode == 2 and "was trained on" in refused.stderr
    mxjax(*asked, "--allow_overlap")
    (row,) = json.loads((run / "evaluation" / "results.json").read_text())["rows"]
    assert (row["benchmark"], row["n"]) == (task, 6)
