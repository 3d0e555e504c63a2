"""Checkpoints are chosen on validation questions; on a test set only by a flag that every row of the results shows."""

import json

import jax.numpy as jnp
import pytest
from runs import mxjax, tiny, tiny_run

from mxjax import checkpoint, cli
from mxjax.config import default_config, run_record
from mxjax.errors import UserError
from mxjax.evaluation.choice import check_choice, chosen, remark, when
from mxjax.run import checkpoints, chosen_step, keep_validation
from mxjax.workdir import Workdir


def config_with(**settings):
    config = default_config()
    config.rl.steps, config.checkpoint.every = 8, 2
    config.eval.update(settings)
    return config


def rows(*accuracies, benchmark="held_out", system="designed"):
    """Metrics lines of validations after steps 0, 1, 2, ..."""
    common = {"phase": "eval", "benchmark": benchmark, "system": system}
    return [{**common, "step": step, "accuracy": accuracy} for step, accuracy in enumerate(accuracies)]


def test_the_best_saved_step_is_chosen_the_earliest_of_equals():
    config, seen = config_with(), [0.9, 0.8, 0.3, 0.9, 0.5, 0.1, 0.5]
    noise = rows(*[1.0] * 7, benchmark="gsm8k") + rows(*[1.0] * 7, system="single") + [{"phase": "rl", "step": 4}]
    saved = (2, 4, 6, 8)
    assert chosen(config, noise + rows(*seen), saved) == {
        "step": 4, "benchmark": "held_out", "system": "designed", "accuracy": 0.5, "on_test": False,
    }  # fmt: skip
    assert chosen(config, noise, saved) is None and chosen(config, rows(0.9, 0.9), saved) is None
    assert chosen(config, rows(*seen[:5], 0.7), (2, 4, 5))["step"] == 5


@pytest.mark.parametrize(
    ("choose_on", "validation"),
    [
        ("gsm8k", ""),
        ("mbpp/test", ""),
        ("reasoning_gym:chain_sum", ""),
        ("jsonl:own.jsonl", ""),
        ("jsonl:data/test.jsonl", ""),
        ("tfds:/x/validation@test", ""),
        ("gsm8k/train", ""),
        ("held_out", "gsm8k/test"),
        ("held_out", "tfds:/x@test"),
    ],
)
def test_choosing_on_test_needs_the_flag(choose_on, validation):
    config = config_with(choose_on=choose_on)
    config.data.validation = {"source": validation} if validation else {}
    with pytest.raises(ValueError, match=r"eval\.choose_on_test=True"):
        check_choice(config)
    assert when(config, 4) == "step 4"
    config.eval.choose_on_test = True
    check_choice(config)
    assert when(config, 4) == "step 4, chosen on test"
    assert chosen(config, rows(*[0.5] * 5, benchmark=choose_on), (2, 4))["on_test"]


@pytest.mark.parametrize("choose_on", ["held_out", "mbpp/validation", "code_contests/valid"])
def test_validation_splits_are_free_to_choose_on(choose_on):
    config = config_with(choose_on=choose_on)
    config.data.validation = {"source": "jsonl:runs/test"}  # a file of the user's, whatever its name
    check_choice(config)


def test_a_continued_runs_settings_do_not_decide_what_was_saved(tmp_path):
    workdir = Workdir(tmp_path)
    config = config_with()
    with checkpoint.Checkpointer(workdir.checkpoints, keep=None) as checkpointer:
        for step in (3, 4, 5):
            checkpointer.save({"params": {"x": {"w": jnp.zeros(3)}}}, step)
    (tmp_path / "config.json").write_text(json.dumps(run_record(config, "train", {})))
    for row in rows(0, 0.9, 0.9, 0.7, 0.8, 0.6):
        workdir.log(row["step"], "", "eval", row)
    assert chosen_step(str(tmp_path)) == 4
    (workdir.checkpoints / "4").rename(workdir.checkpoints / "4.bad")
    assert chosen_step(str(tmp_path)) == 3


@pytest.mark.parametrize("lost", ["removed", "cut short"])
def test_the_choice_is_in_the_checkpoints_and_not_in_the_metrics(tmp_path, lost):
    """A run that lost its metrics chooses, and keeps on disk, what it would have."""
    workdir, config = Workdir(tmp_path), config_with()
    config.checkpoint.keep = 1
    (tmp_path / "config.json").write_text(json.dumps(run_record(config, "train", {})))
    with checkpoints(config, workdir) as checkpointer:
        for step, row in enumerate(rows(0.0, 0.3, 0.9, 0.5, 0.4)):
            if step:
                checkpointer.save({"params": {"x": {"w": jnp.zeros(3)}}}, step)
            workdir.log(step, "", "eval", row)
            keep_validation(checkpointer, workdir, step, [row])
            if step == 3:
                (tmp_path / "metrics.jsonl").unlink()
                (tmp_path / "metrics.jsonl").write_text("" if lost == "removed" else '{"step": 2, "phase": "ev')
    assert checkpoint.steps(workdir.checkpoints) == [2, 4] and chosen_step(str(tmp_path)) == 2
    (workdir.checkpoints / "2" / checkpoint.VALIDATION).write_text('{"rows": [')  # not even half of it counts
    assert chosen_step(str(tmp_path)) == 4


def test_a_checkpoint_that_is_not_finite_is_neither_sound_nor_chosen(tmp_path, capsys):
    workdir, config = Workdir(tmp_path), config_with()
    (tmp_path / "config.json").write_text(json.dumps(run_record(config, "train", {})))
    with checkpoint.Checkpointer(workdir.checkpoints) as checkpointer:
        for step, row in enumerate(rows(0.3, 0.4, 0.9)):
            tree = {"w": jnp.full(3, jnp.inf if step == 2 else 0.0), "v": jnp.zeros(2, jnp.int32)}
            checkpointer.save({"params": {"x": tree}}, step)
            keep_validation(checkpointer, workdir, step, [row])
    assert chosen_step(str(tmp_path)) == 1
    assert cli.main(["doctor", str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == ["step 0: sound", "step 1: sound", "step 2: params['x']['w'] is not finite"]


def test_the_chosen_step_stays_on_disk(tmp_path):
    best = 1
    with checkpoint.Checkpointer(tmp_path, keep=1, best=lambda: best) as checkpointer:
        for step in range(1, 6):
            checkpointer.save({"params": {"x": {"w": jnp.full(3, step)}}}, step)
            if step == 3:
                best = 3
    assert checkpoint.steps(tmp_path) == [3, 5]


def test_a_run_names_its_chosen_checkpoint():
    workdir = tiny_run()
    best = json.loads((workdir / "results.json").read_text())["chosen"]
    evaluated = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    seen = {
        row["step"]: row["accuracy"]
        for row in evaluated
        if row["phase"] == "eval" and row["system"] == "designed" and row["step"] > 0
    }
    assert best["accuracy"] == max(seen.values()) == seen[best["step"]] and not best["on_test"]
    assert chosen_step(str(workdir)) == best["step"] and best["step"] in checkpoint.steps(workdir / "checkpoints")
    with pytest.raises(UserError, match="--step=chosen is for the workdir of a run"):
        chosen_step("random:tiny")


@pytest.mark.parametrize("name", ["gsm8k", "gsm8k/test", "gsm8k:sample"])
def test_rows_on_a_shipped_sample_are_of_its_set(name):
    for choose_on in ("gsm8k", "gsm8k/test"):
        config = config_with(choose_on=choose_on)
        assert chosen(config, rows(0.1, 0.2, 0.5, benchmark=name), (1, 2))["step"] == 2
        assert remark(config, name) == "chosen on these questions" and remark(config, "gsm8k/train") == ""


def test_rows_on_what_the_step_was_chosen_by_say_so(tmp_path):
    workdir = tiny_run()
    common = ("evaluate", "--checkpoint", str(workdir), "--system", "single", "--limit", "2", "--quiet")
    asked = (*common, "--max_tokens", "4", "--output", str(tmp_path), "--benchmark", "held_out,gsm8k", "--resume")
    said = lambda: [row.get("when", "") for row in json.loads((tmp_path / "results.json").read_text())["rows"]]
    assert cli.main([*asked, "--step", str(chosen_step(str(workdir)))]) == 0 and said() == ["", ""]
    assert cli.main([*asked, "--step", "chosen"]) == 0 and said() == ["chosen on these questions", ""]
    assert "| chosen on these questions | single |" in (tmp_path / "results.md").read_text()


def test_the_best_design_is_not_chosen_on_test_unless_its_row_says_so(tmp_path, capsys):
    own = tmp_path / "own.jsonl"
    own.write_text('{"question": "1000 + 1", "answer": 1001}\n')
    flags = ("--benchmark", f"jsonl:{own}", "--system", "single,best_fixed", "--max_tokens", "4", "--quiet")
    asked = ["evaluate", "--checkpoint", str(tiny_run()), "--output", str(tmp_path), *flags]
    for name in ("gsm8k", "gsm8k/test"):
        assert cli.main([*asked, "--validation", name]) == 2
        assert f"--validation {name} would choose the design on a test split" in capsys.readouterr().err
    assert cli.main([*asked, "--validation", "gsm8k", "--validation_limit", "1", "--choose_on_test"]) == 0
    found = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row.get("when") for row in found] == [None, "chosen on test"]


def test_a_run_that_would_choose_on_test_is_refused(tmp_path):
    done = mxjax(*tiny("train", tmp_path, "--config.eval.choose_on=gsm8k"), check=False)
    assert done.returncode == 2 and "eval.choose_on=gsm8k would choose the checkpoint on a benchmark" in done.stderr


def test_results_chosen_on_test_say_so(tmp_path):
    flags = ("--config.eval.choose_on=gsm8k", "--config.eval.choose_on_test", "--config.rl.steps=1",
             "--config.eval.benchmarks=('gsm8k',)", "--config.eval.systems=('single',)",
             "--config.eval.choose_by=single", f"--config.init={tiny_run() / 'cold_start'}")  # fmt: skip
    done = mxjax(*tiny("train", tmp_path, *flags))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["chosen"]["on_test"] and all("chosen on test" in row["when"] for row in results["rows"])
    assert done.stdout.count("chosen on test") == len(results["rows"]) + 1
    asked = ("evaluate", "--checkpoint", tmp_path, "--benchmark=gsm8k", "--system=single", "--limit=2", "--quiet")
    done = mxjax(*asked, "--step=chosen", "--max_tokens=8")
    (row,) = json.loads((tmp_path / "evaluation" / "results.json").read_text())["rows"]
    assert row["when"] == "chosen on test" and "chosen on test" in done.stdout
    done = mxjax(*asked, "--step=1", "--max_tokens=8")
    assert "chosen on test" not in done.stdout
