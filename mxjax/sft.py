"""Cold start: supervised fine-tuning on filtered trajectories of both roles (method, section 7).

Every assistant turn of a conversation is trained, everything else is masked. The trajectories are a scripted teacher's,
a file's, or sampled from the policy itself and kept when right (rejection sampling). The learner, the packing and the
checkpoints are those of reinforcement learning; only the loss differs.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mxjax import checkpoint, models, stopping, teacher
from mxjax.config import to_json
from mxjax.data.rows import json_lines
from mxjax.errors import UserError
from mxjax.grading import grading_record
from mxjax.mas import Limits
from mxjax.models.params import abstract_params
from mxjax.models.tokenizer import Tokenizer
from mxjax.rl import Learner, TrainingSegment, make_optimizer, sft_loss, training_segment
from mxjax.rollout import Question, collect
from mxjax.runs import (
    check_config,
    check_unseen,
    checkpoints,
    describe_run,
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
from mxjax.telemetry import Workdir, progress_bar

ROLES = ("system", "user", "assistant")
NOT_READ = ("rl", "eval")
READ_BY_SAMPLING = ("rollout", "reward", "engine")
TEACHER, FILE, SAMPLED = "teacher:arithmetic", "jsonl:", "rollouts"  # forms of sft.examples
PYTHON = "python_execute"
SAMPLED_AT_ONCE = 64  # questions
Conversation = Sequence[Mapping[str, str]]


def sft(config: ConfigDict, quiet: bool = False) -> dict[str, float]:
    """Runs or continues the cold start in `config.workdir`; returns the last step's metrics.

    Raises UserError, in one sentence, for what the user can mend, RunStopped where the run cannot go on, and
    `stopping.Stopped`, with the last finished step saved, when SIGTERM or Ctrl-C asks for it.
    """
    check_config(config)
    reads_rollout = config.sft.examples == SAMPLED or config.sft.tool_share > 0
    with open_run(config, "sft", NOT_READ if reads_rollout else NOT_READ + READ_BY_SAMPLING) as workdir:
        return _sft(config, workdir, quiet)


def _sft(config: ConfigDict, workdir: Workdir, quiet: bool) -> dict[str, float]:
    started, settings, mesh = time.monotonic(), config.sft, run_mesh(config)
    sampled = settings.examples == SAMPLED
    if checkpoint.latest_step(workdir.checkpoints) == settings.steps and (workdir.path / "results.json").exists():
        return {}
    pools = question_pools(config)
    drawn = None if settings.examples.startswith(FILE) else pools
    if drawn:
        check_unseen(config, drawn)
    questions = pools.train[: settings.questions]
    conversations, graded = ([], None) if sampled else load_examples(config, questions, workdir)
    saved = saved_model(config.workdir)
    if saved:
        cfg, tokenizer = saved
        params = abstract_params(cfg, mesh)
    else:
        policy = starting_policy(config, conversations, mesh)
        cfg, tokenizer, params = policy.config, policy.tokenizer, policy.params
        del policy
    optimizer = {**settings.optimizer, "total_steps": settings.optimizer.total_steps or settings.steps + 1}
    learner = Learner(
        cfg, make_optimizer(optimizer), mesh, loss=sft_loss, roles=("sft",), row_length=settings.row_length,
        microbatch_rows=settings.microbatch_rows, minibatch_segments=settings.batch_segments,
    )  # fmt: skip
    segments = [made for conversation in conversations for made in segments_of(tokenizer, conversation)]
    if sampled:
        segments, graded = sampled_segments(config, questions, mesh, quiet, workdir)
    usable = [s for s in segments if len(s) <= settings.row_length]
    if not usable:
        raise UserError(f"no example fits sft.row_length={settings.row_length} tokens; raise it")
    graded = graded or grading_record(config, None)
    describe_run(workdir, config, "sft", cfg, tokenizer, drawn, questions, graded)
    data_s, metrics = time.monotonic() - started, {}

    state = None
    with (
        contextlib.closing(workdir), checkpoints(config, workdir) as checkpointer, progress_bar(quiet) as bar,
        saved_when_stopped(checkpointer, config, lambda: (state, "sft")),
    ):  # fmt: skip
        state = start_state(checkpointer, {"shared": params}, learner.optimizer, "sft")
        del params  # the state owns them now
        workdir.drop_metrics_from(state.step)
        workdir.mirror(config.telemetry.tensorboard, config.telemetry.wandb)
        task = bar.add_task("cold start", total=settings.steps, completed=state.step, note="")
        while state.step < settings.steps:
            stopping.poll()
            step = state.step
            batch = [usable[i] for i in batch_indices(len(usable), settings.batch_segments, config.seed, step)]
            began = time.monotonic()
            state, metrics = learner.update(
                state, batch, {"sft": 1.0}, config.seed, skipped=keeper(workdir, step)
            )  # fmt: skip
            stopping.owe(True)
            workdir.log(step, "", "sft", {**metrics, "step_s": time.monotonic() - began})
            check_skips(workdir, metrics, "sft", settings)
            if state.step % settings.checkpoint_every == 0 or state.step == settings.steps:
                save_state(checkpointer, state, config, "sft")
            bar.update(task, completed=state.step, note=f"loss {metrics.get('sft/loss', math.nan):.3f}")
    phases_s = {"cold_start_data": data_s, "cold_start": sum(row["step_s"] for row in workdir.metrics())}
    workdir.write_results(to_json(config), [], phases_s, config.seed, graded)
    return metrics


def sampled_segments(
    config: ConfigDict, questions: Sequence[Question], mesh, quiet: bool, workdir: Workdir | None = None
) -> tuple[list[TrainingSegment], Mapping[str, Any]]:
    """Rejection sampling: `rollout.designs` designs of the policy in `init` for each question, each executed once.

    Of every execution that is right, its design and all its calls are examples, token for token as they were sampled.
    Returns them, and how they were graded (`mxjax.grading`). Raises UserError when `init` has not
    learnt anything yet, or nothing is right.
    """
    if config.init.startswith("random:"):
        raise UserError(f"sft.examples={SAMPLED} samples from a trained policy; name one with --config.init")
    roles = make_roles(config, {"shared": load_policy(config, mesh)}, mesh)
    roles["executor"].engine.warmup()
    limits, segments = Limits(**config.rollout.limits), []
    with open_grading(config, questions, workdir) as grading, progress_bar(quiet) as bar:
        task = bar.add_task("sampling", total=len(questions), note="")
        for start in range(0, len(questions), SAMPLED_AT_ONCE):
            trees = collect(
                questions[start : start + SAMPLED_AT_ONCE], roles, grading.reward, grading.tools, limits,
                designs=config.rollout.designs, executions=1, seed=config.seed,
            )  # fmt: skip
            ran = [(design, execution) for tree in trees for design in tree.designs for execution in design.executions]
            for design, execution in ran:
                if execution.correct == 1.0:
                    calls = [design.segment, *execution.segments]
                    segments += [training_segment("sft", call.prompt_token_ids, call.token_ids) for call in calls]
            bar.update(task, completed=start + len(trees), note=f"{len(segments)} examples kept")
    if not segments:
        raise UserError(f"no sampled answer of {config.init} was right; train it longer, or raise sft.questions")
    return segments, grading.record


def load_examples(
    config: ConfigDict, questions: Sequence[Question], workdir: Workdir | None = None
) -> tuple[list[Conversation], Mapping[str, Any] | None]:
    """The conversations that `sft.examples` names: a scripted teacher's on `questions`, or a file's.

    And the record of the grading with whose tools the teacher computed (`mxjax.grading`), None without them.
    """
    name = config.sft.examples
    if name == TEACHER:
        prompts = (config.roles.designer.prompt, config.roles.executor.prompt)
        share, tools = config.sft.tool_share, config.rollout.tools
        if share > 0 and PYTHON not in tools:
            raise UserError(f"sft.tool_share={share} needs rollout.tools=('{PYTHON}',), the tool that is shown")
        with contextlib.ExitStack() as stack:
            grading = stack.enter_context(open_grading(config, (), workdir)) if share > 0 else None
            host, record = (grading.tools, grading.record) if grading else (None, None)
            return teacher.teach(questions, prompts, config.seed, config.sft.designer_share, share, host), record
    if name.startswith(FILE):
        return read_conversations(name.removeprefix(FILE)), None
    raise UserError(f"sft.examples must be {TEACHER}, {FILE}PATH or {SAMPLED}, got {name!r}")


def read_conversations(path: str) -> list[Conversation]:
    """Rows {"messages": [{"role", "content"}, ...]} of a jsonl file, each ending with the assistant."""
    file, conversations = epath.Path(path), []
    if not file.exists() or file.is_dir():
        raise UserError(f"sft.examples names {path}, which is not a file; check the path")
    for number, row in json_lines(file):
        try:
            messages = row["messages"]
            good = bool(messages) and all(isinstance(m["content"], str) and m["role"] in ROLES for m in messages)
            good = good and messages[-1]["role"] == "assistant"
        except (KeyError, TypeError):
            good = False
        if not good:
            raise UserError(f'{path}, line {number}: expected {{"messages": [...]}} that ends with the assistant')
        conversations.append(messages)
    if not conversations:
        raise UserError(f"{path} holds no example; add rows or choose another sft.examples")
    return conversations


def starting_policy(config: ConfigDict, conversations: Sequence[Conversation], mesh) -> models.Policy:
    """The policy of `init`; for a random one, with a tokenizer trained on the examples."""
    if not config.init.startswith("random:"):
        return load_policy(config, mesh)
    cfg = models.preset(config.init.removeprefix("random:")).replace(**config.model)
    texts = [message["content"] for conversation in conversations for message in conversation]
    tokenizer = Tokenizer.train(texts, config.sft.vocab_size, atoms=teacher.ATOMS)
    cfg = cfg.replace(vocab_size=tokenizer.vocab_size)
    return models.Policy(models.init_params(jax.random.key(config.seed), cfg, mesh), cfg, tokenizer)


def segment(tokenizer: Tokenizer, conversation: Conversation) -> TrainingSegment:
    """One conversation as a token stream in which the assistant's turns, their end token included, have weight 1."""
    ids: list[int] = []
    weights: list[float] = []
    asked: list[Mapping[str, str]] = []
    for message in conversation:
        if message["role"] != "assistant":
            asked.append(message)
            continue
        ids = tokenizer.extend_ids(ids, asked) if ids else tokenizer.chat_ids(asked)
        weights += [0.0] * (len(ids) - len(weights))
        reply = [*tokenizer.encode_reply(message["content"]), tokenizer.end_id]
        ids, weights, asked = [*ids, *reply], weights + [1.0] * len(reply), []
    return training_segment("sft", [], ids, weight=weights)


def segments_of(tokenizer: Tokenizer, conversation: Conversation) -> list[TrainingSegment]:
    """One conversation as one stream; as one for each assistant turn where the template rewrites what came before."""
    if not tokenizer.rewrites_history:
        return [segment(tokenizer, conversation)]
    prompts = [(conversation[:n], message) for n, message in enumerate(conversation) if message["role"] == "assistant"]
    return [
        training_segment(
            "sft", tokenizer.chat_ids(asked), [*tokenizer.encode_reply(reply["content"]), tokenizer.end_id]
        )
        for asked, reply in prompts
    ]


def batch_indices(examples: int, size: int, seed: int, step: int) -> np.ndarray:
    """Which examples step `step` takes, a function of (seed, step): pieces of one seeded shuffle per epoch, in turn."""
    wanted = np.arange(step * size, (step + 1) * size)
    picked = np.empty(size, np.int64)
    for epoch in np.unique(wanted // examples):
        order = np.random.default_rng([seed % 2**64, int(epoch)]).permutation(examples)
        inside = wanted // examples == epoch
        picked[inside] = order[wanted[inside] % examples]
    return picked
