"""Cold start: supervised fine-tuning on filtered trajectories of both roles.

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

from mxjax import checkpoint, models, stopping
from mxjax.cold_start import teacher
from mxjax.cold_start.teacher import Conversation
from mxjax.config import to_json
from mxjax.data.rows import json_lines
from mxjax.errors import UserError
from mxjax.grading import grading_record, open_grading
from mxjax.models.tokenizer import Tokenizer
from mxjax.rl import Learner, TrainingSegment, make_optimizer, sft_loss, training_segment
from mxjax.roles import make_roles, warm_up
from mxjax.rollout import Question, collect
from mxjax.run import Policies, Run, open_run
from mxjax.skips import keeper
from mxjax.workdir import progress_bar

ROLES = ("system", "user", "assistant")
NOT_READ = ("rl", "eval")
READ_BY_SAMPLING = ("rollout", "reward", "engine")
TEACHER, FILE, SAMPLED = "teacher:arithmetic", "jsonl:", "rollouts"  # forms of sft.examples
PYTHON = "python_execute"
SAMPLED_AT_ONCE = 64  # questions


def sft(config: ConfigDict, quiet: bool = False) -> dict[str, float]:
    """Run or continue the cold start in `config.workdir`.

    Returns the last step's metrics.

    Raises UserError for what the user can mend, RunStopped where the run cannot go on, and
    `stopping.Stopped`, with the last finished step saved, when SIGTERM or Ctrl-C asks for it.
    """
    settings = config.sft
    reads_rollout = settings.examples == SAMPLED or settings.tool_share > 0
    unread = NOT_READ if reads_rollout else NOT_READ + READ_BY_SAMPLING
    with open_run(config, "sft", unread, quiet) as run:
        if checkpoint.latest_step(run.workdir.checkpoints) == settings.steps and run.workdir.has_results:
            return {}
        started = time.monotonic()
        pools = None if settings.examples.startswith(FILE) else run.pools
        if pools:
            run.check_questions()
        questions = run.pools.train[: settings.questions]
        segments, policies, graded = make_examples(run, questions)
        usable = [segment for segment in segments if len(segment) <= settings.row_length]
        if not usable:
            raise UserError(f"no example fits sft.row_length={settings.row_length} tokens; raise it")
        run.describe(policies, pools, questions, graded or grading_record(config, None))
        learner = make_learner(config, policies.config, run.mesh)
        data_s = time.monotonic() - started
        metrics: dict[str, float] = {}
        with run.steps(policies, learner, "sft", settings.steps, "cold start") as state:
            for step in range(state.step, settings.steps):
                stopping.poll()
                began = time.monotonic()
                batch = [usable[i] for i in batch_indices(len(usable), settings.batch_segments, config.seed, step)]
                state, metrics = learner.update(
                    state, batch, {"sft": 1.0}, config.seed, skipped=keeper(run.workdir, step)
                )
                metrics |= {"step_s": time.monotonic() - began}
                run.log(state, "sft", metrics, f"loss {metrics.get('sft/loss', math.nan):.3f}")
                run.save(settings.checkpoint_every, settings.steps)
        phases_s = {"cold_start_data": data_s, "cold_start": sum(row["step_s"] for row in run.workdir.metrics())}
        run.workdir.write_results(to_json(config), [], phases_s, config.seed, run.grading)
        return metrics


def make_learner(config: ConfigDict, cfg: models.ModelConfig, mesh: jax.sharding.Mesh) -> Learner:
    """The learner of `config.sft`. Raises UserError for impossible settings."""
    settings = config.sft
    optimizer = {**settings.optimizer, "total_steps": settings.optimizer.total_steps or settings.steps + 1}
    return Learner(
        cfg,
        make_optimizer(optimizer),
        mesh,
        loss=sft_loss,
        roles=("sft",),
        row_length=settings.row_length,
        microbatch_rows=settings.microbatch_rows,
        minibatch_segments=settings.batch_segments,
    )


def make_examples(
    run: Run, questions: Sequence[Question]
) -> tuple[list[TrainingSegment], Policies, Mapping[str, Any] | None]:
    """The examples that `sft.examples` names, the policy, and their grading.

    The grading is None where nothing was graded.
    """
    if run.config.sft.examples == SAMPLED:
        segments, record = sampled_segments(run, questions)
        return segments, run.policies(), record
    conversations, graded = load_examples(run.config, questions, run.begun_grading)
    policies = run.policies() if run.continues else starting_policies(run, conversations)
    return [made for talk in conversations for made in segments_of(policies.tokenizer, talk)], policies, graded


def sampled_segments(run: Run, questions: Sequence[Question]) -> tuple[list[TrainingSegment], Mapping[str, Any]]:
    """Rejection sampling of designs and executions by the policy in `init`.

    `rollout.designs` designs for each question, each executed once. Of every execution that is right, its design and
    all its calls are examples, token for token as they were sampled. Returns them, and how they were graded
    (`mxjax.grading`). Raises UserError when `init` has not learnt anything yet, or nothing is right.
    """
    config = run.config
    if config.init.startswith("random:"):
        raise UserError(f"sft.examples={SAMPLED} samples from a trained policy; name one with --config.init")
    roles = make_roles(config, {"shared": run.load()}, run.mesh)
    warm_up(roles)
    segments: list[TrainingSegment] = []
    with open_grading(config, questions, run.begun_grading) as grading, progress_bar(run.quiet) as bar:
        task = bar.add_task("sampling", total=len(questions), note="")
        for start in range(0, len(questions), SAMPLED_AT_ONCE):
            trees = collect(
                questions[start : start + SAMPLED_AT_ONCE],
                roles,
                grading.reward,
                grading.tools,
                run.limits,
                designs=config.rollout.designs,
                executions=1,
                seed=config.seed,
            )
            ran = [(design, execution) for tree in trees for design in tree.designs for execution in design.executions]
            for design, execution in ran:
                if execution.correct == 1.0:
                    calls = [call for call in (design.segment, *execution.segments) if call is not None]
                    segments += [training_segment("sft", call.prompt_token_ids, call.token_ids) for call in calls]
            bar.update(task, completed=start + len(trees), note=f"{len(segments)} examples kept")
    if not segments:
        raise UserError(f"no sampled answer of {config.init} was right; train it longer, or raise sft.questions")
    return segments, grading.record


def load_examples(
    config: ConfigDict, questions: Sequence[Question], begun: Mapping[str, Any] | None = None
) -> tuple[list[Conversation], Mapping[str, Any] | None]:
    """The conversations that `sft.examples` names.

    A scripted teacher's on `questions`, or a file's. And the record of the grading with whose tools the teacher
    computed (`mxjax.grading`), None without them.
    """
    name = config.sft.examples
    if name == TEACHER:
        prompts = (config.roles.designer.prompt, config.roles.executor.prompt)
        share, tools = config.sft.tool_share, config.rollout.tools
        if share > 0 and PYTHON not in tools:
            raise UserError(f"sft.tool_share={share} needs rollout.tools=('{PYTHON}',), the tool that is shown")
        with contextlib.ExitStack() as stack:
            grading = stack.enter_context(open_grading(config, (), begun)) if share > 0 else None
            host, record = (grading.tools, grading.record) if grading else (None, None)
            return teacher.teach(
                questions,
                prompts,
                config.seed,
                designer_share=config.sft.designer_share,
                tool_share=share,
                tools=host,
            ), record
    if name.startswith(FILE):
        return read_conversations(name.removeprefix(FILE)), None
    raise UserError(f"sft.examples must be {TEACHER}, {FILE}PATH or {SAMPLED}, got {name!r}")


def read_conversations(path: str) -> list[Conversation]:
    """Rows {"messages": [...]} of a jsonl file, ending with the assistant.

    A message is {"role", "content"}.
    """
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


def starting_policies(run: Run, conversations: Sequence[Conversation]) -> Policies:
    """The policy of `init`.

    For a random one, with a tokenizer trained on the examples.
    """
    config = run.config
    if not config.init.startswith("random:"):
        return run.policies()
    cfg = models.preset(config.init.removeprefix("random:")).replace(**config.model)
    texts = [message["content"] for conversation in conversations for message in conversation]
    tokenizer = Tokenizer.train(texts, config.sft.vocab_size, atoms=teacher.ATOMS)
    cfg = cfg.replace(vocab_size=tokenizer.vocab_size)
    return Policies({"shared": models.init_params(jax.random.key(config.seed), cfg, run.mesh)}, cfg, tokenizer)


def segment(tokenizer: Tokenizer, conversation: Conversation) -> TrainingSegment:
    """One conversation as a token stream, weighted for training.

    The assistant's turns, their end token included, have weight 1.
    """
    ids: list[int] = []
    weights: list[float] = []
    prompt: list[Mapping[str, str]] = []
    for message in conversation:
        if message["role"] != "assistant":
            prompt.append(message)
            continue
        ids = tokenizer.extend_ids(ids, prompt) if ids else tokenizer.chat_ids(prompt)
        weights += [0.0] * (len(ids) - len(weights))
        reply = [*tokenizer.encode_reply(message["content"]), tokenizer.end_id]
        ids, weights, prompt = [*ids, *reply], weights + [1.0] * len(reply), []
    return training_segment("sft", [], ids, weight=weights)


def segments_of(tokenizer: Tokenizer, conversation: Conversation) -> list[TrainingSegment]:
    """One conversation as one stream.

    As one for each assistant turn where the template rewrites what came before.
    """
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
    """Which examples step `step` takes, a function of (seed, step).

    Pieces of one seeded shuffle per epoch, in turn.
    """
    positions = np.arange(step * size, (step + 1) * size)
    picked = np.empty(size, np.int64)
    for epoch in np.unique(positions // examples):
        order = np.random.default_rng([seed % 2**64, int(epoch)]).permutation(examples)
        inside = positions // examples == epoch
        picked[inside] = order[positions[inside] % examples]
    return picked
