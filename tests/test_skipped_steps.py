"""Steps that are not finite: each batch is kept as the loss saw it, several in a row end the run, nothing is spoilt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import ROOT, SMALLER, mxjax, tiny, tiny_run
from support import optimizer_settings, optional

from mxjax import checkpoint, cli
from mxjax.cold_start import sft
from mxjax.config import default_config
from mxjax.errors import RunStopped, UserError
from mxjax.rl import Rows, SkippedBatch, init_state, make_optimizer, pack, training_segment
from mxjax.run import checkpoints, save_state, start_state
from mxjax.skips import check_skips, in_a_row, keeper
from mxjax.workdir import Workdir


def step_rows(*steps, phase="rl"):
    """Metrics lines of steps, each as (optimiser steps skipped, taken)."""
    return [
        {"phase": phase, "step": step, "skipped": float(skipped), "updates": float(taken)}
        for step, (skipped, taken) in enumerate(steps)
    ]


def test_steps_in_a_row_are_counted_from_the_last_one():
    assert in_a_row(step_rows((1, 0), (0, 2), (2, 0), (1, 1)), "rl") == 2
    assert in_a_row(step_rows((1, 0), (0, 0), (1, 0)), "rl") == 2  # with nothing to learn from there was no step
    assert in_a_row(step_rows((1, 0), (0, 1)), "rl") == in_a_row([], "rl") == 0
    silent = [{**row, "not_finite_replies": 5} for row in step_rows((0, 0), (0, 0))]
    assert in_a_row(silent, "rl") == 2 and in_a_row(step_rows((0, 2)) + silent[:1], "rl") == 1
    evaluated = [{"phase": "eval", "step": 2}]
    assert in_a_row(step_rows((1, 0)) + evaluated, "rl") == 1 and in_a_row(step_rows((1, 0)), "sft") == 0


def test_a_skipped_batch_is_kept_whole_and_said(tmp_path, caplog):
    segments = [training_segment("designer", [1, 2], [3, 4], advantage=np.nan), training_segment("executor", [5], [6])]
    rows = pack(segments, 8, 1)
    keeper(Workdir(tmp_path), 7)(SkippedBatch("designer", 2, rows))
    path = tmp_path / "skipped" / "7_designer_2.npz"
    assert "step 7: optimiser step 2 of designer" in caplog.text and str(path) in caplog.text
    with np.load(path) as kept:
        again = Rows(**kept)
    assert all(np.array_equal(value, getattr(rows, name), equal_nan=True) for name, value in vars(again).items())


def test_the_run_ends_at_the_last_skip_that_is_allowed(tmp_path):
    workdir, settings = Workdir(tmp_path), default_config().rl
    settings.max_skipped = 2
    for row in step_rows((1, 3), (0, 4), (4, 0)):
        workdir.log(row["step"], "", "rl", row)
        check_skips(workdir, row, "rl", settings)
    last = {"skipped": 1.0, "updates": 3.0}
    workdir.log(3, "", "rl", last)
    with pytest.raises(RunStopped, match=r"^2 steps in a row \(rl\.max_skipped=2\) .* /.*skipped, or lower rl\.opt"):
        check_skips(workdir, last, "rl", settings)


@pytest.mark.parametrize("spoilt", ["params", "optimizers"])
def test_a_state_that_is_not_finite_is_neither_saved_nor_begun_from(tmp_path, spoilt):
    config, optimizer, workdir = default_config(), make_optimizer(optimizer_settings()), Workdir(tmp_path)
    state = init_state({"shared": {"w": jnp.ones(3)}}, optimizer, "sft").replace(step=1)
    bad = lambda tree: jnp.full(3, jnp.nan) if tree.shape == (3,) else tree
    name = "policies" if spoilt == "params" else spoilt
    broken = state.replace(**{name: jax.tree.map(bad, getattr(state, name))}, step=2)
    with checkpoints(config, workdir) as checkpointer:
        save_state(checkpointer, state, config, "sft")
        with pytest.raises(RunStopped, match=r"step 2 is not saved, since .* not finite"):
            save_state(checkpointer, broken, config, "sft")
    assert checkpoint.steps(workdir.checkpoints) == [1]
    with checkpoints(config, Workdir(tmp_path / "new")) as checkpointer, pytest.raises(UserError, match="not finite"):
        start_state(checkpointer, {"shared": {"w": jnp.full(3, jnp.inf)}}, optimizer, "sft")


class SpoiltLearner:
    """A learner whose third step, and every one after it, is skipped."""

    def __init__(self, cfg, optimizer, *args, **settings):
        self.optimizer = optimizer

    def update(self, state, segments, weights, seed, skipped):
        spoilt = state.step >= 2
        if spoilt:
            skipped(SkippedBatch("sft", 0, pack(segments[:1], 512, 1, ["sft"])))
        return state.replace(step=state.step + 1), {"skipped": float(spoilt), "updates": float(not spoilt)}


def test_a_run_that_only_skips_ends_with_status_1_and_keeps_what_it_had(tmp_path, monkeypatch, capsys):
    optional("reasoning_gym")
    monkeypatch.setattr(sft, "Learner", SpoiltLearner)
    flags = (*SMALLER, "--config.sft.steps=9", "--config.sft.checkpoint_every=2", "--config.sft.max_skipped=3")
    command = ["sft", "--config", f"{ROOT}/configs/tiny.py", "--workdir", str(tmp_path), *flags, "--quiet"]
    for _ in range(2):  # it ends there again, and not three skips later
        assert cli.main(command) == 1
        said = capsys.readouterr().err
        assert "mxjax sft: 3 steps in a row (sft.max_skipped=3)" in said and str(tmp_path) in said
        assert checkpoint.steps(tmp_path / "checkpoints") == [2, 4]
        assert [row["skipped"] for row in Workdir(tmp_path).metrics()] == [0, 0, 1, 1, 1]
        assert sorted(path.name for path in (tmp_path / "skipped").iterdir()) == [f"{n}_sft_0.npz" for n in (2, 3, 4)]
    assert cli.main(["doctor", str(tmp_path)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["sft", "train"])
def test_a_learning_rate_that_ruins_the_parameters_writes_no_ruined_checkpoint(tmp_path, verb):
    """Its first steps throw the parameters far out, where the next loss overflows; nothing is patched here."""
    optional("reasoning_gym")
    init = () if verb == "sft" else (f"--config.init={tiny_run() / 'cold_start'}",)
    section = "sft" if verb == "sft" else "rl"
    flags = (f"--config.{section}.optimizer.learning_rate=1e38", f"--config.{section}.max_skipped=2",
             "--config.sft.steps=9", "--config.sft.checkpoint_every=1", "--config.rl.steps=9",
             "--config.checkpoint.every=1", "--config.eval.systems=()", "--config.rl.first_stage=designer")  # fmt: skip
    done = mxjax(*tiny(verb, tmp_path, *init, *flags), check=False)
    assert done.returncode == 1, done.stderr
    assert f"2 steps in a row ({section}.max_skipped=2)" in done.stderr and "Traceback" not in done.stderr
    steps = checkpoint.steps(tmp_path / "checkpoints")
    assert steps and not any(checkpoint.saved_not_finite(tmp_path / "checkpoints", step) for step in steps)
    assert mxjax("doctor", tmp_path).stdout.count("sound") == len(steps)
    assert any((tmp_path / "skipped").iterdir())
