"""Training: questions -> trees of designs and executions -> credit -> one stagewise update, step after step.

Reads top-down as the algorithm (method, sections 3 to 6). A killed run continues bit for bit: everything a step needs
is a function of (seed, step) and of the checkpointed state.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mxjax import models
from mxjax.config import UserError, to_json, user_errors
from mxjax.data import QuestionStream, load_task
from mxjax.evaluate import evaluate, pattern_shares
from mxjax.mas import Limits
from mxjax.rewards import make_reward
from mxjax.rl import (
    Learner,
    TrainState,
    credit,
    init_state,
    make_optimizer,
    make_policy_loss,
    role_weights,
    stage_switched,
)
from mxjax.rollout import Question, QuestionTree, collect
from mxjax.runs import (
    checkpoints,
    load_policy,
    make_roles,
    open_workdir,
    question_pools,
    resume_state,
    run_mesh,
    save_state,
)
from mxjax.telemetry import Workdir, progress_bar, read_json

ROLES = ("designer", "executor")


def train(config: ConfigDict, quiet: bool = False) -> list[dict[str, Any]]:
    """Runs or continues the training that `config` describes, in `config.workdir`; returns the evaluation rows.

    Raises UserError, in one sentence, for what the user can mend.
    """
    if jax.process_count() > 1:
        raise UserError("training runs in one process so far; start it on one host")
    rl, mesh = config.rl, run_mesh(config)
    pools = question_pools(config)
    stream = QuestionStream(pools.train, config.seed, config.rollout.questions)
    names = ROLES if rl.split_policy else ("shared",)
    policies = {name: load_policy(config, mesh, name if rl.split_policy else None) for name in names}
    first = policies[names[0]]
    with user_errors():
        learner = make_learner(config, first.config, mesh)
        reward = make_reward(config.reward.answer_from, load_task(config.task).verify if config.task else None)
        limits = Limits(**config.rollout.limits)
        roles = make_roles(config, policies, mesh)
        fresh = init_state({name: policy.params for name, policy in policies.items()}, learner.optimizer, rl.mode)
    workdir = open_workdir(config, first.config, first.tokenizer, ignore=("sft",))
    engines = {name: roles[role].engine for name in names for role in ROLES if name in (role, "shared")}

    with checkpoints(config, workdir) as checkpointer, progress_bar(quiet) as bar:
        state = resume_state(checkpointer, fresh)
        workdir.drop_metrics_from(state.step)
        use(engines, state)
        task = bar.add_task("RL", total=rl.steps, completed=state.step, note="")
        while state.step < rl.steps:
            validate(config, state.step, pools.held_out, roles, reward, limits, workdir, bar)
            started = time.monotonic()
            step = state.step
            weights = role_weights(step, rl.mode, rl.stage_length, rl.first_stage)
            stage = "+".join(role for role in ROLES if weights[role])

            trees = collect(
                stream.batch(step), roles, reward, limits=limits, seed=config.seed, step=step,
                designs=config.rollout.designs, executions=config.rollout.executions,
                format_weight=config.reward.format_weight,
            )  # fmt: skip
            collected = time.monotonic()
            segments = credit(trees, rl.executor_group, rl.aggregation, rl.drop_zero_spread)
            switched = stage_switched(step, rl.mode, rl.stage_length, rl.first_stage)
            state, metrics = learner.update(state, segments, weights, config.seed, switched)
            use(engines, state)

            metrics |= rollout_metrics(trees) | engine_metrics(engines)
            seconds = {"rollout_s": collected - started, "step_s": time.monotonic() - started}
            workdir.log(step, stage, "rl", {**metrics, **seconds})
            if config.telemetry.episodes_every and step % config.telemetry.episodes_every == 0:
                workdir.save_episodes(step, trees, roles["executor"].engine.tokenizer.decode)
            if state.step % config.checkpoint.every == 0 or state.step == rl.steps:
                save_state(checkpointer, state, config, stage)
            bar.update(task, completed=state.step, note=f"{stage} stage, {progress_note(metrics)}")
        validate(config, state.step, pools.held_out, roles, reward, limits, workdir, bar)
    rows = evaluation_rows(workdir)
    workdir.write_results("train", to_json(config), rows, phase_seconds(config, workdir), config.seed)
    return rows


def make_learner(config: ConfigDict, cfg: models.ModelConfig, mesh) -> Learner:
    """The learner of `config.rl`. Raises ValueError for impossible settings."""
    rl = config.rl
    return Learner(
        cfg,
        make_optimizer(dict(rl.optimizer)),
        mesh,
        loss=make_policy_loss(rl.clip_low, rl.clip_high, rl.entropy),
        row_length=rl.row_length,
        microbatch_rows=rl.microbatch_rows,
        minibatch_segments=rl.minibatch_segments,
        epochs=rl.epochs,
        old_logprobs=rl.old_logprobs,
        on_stage_switch=rl.on_stage_switch,
    )


def use(engines: dict[str, Any], state: TrainState) -> None:
    """Gives the engines the state's parameters."""
    for name, engine in engines.items():
        engine.update_params(state.policies[name])


def validate(config, step: int, questions: Sequence[Question], roles, reward, limits, workdir: Workdir, bar) -> None:
    """Evaluates `eval.systems` on the held-out questions if they are due before RL step `step`, and not done yet.

    Due are the first and the last state, and every `eval.every` steps.
    """
    settings = config.eval
    if step not in (0, config.rl.steps) and not (settings.every and step % settings.every == 0):
        return
    done = {row["system"] for row in workdir.metrics() if row["phase"] == "eval" and row["step"] == step}
    decode = roles["executor"].engine.tokenizer.decode
    roles = {
        name: dataclasses.replace(role, sampling=role.sampling.replace(temperature=settings.temperature))
        for name, role in roles.items()
    }
    for system in [system for system in settings.systems if system not in done]:
        task = bar.add_task(f"evaluate {system}", total=len(questions) * settings.samples, note=f"after step {step}")
        outcome = evaluate(
            questions, system, roles, reward, "validation", samples=settings.samples, seed=config.seed, limits=limits,
            agent_text=settings.agent_text, progress=lambda done, task=task: bar.update(task, completed=done),
        )  # fmt: skip
        row = {**outcome.row, "when": f"step {step}", "correct": outcome.correct_QS.mean(axis=1)}
        workdir.log(step, "", "eval", row)
        workdir.save_episodes(f"eval_{step}_{system}", outcome.trees[:8], decode)
        bar.update(task, visible=False)


def evaluation_rows(workdir: Workdir) -> list[dict[str, Any]]:
    """The table rows of all evaluations so far, in order, without the per-question values."""
    rows = [row for row in workdir.metrics() if row["phase"] == "eval"]
    hidden = ("step", "stage", "phase", "time_s", "correct")
    return [{key: value for key, value in row.items() if key not in hidden} for row in rows]


def phase_seconds(config: ConfigDict, workdir: Workdir) -> dict[str, float]:
    """Seconds of each phase, over all starts of this run; those of the cold start if `init` is one of our runs."""
    path = epath.Path(config.init) / "results.json"
    phases_s = read_json(path)["phases_s"] if path.exists() else {}
    rows = workdir.metrics()
    rl = sum(row["step_s"] for row in rows if row["phase"] == "rl")
    return {**phases_s, "rl": rl, "evaluation": sum(row["seconds"] for row in rows if row["phase"] == "eval")}


def rollout_metrics(trees: Sequence[QuestionTree]) -> dict[str, Any]:
    """What happened in a step's rollouts: rewards, validity, cost, and how often a group had nothing to compare."""
    designs = [design for tree in trees for design in tree.designs]
    executions = [execution for design in designs for execution in design.executions]
    calls = [segment for execution in executions for segment in execution.segments]
    ran = [execution for execution in executions if execution.segments]
    mean = lambda values: float(np.mean(values)) if len(values) else 0.0
    rewards = [tree.rewards_MN for tree in trees]
    golds = [(tree.question.gold, design.source) for tree in trees for design in tree.designs]
    return {
        "reward": mean([execution.reward for execution in executions]),
        "correct": mean([execution.correct for execution in executions]),
        "format": mean([execution.format for execution in ran]),
        "executor_reward": mean([execution.reward for execution in ran]),
        "valid_designs": mean([not design.error for design in designs]),
        "invalid_executions": mean([not execution.valid for execution in executions]),
        "patterns": pattern_shares(designs),
        "calls": mean([len(execution.segments) for execution in ran]),
        "response_tokens": mean([len(segment.token_ids) for segment in calls]),
        "design_tokens": mean([len(design.segment.token_ids) for design in designs if design.segment is not None]),
        "cut_replies": mean([segment.finish_reason == "length" for segment in calls]),
        "designer_zero_spread": mean([np.ptp(reward_MN.mean(axis=1)) <= 1e-6 for reward_MN in rewards]),
        "executor_zero_spread": mean([np.ptp(reward_MN) <= 1e-6 for reward_MN in rewards]),
        "not_from_agent": mean([execution.reason == "not_from_agent" for execution in executions]),
        "gold_in_design": mean([bool(gold) and gold in source for gold, source in golds]),
    }


def engine_metrics(engines: dict[str, Any]) -> dict[str, float]:
    """Sampling speed and compile count, summed over the engines."""
    stats = [engine.stats() for engine in engines.values()]
    return {f"engine_{key}": sum(s[key] for s in stats) for key in ("decode_tokens_per_s", "device_s", "compiles")}


def progress_note(metrics: dict[str, Any]) -> str:
    """The figures that the progress bar shows."""
    return f"reward {metrics['reward']:.2f}, correct {metrics['correct']:.0%}, valid {metrics['valid_designs']:.0%}"
