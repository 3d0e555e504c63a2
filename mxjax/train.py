"""Training: questions -> trees of designs and executions -> credit -> one stagewise update, step after step.

Reads top-down as the algorithm (method, sections 3 to 6). A killed run continues bit for bit: everything a step needs
is a function of (seed, step) and of the checkpointed state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mxjax import mas, models, stopping
from mxjax.choice import HELD_OUT, when
from mxjax.config import to_json
from mxjax.data import Pools, QuestionStream, load_benchmark
from mxjax.errors import UserError
from mxjax.evaluation import evaluate, left_to_do, pattern_shares
from mxjax.evaluation.questions import distinct, shown_name
from mxjax.files import file_name, read_json
from mxjax.mas import Limits
from mxjax.models.params import abstract_params
from mxjax.rewards.code import IN_PROCESS
from mxjax.rl import (
    Learner,
    TrainState,
    credit,
    designer_advantages,
    executor_advantages,
    make_optimizer,
    make_policy_loss,
    role_weights,
    stage_switched,
)
from mxjax.rl.stages import ROLES
from mxjax.rollout import Design, Question, QuestionTree, collect, design_error_counts
from mxjax.runs import (
    Grading,
    check_config,
    check_engine,
    check_unseen,
    checkpoints,
    chosen_so_far,
    describe_run,
    keep_validation,
    load_policy,
    make_roles,
    open_grading,
    open_run,
    question_pools,
    run_mesh,
    save_state,
    saved_model,
    saved_when_stopped,
    start_state,
)
from mxjax.skips import check_skips, keeper
from mxjax.telemetry import Workdir, progress_bar, progress_of

EPISODES_KEPT = 8  # of each evaluation


def train(config: ConfigDict, quiet: bool = False) -> list[dict[str, Any]]:
    """Runs or continues the training that `config` describes, in `config.workdir`; returns the evaluation rows.

    Raises UserError, in one sentence, for what the user can mend, RunStopped where the run cannot go on, and
    `stopping.Stopped`, with the last finished step saved, when SIGTERM or Ctrl-C asks for it.
    """
    if jax.process_count() > 1:
        raise UserError("training runs in one process so far; start it on one host")
    check_config(config)
    with open_run(config, "train", ignore=("sft",)) as workdir:
        return _train(config, workdir, quiet)


def _train(config: ConfigDict, workdir: Workdir, quiet: bool) -> list[dict[str, Any]]:
    rl, mesh = config.rl, run_mesh(config)
    pools, limits = question_pools(config), Limits(**config.rollout.limits)
    check_unseen(config, pools)
    benchmarks = load_benchmarks(config, pools)
    asked = itertools.chain(pools.train, *benchmarks.values())
    names = ROLES if rl.split_policy else ("shared",)
    saved = saved_model(config.workdir)
    if saved:
        cfg, tokenizer = saved
        params = {name: abstract_params(cfg, mesh) for name in names}
    else:
        policies = {name: load_policy(config, mesh, name if rl.split_policy else None) for name in names}
        cfg, tokenizer = policies[names[0]].config, policies[names[0]].tokenizer
        params = {name: policy.params for name, policy in policies.items()}
        del policies
    stream = QuestionStream(pools.train, config.seed, config.rollout.questions)
    learner = make_learner(config, cfg, mesh)
    check_engine(config, cfg, mesh)
    with contextlib.ExitStack() as stack:
        grading = stack.enter_context(open_grading(config, asked, workdir))
        describe_run(workdir, config, "train", cfg, tokenizer, pools, graded=grading.record)
        checkpointer, bar = map(stack.enter_context, (checkpoints(config, workdir), progress_bar(quiet)))
        # Of a step that a signal cuts short nothing stays: its batch is a function of (seed, step), so it comes again.
        state, stage = None, ""
        stack.enter_context(saved_when_stopped(checkpointer, config, lambda: (state, stage)))
        state = start_state(checkpointer, params, learner.optimizer, rl.mode)
        del params  # the state owns them now
        workdir.drop_metrics_from(state.step)
        stack.enter_context(contextlib.closing(workdir)).mirror(config.telemetry.tensorboard, config.telemetry.wandb)
        current = {name: models.Policy(state.policies[name], cfg, tokenizer) for name in names}
        roles = make_roles(config, current, mesh)
        del current
        engines = {name: roles[role].engine for name in names for role in ROLES if name in (role, "shared")}
        for engine in engines.values():
            engine.warmup()
            stopping.poll()
        task = bar.add_task("RL", total=rl.steps, completed=state.step, note="")
        while state.step < rl.steps:
            stopping.poll()
            rows = validate(config, state.step, benchmarks, roles, grading, limits, workdir, bar)
            keep_validation(checkpointer, workdir, state.step, rows)
            for engine in engines.values():
                engine.reset_stats()
            started = time.monotonic()
            step = state.step
            weights = role_weights(step, rl.mode, rl.stage_length, rl.first_stage)
            stage = "+".join(role for role in ROLES if weights[role])

            trees = collect(
                stream.batch(step), roles, grading.training(step), grading.tools, limits, seed=config.seed, step=step,
                designs=config.rollout.designs, executions=config.rollout.executions,
                format_weight=config.reward.format_weight,
            )  # fmt: skip
            collected = time.monotonic()
            segments = credit(trees, rl.executor_group, rl.aggregation, rl.drop_zero_spread)
            switched = stage_switched(step, rl.mode, rl.stage_length, rl.first_stage)
            state, metrics = learner.update(state, segments, weights, config.seed, switched, keeper(workdir, step))
            stopping.owe(True)
            use(engines, state)

            metrics |= rollout_metrics(trees, rl.executor_group) | design_error_counts(trees) | engine_metrics(engines)
            metrics |= mas.use_shares(trees, limits)
            seconds = {"rollout_s": collected - started, "step_s": time.monotonic() - started}
            workdir.log(step, stage, "rl", {**metrics, **seconds, "sandbox_level": grading.level})
            check_skips(workdir, metrics, "rl", rl)
            if config.telemetry.episodes_every and step % config.telemetry.episodes_every == 0:
                workdir.save_episodes(step, trees, roles["executor"].engine.tokenizer.decode)
            if state.step % config.checkpoint.every == 0 or state.step == rl.steps:
                save_state(checkpointer, state, config, stage)
            bar.update(task, completed=state.step, note=f"{stage} stage, {progress_note(metrics)}")
        rows = validate(config, state.step, benchmarks, roles, grading, limits, workdir, bar)
        keep_validation(checkpointer, workdir, state.step, rows)
    rows = evaluation_rows(workdir)
    phases_s = phase_seconds(config, workdir)
    best = chosen_so_far(config, workdir)
    workdir.write_results(to_json(config), rows, phases_s, config.seed, grading.record, best)
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
        minibatch_segments={
            name: role.minibatch_segments or rl.minibatch_segments for name, role in config.roles.items()
        },
        epochs=rl.epochs,
        old_logprobs=rl.old_logprobs,
        on_stage_switch=rl.on_stage_switch,
    )


def use(engines: dict[str, Any], state: TrainState) -> None:
    """Gives the engines the state's parameters."""
    for name, engine in engines.items():
        engine.update_params(state.policies[name])


def load_benchmarks(config: ConfigDict, pools: Pools) -> dict[str, Sequence[Question]]:
    """Questions of each of `eval.benchmarks`, by the name that rows have.

    "held_out" are those kept out of the run's own training source.
    """
    found = {}
    for name in config.eval.benchmarks:
        questions = pools.held_out if name == HELD_OUT else distinct(name, load_benchmark(name))
        found[shown_name(name, questions)] = questions
    return found


def validate(
    config, step: int, benchmarks, roles, grading: Grading, limits, workdir: Workdir, bar
) -> list[dict[str, Any]]:  # fmt: skip
    """Evaluates `eval.systems` on `eval.benchmarks` if that is due before RL step `step`, and not done yet.

    Due are the first and the last state, and every `eval.every` steps. Returns the rows of a step that is due.
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
            benchmarks[name], system, roles, grading.reward, name, settings.samples, config.seed, limits,
            settings.agent_text, progress_of(bar, task, f"after step {step}, "), grading.tools,
        )  # fmt: skip
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


def phase_seconds(config: ConfigDict, workdir: Workdir) -> dict[str, float]:
    """Seconds of each phase, over all starts of this run; those of the cold start if `init` is one of our runs."""
    path = epath.Path(config.init) / "results.json"
    phases_s = read_json(path)["phases_s"] if path.exists() else {}
    rows = workdir.metrics()
    rl = sum(row["step_s"] for row in rows if row["phase"] == "rl")
    return {**phases_s, "rl": rl, "evaluation": sum(row["seconds"] for row in rows if row["phase"] == "eval")}


def rollout_metrics(trees: Sequence[QuestionTree], executor_group: str = "question") -> dict[str, Any]:
    """What happened in a step's rollouts: rewards, validity, cost, and how often a group had nothing to compare."""
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
        "gold_in_design": mean([gold_in_prompts(tree.question, design) for tree in trees for design in tree.designs]),
    }


def gold_in_prompts(question: Question, design: Design) -> bool:
    """Whether the designer tells an agent the gold answer, as a whole word."""
    if design.error or not question.gold:
        return False
    word = re.compile(rf"(?<![\w.]){re.escape(question.gold)}(?!\.?\w)")
    return any(word.search(node.prompt or "") for node in mas.graph(mas.check(design.source)).nodes)


def engine_metrics(engines: dict[str, Any]) -> dict[str, float]:
    """Speed and waste of sampling over all engines: counts, seconds, and shares of their sums."""
    stats = [engine.stats() for engine in engines.values()]
    total = lambda key: sum(s[key] for s in stats)
    ratio = lambda part, whole: part / whole if whole else 0.0
    metrics = {key: total(key) for key in ("device_s", "compiles", "compile_s", "preemptions")}
    for phase in ("prefill", "decode"):
        metrics[f"{phase}_tokens_per_s"] = ratio(total(f"{phase}_tokens"), total(f"{phase}_s"))
    metrics["host_share"] = ratio(total("stood_s"), total("device_s") + total("stood_s"))
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
