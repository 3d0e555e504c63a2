"""What rewards depend on is recorded, and a difference is refused in a sentence that says what differs."""

import contextlib
import json
from unittest import mock

import jax.numpy as jnp
import pytest
from test_run_grading import CODE, SUM
from test_workdirs import QUESTIONS, TOKENIZER

from mxjax import checkpoint, grading, models
from mxjax.config import default_config
from mxjax.data import Pools
from mxjax.errors import UserError
from mxjax.grading import check_same_grading, grading_record, open_grading
from mxjax.rewards import grader_versions
from mxjax.run import check_workdir, describe_workdir, read_record
from mxjax.sandbox import SandboxUnavailable


@pytest.fixture
def config(tmp_path):
    config = default_config()
    config.workdir = str(tmp_path / "run")
    return config


def begin(config, level=None):
    """A workdir that has a checkpoint, and was graded as `config` says with a sandbox of `level`."""
    workdir, pools = check_workdir(config, "train"), Pools(QUESTIONS[:4], QUESTIONS[4:])
    graded = grading_record(config, level)
    describe_workdir(workdir, config, "train", models.preset("tiny"), TOKENIZER, pools, graded=graded)
    checkpoint.save(workdir.checkpoints, {"params": {"x": {"w": jnp.zeros(3)}}}, 1)
    return workdir


def test_the_record_has_all_that_can_change_a_reward(config):
    record = json.loads(json.dumps(grading_record(config, "B")))
    assert record["sandbox_level"] == "B" and record["graders"] == grader_versions()
    assert {"grading rules", "math-verify", "sympy"} <= set(record["graders"])
    left_out = {"sandbox", "max_fault_share"}  # what was asked of the sandbox is not what was there
    assert set(record["reward"]) == set(config.reward) - left_out


def test_a_run_goes_on_with_the_graders_that_it_began_with(config, monkeypatch):
    workdir = begin(config)
    assert read_record(workdir.path)["grading"]["graders"] == grader_versions()
    begun = read_record(workdir.path)["grading"]
    with open_grading(config, [SUM], begun) as same:
        assert same.record == begun
    other = {**grader_versions(), "math-verify": "9.9"}
    monkeypatch.setattr(grading, "grader_versions", lambda: other)
    had = grader_versions()["math-verify"]
    says = rf"run was graded in another way: math-verify was {had} and is now 9\.9; continue it as it was begun"
    with pytest.raises(UserError, match=says), open_grading(config, [SUM], begun):
        pass


def test_a_run_that_had_a_sandbox_is_told_that_it_is_missing(config, monkeypatch):
    def absent(*args):
        raise SandboxUnavailable("There is no safe way to run Python here.")

    begun = read_record(begin(config, "A").path)["grading"]
    monkeypatch.setattr(grading, "Sandbox", absent)
    says = r"was begun with a sandbox of level A, and this machine has none \(There is no safe way .* here\); continue"
    with pytest.raises(UserError, match=says), open_grading(config, [CODE], begun):
        pass
    weaker = mock.MagicMock(level="B", advice="")
    monkeypatch.setattr(grading, "Sandbox", lambda *args: contextlib.nullcontext(weaker))
    with pytest.raises(UserError, match="the sandbox level was A and is now B"), open_grading(config, [CODE], begun):
        pass


def test_a_run_whose_tools_are_taken_away_is_told_what_they_were(config):
    config.rollout.tools = ("python_execute",)
    begin(config, "A")
    config.rollout.tools = ()
    says = r"other settings of rollout\.tools; set them back \(rollout\.tools=\['python_execute'\]\), or choose"
    with pytest.raises(UserError, match=says):
        check_workdir(config, "train")


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ({"sandbox_level": "A"}, {"sandbox_level": None}, "the sandbox level was A and is now none"),
        ({"graders": {"sympy": "1"}}, {"graders": {"sympy": "2"}}, "sympy was 1 and is now 2"),
        ({"reward": {"all_pass": True}}, {"reward": {"all_pass": False}}, "reward.all_pass was True and is now False"),
        (
            {"reward": {"limits": {"cpu_s": 1}}},
            {"reward": {"limits": {}}},
            "reward.limits was {'cpu_s': 1} and is now {}",
        ),
    ],
)
def test_each_difference_is_named(before, now, says):
    with pytest.raises(UserError) as caught:
        check_same_grading("runs/a", before, now, "choose another --workdir")
    assert str(caught.value) == f"runs/a was graded in another way: {says}; choose another --workdir"
    check_same_grading("runs/a", before, before, "")


def test_records_from_before_a_key_existed_agree_with_it():
    now = {"sandbox_level": None, "graders": {"sympy": "1"}, "reward": {"in_process": "never"}}
    check_same_grading("runs/a", None, now, "")
    check_same_grading("runs/a", {"graders": {}, "reward": {}}, now, "")
