"""The one table of settings: default, range and meaning of each key.

Defaults, checks, help and docs come from it. A misspelled key and a value out of its range are errors before anything
runs, so that neither ruins a run after hours of it; what two keys must be to each other is checked in
`checks.check_config`.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mxjax.data.benchmarks import POLICIES
from mxjax.errors import UserError
from mxjax.models.config import DTYPES, REMAT
from mxjax.ranges import (
    AXIS,
    COUNT,
    EVERY,
    FLAG,
    MAPPING,
    NAME,
    NAMES,
    NO_LIMIT,
    SHARE,
    SPEC,
    SPECS,
    TEXT,
    Range,
    one_of,
    or_else,
    pair,
    real,
    whole,
)
from mxjax.rl.advantages import GROUPS
from mxjax.rl.credit import AGGREGATIONS
from mxjax.rl.optimizer import SCHEDULES
from mxjax.rl.stages import MODES, ROLES
from mxjax.rl.update import OLD_LOGPROBS, ON_STAGE_SWITCH
from mxjax.sampling.attention import BACKENDS
from mxjax.sampling.engine import PREFIX_CACHES
from mxjax.sampling.params import MAX_TEMPERATURE, MIN_TEMPERATURE
from mxjax.sandbox import LEVELS

FREE = ("data.train", "data.mixture", "data.validation", "rollout.limits", "reward.limits")
"""Keys whose contents have names of their own, which those who read them check."""

SECTIONS = {
    "": "the run",
    "model": "how the model is computed",
    "mesh": "how devices share the work",
    "data": "questions",
    "roles.designer": "the role that writes a design for each question",
    "roles.executor": "the role that answers the calls of running designs",
    "rollout": "questions, designs and executions of one RL step",
    "engine": "sampling",
    "reward": "what an execution is worth",
    "rl": "reinforcement learning, read by train",
    "sft": "the cold start, read by sft",
    "eval": "validation and the table of results, read by train",
    "checkpoint": "what is saved",
    "telemetry": "what is recorded beside metrics.jsonl",
}
"""Groups of keys, in their order, and what each is about."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A setting: its default, its range, its meaning in one line."""

    default: Any
    range: Range
    meaning: str


TEMPERATURE = real(MIN_TEMPERATURE, MAX_TEMPERATURE)
GREEDY = real(0, 0)
GREEDY_TOO = Range(
    f"0 (greedy) or {TEMPERATURE.says}",
    lambda value: GREEDY.holds(value) or TEMPERATURE.holds(value),
    f"0 for greedy, or {TEMPERATURE.brief}",
)


def _role(name: str) -> dict[str, Key]:
    """The keys that both roles have."""
    keys = {
        # not 0: greedy executions would all be alike
        "sampling.temperature": Key(1.0, TEMPERATURE, "temperature of its replies in training"),
        "sampling.top_k": Key(
            0,
            whole(-1, also=", 0 or -1 for all tokens"),
            "sample from this many of the likeliest tokens alone; 0 or -1: all",
        ),
        "sampling.top_p": Key(
            1.0, real(0, 1, above=True), "sample from the likeliest tokens with this probability together"
        ),
        "sampling.min_p": Key(0.0, SHARE, "least probability of a token, as a share of the likeliest one's"),
        "prompt": Key("short", NAME, "its set of prompts: short, documented, or a TOML file (docs/prompts.md)"),
        "max_tokens": Key(8192, COUNT, "most tokens of one reply"),
        "minibatch_segments": Key(0, whole(0), "segments of its optimiser steps; 0: rl.minibatch_segments"),
    }
    return {f"roles.{name}.{key}": value for key, value in keys.items()}


def _optimizer(group: str, total: str, **defaults: Any) -> dict[str, Key]:
    """The keys of an AdamW optimiser; `total` ends the meaning of total_steps."""
    about = {
        "learning_rate": (real(0), "peak of AdamW's learning rate"),
        "b1": (real(0, 1, below=True), "decay of the first moment"),
        "b2": (real(0, 1, below=True), "decay of the second moment"),
        "eps": (real(0, above=True), "added to the root of the second moment"),
        "weight_decay": (real(0), "decay of all weights but norms and biases"),
        "clip_norm": (or_else(None, real(0, above=True)), "gradients above this global norm are scaled down to it"),
        "warmup_steps": (whole(0), "updates over which the learning rate rises to its peak"),
        "schedule": (one_of(*SCHEDULES), "how the learning rate falls after its warm-up"),
        "total_steps": (whole(0), f"updates after which a cosine or linear schedule has ended{total}"),
    }
    return {f"{group}.optimizer.{key}": Key(defaults[key], *both) for key, both in about.items()}


KEYS: dict[str, Key] = {
    "seed": Key(0, whole(-(2**63), 2**63 - 1), "what every random draw of the run derives from"),
    "workdir": Key("", TEXT, "folder or bucket of the run; --workdir sets it"),
    "init": Key(
        "random:tiny",
        NAME,
        "where the policy comes from: random:PRESET, smollm2-135m, hf:OWNER/NAME, a Hugging Face directory, "
        "a .gguf file, a workdir",
    ),
    "model.dtype": Key("float32", one_of(*DTYPES), "dtype of the computation"),
    "model.param_dtype": Key("float32", one_of(*DTYPES), "dtype of the weights in training"),
    "model.remat": Key(
        "full",
        one_of(*REMAT),
        "what the backward pass recomputes: nothing, all but matrix products, whole layers, or these from inputs that "
        "wait in the host's memory",
    ),
    "mesh.data": Key(1, AXIS, "devices that split the rows of a batch; -1: all the rest"),
    "mesh.fsdp": Key(-1, AXIS, "devices that split rows, parameters and optimiser states; -1: all the rest"),
    "mesh.tensor": Key(1, AXIS, "devices that split heads, feed-forward layers and vocabulary; -1: all the rest"),
    "task": Key("", TEXT, "MODULE:FUNCTION of a task of your own, instead of data.train"),
    "data.train": Key(
        {"source": "reasoning_gym:chain_sum", "options": {}, "form": "task", "bare_share": 0.5},
        SPEC,
        "where training questions come from (docs/data.md)",
    ),
    "data.mixture": Key((), SPECS, "several such sources, each with a weight, instead of data.train"),
    "data.validation": Key({}, SPEC, "source of the held-out questions; empty: that of training"),
    "data.train_size": Key(20_000, NO_LIMIT, "how many training questions are drawn; 0: all that there are"),
    "data.validation_size": Key(256, COUNT, "how many held-out questions are drawn"),
    "data.overlap": Key("refuse", one_of(*POLICIES), "what is done about training questions that a benchmark has too"),
    **_role("designer"),
    **_role("executor"),
    "roles.executor.design_sampling.temperature": Key(
        (0.3, 1.5),
        pair(0),
        "lowest and highest temperature that a design may choose for its agents; the role's own may widen it",
    ),
    "roles.executor.design_sampling.truncation": Key(False, FLAG, "whether a design's top_k, top_p and min_p count"),
    "rollout.questions": Key(8, COUNT, "questions of one RL step"),
    "rollout.designs": Key(4, COUNT, "designs of each question, M"),
    "rollout.executions": Key(4, COUNT, "executions of each design, N"),
    "rollout.limits": Key({}, MAPPING, "limits of one execution by names of mxjax.mas.Limits, as {'agent_calls': 16}"),
    "rollout.tools": Key((), NAMES, "host tools that agents may be given: python_execute, which runs in the sandbox"),
    "rollout.stateful_tools": Key(False, FLAG, "whether variables stay from one piece of an agent's code to its next"),
    "engine.slots": Key(64, COUNT, "requests that are decoded side by side"),
    "engine.page_size": Key(64, COUNT, "tokens of one page of the key-value cache"),
    "engine.max_len": Key(16_384, whole(2), "most tokens of a prompt and its reply together"),
    "engine.pages": Key(0, whole(0), "pages of the cache in all; 0: enough for every slot at max_len"),
    "engine.decode_steps": Key(16, COUNT, "most tokens of each request between two looks of the host"),
    "engine.prefix_cache": Key(
        "prompts",
        one_of(*PREFIX_CACHES),
        "whose pages later requests share: of prompts, of responses too (equal within rounding), or nobody's",
    ),
    "engine.attention": Key(
        "auto", one_of("auto", *BACKENDS), "attention kernel; auto: this machine's, where it fits the model, else xla"
    ),
    "reward.answer_from": Key(
        "agent", one_of("agent", "any"), "what counts as an answer: a reply of an agent alone, or whatever was returned"
    ),
    "reward.format_weight": Key(0.4, real(0), "weight of a reply's format beside its correctness"),
    "reward.sandbox": Key(
        "auto", one_of("auto", *LEVELS), "level of the sandbox for programs and tools; auto: the strongest that works"
    ),
    "reward.limits": Key({}, MAPPING, "limits of one test by names of mxjax.sandbox.SandboxLimits, as {'cpu_s': 10.0}"),
    "reward.in_process": Key(
        False, FLAG, "whether checks count that only run beside the program, which could forge them"
    ),
    # Of RL steps; elsewhere a program runs on all tests of its question, and all must pass.
    "reward.tests": Key(0, NO_LIMIT, "tests of a program in an RL step, drawn by question and step; 0: all"),
    "reward.all_pass": Key(
        True, FLAG, "whether a program in an RL step must pass all its tests; False: its share of them counts"
    ),
    "reward.max_fault_share": Key(
        0.05, SHARE, "share of answers whose grading may raise an exception; from 10 such on, more stop the run"
    ),
    "rl.steps": Key(400, COUNT, "RL steps of the whole run"),
    "rl.mode": Key("stagewise", one_of(*MODES), "who learns: the roles in turn, both at once, or one alone"),
    "rl.split_policy": Key(False, FLAG, "whether each role has weights of its own"),
    "rl.stage_length": Key(30, COUNT, "RL steps of a stage, in which one role learns"),
    "rl.first_stage": Key("executor", one_of(*ROLES), "the role that learns in the first stage"),
    **_optimizer(
        "rl",
        ", which needs it",
        learning_rate=5e-6,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        weight_decay=0.01,
        clip_norm=1.0,
        warmup_steps=0,
        schedule="constant",
        total_steps=0,
    ),
    "rl.clip_low": Key(0.2, real(0, 1, below=True), "a token's probability ratio is clipped this far below 1"),
    "rl.clip_high": Key(0.2, real(0), "a token's probability ratio is clipped this far above 1"),
    "rl.entropy": Key(0.0, real(), "coefficient of the entropy bonus"),
    "rl.minibatch_segments": Key(16, COUNT, "segments (replies) of one optimiser step"),
    "rl.epochs": Key(1, COUNT, "how often an RL step uses each segment"),
    "rl.aggregation": Key(
        "token", one_of(*AGGREGATIONS), "what weighs the same in the loss: every token, reply or execution"
    ),
    "rl.executor_group": Key(
        "question", one_of(*GROUPS), "executions that one is compared with: of its question, or of its design"
    ),
    "rl.drop_zero_spread": Key(False, FLAG, "whether groups of equal rewards leave the loss's denominator too"),
    "rl.old_logprobs": Key(
        "engine", one_of(*OLD_LOGPROBS), "log-probabilities under the ratio: those of sampling, or scored once more"
    ),
    "rl.on_stage_switch": Key(
        "keep",
        one_of(*ON_STAGE_SWITCH),
        "the optimiser state of a role whose stage begins: kept, without first moments, or fresh",
    ),
    "rl.max_skipped": Key(
        5, COUNT, "steps in a row with a loss, gradient or parameter that is not finite, at which the run stops"
    ),
    "rl.microbatch_rows": Key(
        1, COUNT, "packed rows that each data x fsdp shard takes at once; the gradient is the same"
    ),
    "rl.row_length": Key(16_384, whole(2), "tokens of a packed row, at least engine.max_len"),
    "sft.examples": Key(
        "teacher:arithmetic",
        NAME,
        'where examples come from: teacher:arithmetic, jsonl:PATH with rows {"messages": [...]}, or rollouts (right '
        "answers sampled from init)",
    ),
    "sft.questions": Key(10_000, COUNT, "questions that the teacher, or the policy, works out"),
    "sft.designer_share": Key(1.0, SHARE, "share of the teacher's designs that are kept as examples"),
    "sft.tool_share": Key(0.0, SHARE, "share of the teacher's designs whose critic has python_execute (rollout.tools)"),
    "sft.vocab_size": Key(1024, COUNT, "vocabulary of the tokenizer that is trained where init is random"),
    "sft.steps": Key(1000, COUNT, "optimiser steps of the cold start"),
    "sft.batch_segments": Key(256, COUNT, "segments of one optimiser step"),
    "sft.microbatch_rows": Key(
        8, COUNT, "packed rows that each data x fsdp shard takes at once; the gradient is the same"
    ),
    "sft.row_length": Key(512, whole(2), "tokens of a packed row; longer examples are left out"),
    "sft.checkpoint_every": Key(500, COUNT, "optimiser steps between two checkpoints"),
    "sft.max_skipped": Key(5, COUNT, "as rl.max_skipped, of the cold start"),
    **_optimizer(
        "sft",
        "; 0: sft.steps + 1",
        learning_rate=1e-3,
        b1=0.9,
        b2=0.98,
        eps=1e-8,
        weight_decay=0.01,
        clip_norm=1.0,
        warmup_steps=50,
        schedule="cosine",
        total_steps=0,
    ),
    "eval.every": Key(
        0, whole(0, also=", 0 for before and after only"), "RL steps between two validations; 0: before and after only"
    ),
    "eval.benchmarks": Key(("held_out",), NAMES, "what a validation asks: held_out, and names mxjax evaluate knows"),
    "eval.systems": Key(
        ("single", "designed"), NAMES, "systems that a validation compares, as in mxjax evaluate --system"
    ),
    "eval.samples": Key(1, COUNT, "answers of each system to each question"),
    "eval.temperature": Key(1.0, GREEDY_TOO, "temperature of both roles in a validation"),
    "eval.choose_on": Key("held_out", NAME, "the benchmark by which the best checkpoint is chosen"),
    "eval.choose_by": Key("designed", NAME, "the system by whose accuracy the best checkpoint is chosen"),
    "eval.choose_on_test": Key(
        False, FLAG, "whether choose_on may be a test set; every row of the results then says so"
    ),
    "eval.agent_text": Key(
        "You are a careful solver. Work step by step.", TEXT, "system prompt of the agents in fixed systems"
    ),
    "checkpoint.every": Key(50, COUNT, "RL steps between two checkpoints"),
    "checkpoint.keep": Key(2, COUNT, "newest checkpoints that stay on disk, beside the chosen one"),
    "telemetry.episodes_every": Key(10, EVERY, "RL steps between two that save whole episodes; 0: never"),
    "telemetry.tensorboard": Key(False, FLAG, "whether metrics also go to TensorBoard"),
    "telemetry.wandb": Key("", TEXT, "project of Weights & Biases that metrics also go to; empty: none"),
}

RANGES: dict[str, Range] = {name: key.range for name, key in KEYS.items()}


def defaults() -> dict[str, Any]:
    """The defaults of all keys, nested by group, new at each call."""
    nested: dict[str, Any] = {}
    for name, key in KEYS.items():
        *groups, last = name.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = copy.deepcopy(key.default)
    return nested


def sections() -> Iterator[tuple[str, list[str]]]:
    """(heading, dotted keys) of each group of `SECTIONS`."""
    groups: dict[str, list[str]] = {group: [] for group in SECTIONS}
    for name in KEYS:
        groups[next(group for group in reversed(SECTIONS) if name.startswith(f"{group}." if group else ""))].append(
            name
        )
    for group, names in groups.items():
        yield f"{group}: {SECTIONS[group]}" if group else SECTIONS[group], names


def keys_help(width: int = 80) -> str:
    """Every key with its default, meaning and range, by section.

    No line is longer than `width` characters, unless a single word is.
    """
    column = 42 if width >= 100 else 6
    wrapped = lambda text, indent: textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=" " * column, break_on_hyphens=False
    )
    lines = []
    for heading, names in sections():
        lines += ["", *textwrap.wrap(heading, width)]
        for name in names:
            key = KEYS[name]
            left, right = (
                f"  {name} = {key.default!r}",
                key.meaning + (f" ({key.range.brief})" if key.range.brief else ""),
            )
            if len(left) <= column - 2:
                lines += wrapped(right, left.ljust(column))
            else:
                lines += [*wrapped(left.lstrip(), "  "), *wrapped(right, " " * column)]
    return "\n".join(lines[1:])


def check_ranges(config: ConfigDict) -> None:
    """Raise UserError for an unknown key or a value out of range.

    The message names the key, its range and the value.
    """
    values = dict(leaves(config))
    for name in values:
        if name not in KEYS:
            raise UserError(unknown_key(name))
    for name, key in KEYS.items():
        if name not in values:
            raise UserError(f"the config lacks {name}: start from mxjax.config.default_config()")
        if not key.range.holds(values[name]):
            raise UserError(f"{name} must be {key.range.says}, got {values[name]!r}")


def leaves(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of each key except groups, in order.

    A key's value is not taken apart.
    """
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping | ConfigDict) and name not in KEYS:
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def unknown_key(name: str) -> str:
    """The message for an unknown dotted key, with the nearest known one."""
    groups = dict.fromkeys(key[:end] for key in KEYS for end in range(len(key)) if key[end] == ".")
    near = _nearest(name, [*KEYS, *groups])
    return f"the config has no key {name}" + (f": did you mean {near}?" if near else "")


def _nearest(name: str, known: Sequence[str]) -> str:
    """The known key most similar to `name`.

    A key with the same last word is preferred. Returns "" if none is similar.
    """
    last = lambda key: key.rpartition(".")[2]
    likeness = lambda key: difflib.SequenceMatcher(None, name, key).ratio()
    same = [key for key in known if last(key) == last(name)]
    best: Iterable[str] = same or difflib.get_close_matches(name, known, 1, 0.6)
    return max(best, key=likeness, default="")
