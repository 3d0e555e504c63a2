"""Validation during training, at the steps where it is due."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict
from rich.progress import Progress

from mxjax import mas
from mxjax.data import Pools, load_benchmark
from mxjax.data.pools import HELD_OUT
from mxjax.evaluation.choice import when
from mxjax.evaluation.harness import distinct, evaluate, shown_name
from mxjax.evaluation.systems import left_to_do
from mxjax.files import file_name
from mxjax.grading import Grading
from mxjax.rollout import Question, Role
from mxjax.workdir import Workdir, progress_of

EPISODES_KEPT = 8  # of each evaluation


def load_benchmarks(config: ConfigDict, pools: Pools) -> dict[str, Sequence[Question]]:
    """Questions of each of `eval.benchmarks`, by the name that rows have.

    "held_out" are those kept out of the run's own training source.
    """
    benchmarks: dict[str, Sequence[Question]] = {}
    for name in config.eval.benchmarks:
        questions = pools.held_out if name == HELD_OUT else distinct(name, load_benchmark(name))
        benchmarks[shown_name(name, questions)] = questions
    return benchmarks


def validate(
    config: ConfigDict,
    step: int,
    benchmarks: Mapping[str, Sequence[Question]],
    roles: Mapping[str, Role],
    grading: Grading,
    limits: mas.Limits,
    workdir: Workdir,
    bar: Progress,
) -> list[dict[str, Any]]:
    """Evaluate `eval.systems` on `eval.benchmarks` if due and not yet done.

    Due before RL step `step`. Due are the first and the last state, and every `eval.every` steps. Returns the rows of a
    step that is due.
    """
    settings = config.eval
    if step not in (0, config.rl.steps) and not (settings.every and step % settings.every == 0):
        return []
    rows = [row for row in workdir.metrics() if row["phase"] == "eval" and row["step"] == step]
    decode = roles["executor"].engine.tokenizer.decode
    roles = {
        name: dataclasses.replace(role, sampling=role.sampling.replace(temperature=settings.temperature))
        for name, role in roles.items()
    }
    for name, system in left_to_do(benchmarks, settings.systems, rows):
        total = len(benchmarks[name]) * settings.samples
        task = bar.add_task(f"evaluate {system}", total=total, note=f"after step {step}")
        outcome = evaluate(
            benchmarks[name],
            system,
            roles,
            grading.reward,
            benchmark=name,
            samples=settings.samples,
            seed=config.seed,
            limits=limits,
            agent_text=settings.agent_text,
            progress=progress_of(bar, task, f"after step {step}, "),
            tools=grading.tools,
        )
        rows.append({**outcome.row, "when": when(config, step), "sandbox_level": grading.level})
        workdir.log(step, "", "eval", rows[-1])
        suffix = "" if name == HELD_OUT else f"_{file_name(name)}"
        workdir.save_episodes(f"eval_{step}_{system}{suffix}", outcome.trees[:EPISODES_KEPT], decode)
        bar.update(task, visible=False)
    return rows


def evaluation_rows(workdir: Workdir) -> list[dict[str, Any]]:
    """The table rows of all evaluations so far, in order."""
    rows = [row for row in workdir.metrics() if row["phase"] == "eval"]
    hidden = ("step", "stage", "phase", "time_s")
    return [{key: value for key, value in row.items() if key not in hidden} for row in rows]
