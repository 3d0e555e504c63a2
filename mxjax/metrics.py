"""Metrics of an RL step: its rollouts, the engines, and time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mxjax import mas
from mxjax.evaluation import pattern_shares
from mxjax.files import read_json
from mxjax.rewards.code import IN_PROCESS
from mxjax.rl import designer_advantages, executor_advantages
from mxjax.rollout import Design, Question, QuestionTree, Role, design_error_counts
from mxjax.rollout.tree import engines_of
from mxjax.sampling import Engine
from mxjax.workdir import Workdir


def step_metrics(
    trees: Sequence[QuestionTree],
    executor_group: str,
    roles: Mapping[str, Role[Engine]],
    limits: mas.Limits,
    level: str | None,
) -> dict[str, Any]:
    """All metrics of a step except those of its update.

    `level` is the sandbox's.
    """
    numbers = rollout_metrics(trees, executor_group, limits) | design_error_counts(trees)
    numbers |= engine_metrics(engines_of(roles)) | mas.use_shares(trees, limits)
    return numbers | {"sandbox_level": level}


def rollout_metrics(
    trees: Sequence[QuestionTree], executor_group: str = "question", limits: mas.Limits | None = None
) -> dict[str, Any]:
    """Rewards, failures and cost of a step's rollouts.

    Shares and means of all executions: `reward`, `correct`, `invalid_executions` (lost to the machine or to a fault of
    grading: not `Execution.valid`; those of designs that cannot run are not among them), `limit_executions` and
    `error_executions` (ended with status "limit" or "error"), `not_from_agent`, `undecided`, `in_process` (by reason).
    Of executions with an agent's call: `format`, `executor_reward`, `calls`. Of designs: `valid_designs` (can run),
    `gold_in_design`, `design_tokens` (mean length), `patterns` (share of each). Of agents' replies: `response_tokens`
    (mean length), `cut_replies` (by max_tokens), `clamped_sampling` (settings out of bounds). Of questions:
    `designer_zero_spread` and `executor_zero_spread` (all advantages 0). Counts: `grading_faults` and
    `not_finite_replies`.
    """
    designs = [design for tree in trees for design in tree.designs]
    executions = [execution for design in designs for execution in design.executions]
    calls = [segment for execution in executions for segment in execution.segments]
    ran = [execution for execution in executions if execution.segments]
    replies = [*calls, *(design.segment for design in designs if design.segment is not None)]
    mean = lambda values: float(np.mean(values)) if len(values) else 0.0
    credits = [
        (
            designer_advantages(tree.rewards_MN[None], tree.valid_MN[None]),
            executor_advantages(tree.rewards_MN[None], tree.executor_valid_MN[None], executor_group),
        )
        for tree in trees
    ]
    return {
        "reward": mean([execution.reward for execution in executions]),
        "correct": mean([execution.correct for execution in executions]),
        "format": mean([execution.format for execution in ran]),
        "executor_reward": mean([execution.reward for execution in ran]),
        "valid_designs": mean([not design.error for design in designs]),
        "invalid_executions": mean([not execution.valid for execution in executions]),
        "limit_executions": mean([execution.status == "limit" for execution in executions]),
        "error_executions": mean([execution.status == "error" for execution in executions]),
        "grading_faults": sum(execution.grading_fault for execution in executions),
        "patterns": pattern_shares(designs),
        "calls": mean([len(execution.segments) for execution in ran]),
        "response_tokens": mean([len(segment.token_ids) for segment in calls]),
        "design_tokens": mean([len(design.segment.token_ids) for design in designs if design.segment is not None]),
        "not_finite_replies": sum(not np.isfinite(segment.model_logprobs).all() for segment in replies),
        "clamped_sampling": mean([segment.clamped for segment in calls]),
        "cut_replies": mean([segment.finish_reason == "length" for segment in calls]),
        "designer_zero_spread": mean([not designer.any() for designer, _ in credits]),
        "executor_zero_spread": mean([not executor.any() for _, executor in credits]),
        "not_from_agent": mean([execution.reason == "not_from_agent" for execution in executions]),
        "undecided": mean([execution.reason == "undecided" for execution in executions]),
        "in_process": mean([execution.reason == IN_PROCESS for execution in executions]),
        "gold_in_design": mean(
            [gold_in_prompts(tree.question, design, limits) for tree in trees for design in tree.designs]
        ),
    }


def gold_in_prompts(question: Question, design: Design, limits: mas.Limits | None = None) -> bool:
    """Whether a design tells an agent the gold answer.

    It counts as a whole word only.
    """
    if design.error or not question.gold:
        return False
    word = re.compile(rf"(?<![\w.]){re.escape(question.gold)}(?!\.?\w)")
    return any(word.search(node.prompt or "") for node in mas.graph(mas.check(design.source, limits)).nodes)


def engine_metrics(engines: Sequence[Engine]) -> dict[str, float]:
    """Speed and waste of sampling, summed over all engines.

    Counts and seconds are sums; shares are computed from the sums.
    """
    stats = [engine.stats() for engine in engines]
    total = lambda key: sum(s[key] for s in stats)
    ratio = lambda part, whole: part / whole if whole else 0.0
    metrics = {key: total(key) for key in ("device_s", "compiles", "compile_s", "preemptions")}
    for phase in ("prefill", "decode"):
        metrics[f"{phase}_tokens_per_s"] = ratio(total(f"{phase}_tokens"), total(f"{phase}_s"))
    metrics["host_share"] = ratio(total("idle_s"), total("device_s") + total("idle_s"))
    metrics["occupancy"] = ratio(total("decode_tokens"), total("slot_steps"))
    metrics["prefix_hit_rate"] = ratio(total("prefix_tokens"), total("prompt_tokens"))
    return {f"engine_{key}": value for key, value in metrics.items()}


def progress_note(metrics: dict[str, Any]) -> str:
    """The figures that the progress bar shows."""
    skipped = f"{metrics['skipped']:.0f} optimiser steps skipped; " if metrics["skipped"] else ""
    return skipped + (
        f"reward: designer {metrics['reward']:.2f}, executor {metrics['executor_reward']:.2f}; "
        f"correct {metrics['correct']:.0%}, valid designs {metrics['valid_designs']:.0%}"
    )


def phase_seconds(config: ConfigDict, workdir: Workdir) -> dict[str, float]:
    """Seconds of each phase, over all starts of this run.

    Includes those of the cold start if `init` is one of our runs.
    """
    path = epath.Path(config.init) / "results.json"
    phases_s = read_json(path)["phases_s"] if path.exists() else {}
    rows = workdir.metrics()
    rl = sum(row["step_s"] for row in rows if row["phase"] == "rl")
    return {**phases_s, "rl": rl, "evaluation": sum(row["seconds"] for row in rows if row["phase"] == "eval")}
