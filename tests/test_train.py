"""The training loop: a killed or damaged run ends where an unbroken one does, bit for bit; what a step reports."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rollout.scripted import ScriptedEngine
from rollout.test_tree import BAD, GOOD, QUESTIONS, SINGLE, is_designer, rollout
from runs import ROOT, mxjax, tiny, tiny_run
from support import optional

from mxjax.config import default_config
from mxjax.data import Pools
from mxjax.errors import UserError
from mxjax.evaluation.validation import load_benchmarks, validate
from mxjax.grading import Grading
from mxjax.mas import Limits
from mxjax.metrics import gold_in_prompts, rollout_metrics
from mxjax.models import load
from mxjax.rewards import make_reward
from mxjax.rollout import Design, Role, design_error_counts
from mxjax.workdir import Workdir, progress_bar

STEPS = ("--config.rl.steps=4", "--config.rl.stage_length=2", "--config.eval.systems=()", "--config.checkpoint.every=1")


def same_params(a, b):
    import jax

    jax.tree.map(np.testing.assert_array_equal, load(str(a)).params, load(str(b)).params)


def metrics(workdir, timed=False):
    """Its metrics lines, with what the clock says if `timed`."""
    path = workdir / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    of_time = lambda key: key.endswith("_s") or key in ("seconds", "engine_host_share")
    return [{key: value for key, value in row.items() if timed or not of_time(key)} for row in rows]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    optional("reasoning_gym")
    workdir = tmp_path_factory.mktemp("unbroken")
    init = f"--config.init={tiny_run() / 'cold_start'}"
    mxjax(*tiny("train", workdir, init, *STEPS))
    return workdir, init


@pytest.mark.slow
def test_kill_and_restart_ends_in_the_same_bits(unbroken, tmp_path):
    workdir, init = unbroken
    command = [sys.executable, "-m", "mxjax", *map(str, tiny("train", tmp_path / "run", init, *STEPS))]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    for done in (1, 3):  # killed twice: in the executor stage and in the designer stage
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while len(metrics(tmp_path / "run")) < done and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    mxjax(*command[3:])
    same_params(tmp_path / "run", workdir)
    assert metrics(tmp_path / "run") == metrics(workdir)


@pytest.mark.slow
def test_a_flipped_bit_is_noticed_and_the_previous_checkpoint_used(unbroken, tmp_path):
    workdir, init = unbroken
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    newest = copy / "checkpoints" / "4"
    file = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)
    again = mxjax(*tiny("train", copy, init, *STEPS))
    assert "step 4" in again.stderr and "damaged" in again.stderr and "falling back to step 3" in again.stderr
    same_params(copy, workdir)


def test_the_stages_are_those_of_the_config():
    rows = metrics(tiny_run())
    assert [(row["step"], row["stage"]) for row in rows if row["phase"] == "rl"] == [(0, "executor"), (1, "designer")]
    executor, designer = (row for row in rows if row["phase"] == "rl")
    assert "executor/segments" in executor and "designer/segments" not in executor
    assert "designer/segments" in designer and "executor/segments" not in designer


def test_a_step_reports_how_its_engine_did():
    for row in metrics(tiny_run(), timed=True):
        if row["phase"] == "rl":
            found = {key.removeprefix("engine_"): value for key, value in row.items() if key.startswith("engine_")}
            assert found.keys() == {
                "device_s", "compiles", "compile_s", "preemptions", "prefill_tokens_per_s", "decode_tokens_per_s",
                "host_share", "occupancy", "prefix_hit_rate",
            }  # fmt: skip
            assert found["compiles"] == 7 and found["compile_s"] > 0 and 0 < found["device_s"] < row["rollout_s"]
            assert found["prefill_tokens_per_s"] > 0 and found["decode_tokens_per_s"] > 0
            assert all(0 <= found[share] <= 1 for share in ("host_share", "occupancy", "prefix_hit_rate"))
            assert found["occupancy"] > 0 and found["prefix_hit_rate"] > 0


def test_a_step_reports_what_its_rollouts_did():
    replies = iter([SINGLE, "no code", SINGLE, SINGLE])
    answers = iter([GOOD, BAD, GOOD, GOOD, GOOD, GOOD])
    trees, _ = rollout(
        lambda prompt, request: next(replies) if is_designer(prompt) else next(answers), questions=QUESTIONS
    )
    found = rollout_metrics(trees)
    assert found["valid_designs"] == 0.75 and found["patterns"] == {"single": 0.75, "invalid": 0.25}
    assert found["correct"] == 5 / 8 and found["executor_reward"] == pytest.approx((5 * 1.4 + 0.4) / 6)
    assert found["calls"] == 1 and found["designer_zero_spread"] == 0.5 and found["executor_zero_spread"] == 0.5
    assert found["gold_in_design"] == 0 and found["in_process"] == 0
    assert found["limit_executions"] == found["error_executions"] == found["invalid_executions"] == 0


def test_executions_that_end_at_a_limit_or_in_an_error_are_told_apart_from_lost_ones():
    endless = "<code>while True:\n    pass</code>"
    failing = "<code>from workflow import *\nraise ValueError('no')</code>"
    replies = iter([SINGLE, endless, failing, "no code"])
    trees, _ = rollout(lambda prompt, request: next(replies) if is_designer(prompt) else GOOD, questions=QUESTIONS)
    found = rollout_metrics(trees)
    assert (found["limit_executions"], found["error_executions"]) == (0.25, 0.25)
    assert found["valid_designs"] == 0.75 and found["invalid_executions"] == 0


def test_designs_that_cannot_run_are_counted_by_kind():
    replies = iter([SINGLE, "no code", "<code>import socket</code>", "<code>x = zebra</code>"])
    trees, _ = rollout(lambda prompt, request: next(replies) if is_designer(prompt) else GOOD, questions=QUESTIONS)
    expected = {"design_errors/import": 1, "design_errors/missing": 1, "design_errors/name": 1}
    assert design_error_counts(trees) == expected


@pytest.mark.parametrize(
    ("prompt", "leaks"),
    [("'The answer is 16'", True), ("P", True), ("P.strip()", True), ("f'{P} now'", True), ("'160, 1.16'", False)],
)
def test_the_gold_answer_in_a_prompt_is_found_however_the_prompt_is_written(prompt, leaks):
    source = f"from workflow import *\nP = 'It is 16.\\n'\nWorkflow().add_node(AgentNode('A', {prompt})).run(question)"
    question = dataclasses.replace(QUESTIONS[0], gold="16")
    assert gold_in_prompts(question, Design(0, None, source, "", ())) == leaks


def test_a_design_that_only_the_limits_of_the_run_allow_is_looked_at_too():
    """A text longer than the usual limit was a design, so its prompts are read; none of it may end the run."""
    source = f"x = '{'a' * 70_000}'\nfrom workflow import *\nWorkflow().add_node(AgentNode('A', '16')).run(question)"
    question = dataclasses.replace(QUESTIONS[0], gold="16")
    assert gold_in_prompts(question, Design(0, None, source, "", ()), Limits(source_chars=100_000))


def test_validations_on_a_shipped_sample_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("MXJAX_DATA", str(tmp_path))
    config = default_config()
    config.eval.benchmarks = ("held_out", "gsm8k", "svamp")
    found = load_benchmarks(config, Pools([], QUESTIONS))
    assert list(found) == ["held_out", "gsm8k:sample", "svamp:sample"] and found["held_out"] == QUESTIONS


def test_rows_name_the_level_of_the_sandbox(tmp_path):
    assert all(row["sandbox_level"] is None for row in metrics(tiny_run()))
    config, workdir = default_config(), Workdir(tmp_path)
    config.eval.systems = ("single",)
    roles = {"executor": Role(ScriptedEngine(lambda prompt, request: GOOD))}
    grading = Grading(make_reward(), {}, "B")
    validate(config, 0, {"own": QUESTIONS}, roles, grading, None, workdir, progress_bar(quiet=True))
    assert [row["sandbox_level"] for row in workdir.metrics()] == ["B"]


def test_a_wrong_verifier_of_a_task_is_one_sentence(tmp_path):
    config = default_config()
    config.eval.systems, config.eval.samples = ("single",), 10
    grading = Grading(make_reward(verify=lambda question, answer: 7.0), {}, None)
    roles = {"executor": Role(ScriptedEngine(lambda prompt, request: GOOD))}
    with pytest.raises(UserError, match=r"grading failed for 10 of 10 answers, .* verify must return"):
        validate(config, 0, {"own": QUESTIONS}, roles, grading, None, Workdir(tmp_path), progress_bar(quiet=True))
