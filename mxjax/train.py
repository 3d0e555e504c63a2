"""Training: questions -> trees of executions -> credit -> update, repeated.

Reads top-down as the algorithm; docs/reading.md follows one step with its shapes. A killed run continues bit for bit:
everything a step needs is a function of (seed, step) and of the checkpointed state.
"""

from __future__ import annotations

import time
from typing import Any

import jax
from ml_collections import ConfigDict

from mxjax import models
from mxjax.data import QuestionStream
from mxjax.errors import UserError
from mxjax.metrics import progress_note, step_metrics
from mxjax.rl import Learner, credit, make_optimizer, make_policy_loss, role_weights, stage_switched
from mxjax.rl.stages import ROLES
from mxjax.roles import update_params
from mxjax.rollout import collect
from mxjax.rollout.tree import engines_of
from mxjax.run import open_run
from mxjax.skips import keeper


def train(config: ConfigDict, quiet: bool = False) -> list[dict[str, Any]]:
    """Run or continue the training that `config` describes, in `config.workdir`.

    Returns the evaluation rows.

    Raises UserError for what the user can mend, RunStopped where the run cannot go on, and `stopping.Stopped`, with the
    last finished step saved, when SIGTERM or Ctrl-C asks for it.
    """
    if jax.process_count() > 1:
        raise UserError("training runs in one process so far; start it on one host")
    rl, rollout = config.rl, config.rollout
    with open_run(config, "train", unread=("sft",), quiet=quiet) as run:
        run.check_questions()
        policies = run.policies()
        questions = QuestionStream(run.pools.train, config.seed, rollout.questions)
        learner = make_learner(config, policies.config, run.mesh)
        with run.training(policies, learner) as (state, roles, grading):
            for step in range(state.step, rl.steps):
                run.validate(step, roles, grading)
                for engine in engines_of(roles):
                    engine.reset_stats()
                started = time.monotonic()
                weights = role_weights(step, rl.mode, rl.stage_length, rl.first_stage)
                stage = "+".join(role for role in ROLES if weights[role])

                trees = collect(
                    questions.batch(step),
                    roles,
                    grading.of_step(step),
                    tools=grading.tools,
                    limits=run.limits,
                    seed=config.seed,
                    step=step,
                    designs=rollout.designs,
                    executions=rollout.executions,
                    format_weight=config.reward.format_weight,
                )
                collected = time.monotonic()
                segments = credit(trees, rl.executor_group, rl.aggregation, rl.drop_zero_spread)
                switched = stage_switched(step, rl.mode, rl.stage_length, rl.first_stage)
                skipped = keeper(run.workdir, step)
                state, metrics = learner.update(state, segments, weights, config.seed, switched, skipped=skipped)
                update_params(roles, state)

                metrics |= step_metrics(trees, rl.executor_group, roles, run.limits, grading.level)
                metrics |= {"rollout_s": collected - started, "step_s": time.monotonic() - started}
                run.log(state, stage, metrics, f"{stage} stage, {progress_note(metrics)}")
                run.save_episodes(step, trees, roles)
                run.save(config.checkpoint.every, rl.steps)
            run.validate(rl.steps, roles, grading)
        return run.results()


def make_learner(config: ConfigDict, cfg: models.ModelConfig, mesh: jax.sharding.Mesh) -> Learner:
    """The learner of `config.rl`; UserError for impossible settings."""
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
