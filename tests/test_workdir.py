"""Files of a run: what is written can be read back, also after a kill in the middle of a line."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rollout.scripted import TOKENIZER
from rollout.test_tree import GOOD, VOTE, is_designer, rollout

from mxjax.rollout import Question, QuestionTree
from mxjax.workdir import Workdir, plain, question_record, tree_record


def test_metrics_survive_a_line_cut_by_a_kill(tmp_path):
    workdir = Workdir(tmp_path)
    for step in range(3):
        workdir.log(step, "executor", "rl", {"reward": np.float32(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "rew')
    assert [row["step"] for row in workdir.metrics()] == [0, 1, 2]
    assert set(workdir.metrics()[0]) == {"step", "stage", "phase", "time_s", "reward"}


def test_a_resumed_run_drops_the_rows_it_takes_again_and_keeps_evaluations_of_its_state(tmp_path):
    workdir = Workdir(tmp_path)
    for step in range(4):
        workdir.log(step, "", "eval", {})
        workdir.log(step, "executor", "rl", {})
    workdir.drop_metrics_from(2)
    assert [(row["step"], row["phase"]) for row in workdir.metrics()] == [
        (0, "eval"), (0, "rl"), (1, "eval"), (1, "rl"), (2, "eval"),
    ]  # fmt: skip


def test_episodes_hold_every_id_and_read_as_text(tmp_path):
    trees, _ = rollout(lambda prompt, request: VOTE if is_designer(prompt) else GOOD)
    Workdir(tmp_path).save_episodes(7, trees, TOKENIZER.decode)
    rows = [json.loads(line) for line in (tmp_path / "episodes" / "7.jsonl").read_text().splitlines()]
    assert [row["question"]["id"] for row in rows] == ["a", "b"]
    call = rows[0]["designs"][0]["executions"][0]["calls"][0]
    segment = trees[0].designs[0].executions[0].segments[0]
    assert (
        call["token_ids"] == segment.token_ids.tolist()
        and call["prompt_token_ids"] == segment.prompt_token_ids.tolist()
    )
    text = (tmp_path / "episodes" / "7.txt").read_text()
    assert "12 + 7 - 3" in text and "EnsembleNode" in text and "boxed{16}" in text and "reward 1.40" in text


def test_episodes_tell_tests_apart_and_do_not_hold_them():
    question = Question("a", "Write f.", "code", gold="f", tests=[{"args": [1], "expected": n} for n in range(3)])
    record = question_record(question)
    assert record["tests"]["count"] == 3 and "expected" not in json.dumps(record)
    assert {name: value for name, value in record.items() if name != "tests"} == {
        "id": "a", "text": "Write f.", "task_type": "code", "gold": "f", "source": "", "split": "train",
    }  # fmt: skip
    other = dataclasses.replace(question, tests=[*question.tests[:2], {"args": [1], "expected": 9}])
    assert question_record(other)["tests"] != record["tests"]
    assert question_record(dataclasses.replace(question, tests=None))["tests"] is None
    assert tree_record(QuestionTree(question, ()), None)["question"] == record


def test_numbers_are_mirrored_to_tensorboard_and_an_absent_mirror_is_named(tmp_path, monkeypatch):
    sent = []
    writer = SimpleNamespace(add_scalar=lambda *point: sent.append(point), flush=lambda: None, close=None)
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=lambda folder: writer))
    workdir = Workdir(tmp_path)
    workdir.mirror(tensorboard=True)
    workdir.log(3, "executor", "rl", {"reward": 0.5, "patterns": {"vote": 1.0}})
    assert ("rl/reward", 0.5, 3) in sent and not any("patterns" in name or "stage" in name for name, _, _ in sent)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"mxjax\[log\]"):
        workdir.mirror(wandb="project")


def test_text_that_utf8_cannot_hold_does_not_stop_the_run(tmp_path):
    hostile = "<code>raise ValueError('\\ud800')</code>"
    trees, _ = rollout(lambda prompt, request: hostile if is_designer(prompt) else GOOD)
    broken = [dataclasses.replace(tree, question=dataclasses.replace(tree.question, text="\ud800")) for tree in trees]
    Workdir(tmp_path).save_episodes(0, broken, TOKENIZER.decode)
    assert "\\ud800" in (tmp_path / "episodes" / "0.txt").read_text()


def test_results_and_json_values(tmp_path):
    workdir = Workdir(tmp_path)
    rows, graded = [{"accuracy": np.float64(0.5)}], {"sandbox_level": "B", "graders": {}}
    workdir.write_results({"a": (1, 2)}, rows, {"rl": 1.0}, 3, graded)
    results = json.loads((tmp_path / "results.json").read_text())
    made_with = {"command", "config", "versions", "device", "sandbox_level", "grading", "seed"}
    assert {"schema", *made_with, "rows", "phases_s"} == set(results)
    assert results["sandbox_level"] == "B" and results["grading"] == graded
    assert results["rows"] == [{"accuracy": 0.5}] and not (tmp_path / "results.json.tmp").exists()
    assert plain({"x": np.arange(2), "y": float("nan"), "z": {1}}) == {"x": [0, 1], "y": None, "z": [1]}
