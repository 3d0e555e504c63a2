"""What a workdir holds a continued run to: its settings, whatever keys came later, and its questions."""

import json
import types

import jax.numpy as jnp
import pytest

from mxjax import checkpoint, models
from mxjax.config import default_config, run_record
from mxjax.data import Pools
from mxjax.errors import UserError
from mxjax.rollout.records import Question
from mxjax.run import Run, check_workdir, describe_workdir, read_record

TOKENIZER = types.SimpleNamespace(save=lambda path: None)
QUESTIONS = [Question(f"q{i}", f"What about {i}?", gold=str(i)) for i in range(5)]


@pytest.fixture
def config(tmp_path):
    config = default_config()
    config.workdir = str(tmp_path)
    config.data.train = {"source": "jsonl:questions.jsonl"}  # without the keys that the default source has
    return config


def test_a_run_that_began_before_a_key_existed_goes_on(config, tmp_path):
    record = run_record(config, "train", {})
    del record["config"]["data"]["overlap"], record["config"]["eval"]["choose_on_test"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    check_workdir(config, "train")
    config.data.overlap = "drop"
    with pytest.raises(UserError, match=r"a run with other settings of data\.overlap; set them back"):
        check_workdir(config, "train")


def test_a_run_goes_on_with_its_own_questions_only(config, tmp_path):
    workdir, pools = check_workdir(config, "train"), Pools(QUESTIONS[:4], QUESTIONS[4:])
    model = models.preset("tiny")
    describe = lambda pools: describe_workdir(workdir, config, "train", model, TOKENIZER, pools, pools.train)
    describe(Pools(QUESTIONS[1:4], QUESTIONS[4:]))
    describe(pools)  # nothing was trained yet
    checkpoint.save(workdir.checkpoints, {"params": {"x": {"w": jnp.zeros(3)}}}, 1)
    describe(Pools(list(pools.train), list(pools.held_out)))
    with pytest.raises(UserError, match="was begun with other questions than its config gives now: bring back"):
        describe(Pools(QUESTIONS[:3], QUESTIONS[4:]))
    record = read_record(tmp_path)
    assert record.pop("questions") == pools.digest
    (tmp_path / "config.json").write_text(json.dumps(record))
    describe(Pools(QUESTIONS[:3], QUESTIONS[4:]))  # of a workdir that names no questions anything goes


def test_nothing_of_a_start_without_a_checkpoint_reaches_the_next(config, tmp_path):
    """The first began from another `init`: its validation of step 0 is of other parameters."""
    (tmp_path / "mine.txt").write_text("the user's own")
    (tmp_path / "cold_start").mkdir()

    def begin(init, accuracy):
        config.init = init
        workdir = check_workdir(config, "train")
        describe_workdir(workdir, config, "train", models.preset("tiny"), TOKENIZER)
        workdir.drop_metrics_from(0)
        before = workdir.metrics()
        workdir.log(0, "", "eval", {"accuracy": accuracy})
        workdir.save_episodes(f"eval_0_{accuracy}", [], None)
        return workdir, before

    begin("random:tiny", 0.9)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text("of the first")
    workdir, before = begin("random:other", 0.1)
    assert before == [] and [row["accuracy"] for row in workdir.metrics()] == [0.1]
    assert not any("0.9" in path.name for path in (tmp_path / "episodes").iterdir())
    assert not (tmp_path / "tokenizer").exists()  # of this tokenizer nothing is written
    assert (tmp_path / "mine.txt").exists() and (tmp_path / "cold_start").exists()
    checkpoint.save(workdir.checkpoints, {"params": {"x": {"w": jnp.zeros(3)}}}, 1)
    assert [row["accuracy"] for row in begin("random:tiny", 0.5)[1]] == [0.1]  # with a checkpoint it goes on


def test_what_a_cold_start_was_trained_on_is_not_held_out(config, tmp_path):
    """It was trained on two of its three training questions."""
    config.workdir = config.init = str(tmp_path / "cold_start")
    model, pools = models.preset("tiny"), Pools(QUESTIONS[:3], QUESTIONS[3:])
    describe_workdir(check_workdir(config, "sft"), config, "sft", model, TOKENIZER, pools, QUESTIONS[:2])
    config.workdir = str(tmp_path / "run")

    def check(pools):
        run = Run(config, "sft", check_workdir(config, "sft"))
        run.pools = pools
        run.check_questions()

    check(Pools(QUESTIONS[:1], QUESTIONS[2:]))
    with pytest.raises(UserError, match=r"1 of 4 held-out questions .* by .*cold_start.*, such as 'What about 1\?'"):
        check(Pools(QUESTIONS[:1], QUESTIONS[1:]))
    checkpoint.save(tmp_path / "run" / "checkpoints", {"params": {"x": {"w": jnp.zeros(3)}}}, 1)
    check(Pools(QUESTIONS[:1], QUESTIONS[1:]))  # a run that has begun goes on
