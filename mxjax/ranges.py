"""What each key of the config may hold: one table, so that no value ruins a run after hours of it.

Types and ranges of single keys stand here; what two keys must be to each other is checked in `checks.check_config`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mxjax.config import default_config
from mxjax.data.overlap import POLICIES
from mxjax.errors import UserError
from mxjax.models.config import DTYPES, REMAT
from mxjax.rl.advantages import GROUPS
from mxjax.rl.credit import AGGREGATIONS
from mxjax.rl.optimizer import SCHEDULES
from mxjax.rl.stages import MODES, ROLES
from mxjax.rl.update import OLD_LOGPROBS, ON_STAGE_SWITCH
from mxjax.sampling.attention import BACKENDS
from mxjax.sampling.engine import PREFIX_CACHES
from mxjax.sampling.params import MAX_TEMPERATURE, MIN_TEMPERATURE
from mxjax.sandbox import LEVELS

MOST = 2**31 - 1  # of whole numbers, which become int32 in arrays
FREE = ("data.train", "data.mixture", "data.validation", "rollout.limits", "reward.limits")
"""Keys whose contents have names of their own, which those who read them check."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a key may have: in words, after "must be", and as a predicate."""

    says: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int = MOST, also: str = "") -> Range:
    """Whole numbers from `least` to `most`; `also` says what a special one means."""
    is_whole = lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool)
    end = "" if most == MOST else f" and at most {most}"
    says = f"a whole number of at least {least}{end}{also}"
    return Range(says, lambda value: is_whole(value) and least <= value <= most)


def real(least: float = -math.inf, most: float = math.inf, above: bool = False, below: bool = False) -> Range:
    """Finite numbers from `least` to `most`; `above` and `below` leave out these two."""

    def holds(value: Any) -> bool:
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return (least < value if above else least <= value) and (value < most if below else value <= most)

    if math.isfinite(most):
        return Range(f"a number in {'(' if above else '['}{least:g}, {most:g}{')' if below else ']'}", holds)
    if not math.isfinite(least):
        return Range("a finite number", holds)
    return Range(f"a finite number {'above' if above else 'of at least'} {least:g}", holds)


def pair(least: float) -> Range:
    """Two finite numbers of at least `least`, the lower first."""
    each = real(least)

    def holds(value: Any) -> bool:
        is_pair = isinstance(value, tuple | list) and len(value) == 2
        return is_pair and all(map(each.holds, value)) and value[0] <= value[1]

    return Range(f"two finite numbers of at least {least:g}, the lower first", holds)


def one_of(*choices: str) -> Range:
    """One of some words."""
    return Range(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def or_else(value: Any, other: Range) -> Range:
    """`value` itself, of its own type, or what `other` allows."""
    says = f"{value} or {other.says}"
    return Range(says, lambda given: (type(given) is type(value) and given == value) or other.holds(given))


def _is_spec(value: Any) -> bool:
    return isinstance(value, str | Mapping | ConfigDict)


FLAG = Range("True or False", lambda value: isinstance(value, bool))
TEXT = Range("text", lambda value: isinstance(value, str))
NAME = Range("text that is not empty", lambda value: isinstance(value, str) and bool(value.strip()))
NAMES = Range(
    "a tuple of names",
    lambda value: isinstance(value, list | tuple) and all(isinstance(name, str) and name for name in value),
)
MAPPING = Range("a mapping of names to values", lambda value: isinstance(value, Mapping | ConfigDict))
SPEC = Range("the spec of a source of questions", _is_spec)
SPECS = Range(
    "a tuple of specs with weights", lambda value: isinstance(value, list | tuple) and all(map(_is_spec, value))
)
SHARE = real(0, 1)
COUNT = whole(1)
NO_LIMIT = whole(0, also=", 0 for all")
AXIS = or_else(-1, COUNT)
EVERY = whole(0, also=", 0 for never")
TEMPERATURE = real(MIN_TEMPERATURE, MAX_TEMPERATURE)
GREEDY = real(0, 0)
GREEDY_TOO = Range(f"0 (greedy) or {TEMPERATURE.says}", lambda value: GREEDY.holds(value) or TEMPERATURE.holds(value))
OPTIMIZER = {
    "learning_rate": real(0), "b1": real(0, 1, below=True), "b2": real(0, 1, below=True), "eps": real(0, above=True),
    "weight_decay": real(0), "clip_norm": or_else(None, real(0, above=True)), "warmup_steps": whole(0),
    "schedule": one_of(*SCHEDULES), "total_steps": whole(0),
}  # fmt: skip
ROLE = {
    "sampling.temperature": TEMPERATURE,  # not 0: greedy executions would all be alike
    "sampling.top_k": whole(-1, also=", 0 or -1 for all tokens"), "sampling.top_p": real(0, 1, above=True),
    "sampling.min_p": SHARE, "prompt": NAME, "max_tokens": COUNT, "minibatch_segments": whole(0),
}  # fmt: skip

RANGES: dict[str, Range] = {
    "seed": whole(-(2**63), 2**63 - 1), "workdir": TEXT, "init": NAME, "task": TEXT,
    "model.dtype": one_of(*DTYPES), "model.param_dtype": one_of(*DTYPES), "model.remat": one_of(*REMAT),
    **{f"mesh.{axis}": AXIS for axis in ("data", "fsdp", "tensor")},
    "data.train": SPEC, "data.mixture": SPECS, "data.validation": SPEC, "data.train_size": NO_LIMIT,
    "data.validation_size": COUNT, "data.overlap": one_of(*POLICIES),
    **{f"roles.{role}.{key}": value for role in ROLES for key, value in ROLE.items()},
    "roles.executor.design_sampling.temperature": pair(0), "roles.executor.design_sampling.truncation": FLAG,
    "rollout.questions": COUNT, "rollout.designs": COUNT, "rollout.executions": COUNT, "rollout.limits": MAPPING,
    "rollout.tools": NAMES, "rollout.stateful_tools": FLAG,
    "engine.slots": COUNT, "engine.page_size": COUNT, "engine.max_len": whole(2), "engine.pages": whole(0),
    "engine.decode_steps": COUNT, "engine.prefix_cache": one_of(*PREFIX_CACHES),
    "engine.attention": one_of("auto", *BACKENDS),
    "reward.answer_from": one_of("agent", "any"), "reward.format_weight": real(0),
    "reward.sandbox": one_of("auto", *LEVELS), "reward.limits": MAPPING, "reward.tests": NO_LIMIT,
    "reward.all_pass": FLAG, "reward.in_process": FLAG, "reward.max_fault_share": SHARE,
    "rl.steps": COUNT, "rl.mode": one_of(*MODES), "rl.split_policy": FLAG, "rl.stage_length": COUNT,
    "rl.first_stage": one_of(*ROLES), **{f"rl.optimizer.{key}": value for key, value in OPTIMIZER.items()},
    "rl.clip_low": real(0, 1, below=True), "rl.clip_high": real(0), "rl.entropy": real(),
    "rl.minibatch_segments": COUNT, "rl.epochs": COUNT, "rl.aggregation": one_of(*AGGREGATIONS),
    "rl.executor_group": one_of(*GROUPS), "rl.drop_zero_spread": FLAG, "rl.old_logprobs": one_of(*OLD_LOGPROBS),
    "rl.on_stage_switch": one_of(*ON_STAGE_SWITCH), "rl.microbatch_rows": COUNT, "rl.row_length": whole(2),
    "rl.max_skipped": COUNT, "sft.max_skipped": COUNT,
    "sft.examples": NAME, "sft.questions": COUNT, "sft.designer_share": SHARE, "sft.tool_share": SHARE,
    "sft.vocab_size": COUNT, "sft.steps": COUNT, "sft.batch_segments": COUNT, "sft.microbatch_rows": COUNT,
    "sft.row_length": whole(2), "sft.checkpoint_every": COUNT,
    **{f"sft.optimizer.{key}": value for key, value in OPTIMIZER.items()},
    "eval.every": whole(0, also=", 0 for before and after only"), "eval.benchmarks": NAMES, "eval.systems": NAMES,
    "eval.samples": COUNT, "eval.temperature": GREEDY_TOO, "eval.choose_on": NAME,
    "eval.choose_by": NAME, "eval.choose_on_test": FLAG, "eval.agent_text": TEXT,
    "checkpoint.every": COUNT, "checkpoint.keep": COUNT,
    "telemetry.episodes_every": EVERY, "telemetry.tensorboard": FLAG, "telemetry.wandb": TEXT,
}  # fmt: skip


def check_ranges(config: ConfigDict) -> None:
    """Raises UserError, naming key, range and value, for a key that there is not and for a value out of its range."""
    given, known = dict(leaves(config)), dict(leaves(default_config()))
    for name in given:
        if name not in known:
            raise UserError(unknown_key(name))
    for name in known:
        if name not in given:
            raise UserError(f"the config lacks {name}: start from mxjax.config.default_config()")
        if not RANGES[name].holds(given[name]):
            raise UserError(f"{name} must be {RANGES[name].says}, got {given[name]!r}")


def leaves(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of each key that is no group of others, in their order; what has a range, as a whole."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping | ConfigDict) and name not in RANGES:
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def unknown_key(name: str) -> str:
    """The sentence for a dotted key that there is not, with the nearest one that there is."""
    known = [key for key, _ in leaves(default_config())]
    groups = dict.fromkeys(key[:end] for key in known for end in range(len(key)) if key[end] == ".")
    near = _nearest(name, [*known, *groups])
    return f"the config has no key {name}" + (f": did you mean {near}?" if near else "")


def _nearest(name: str, known: Sequence[str]) -> str:
    """The known key that is most like `name`: with the same last word if one has it, else alike as a whole; or ""."""
    last = lambda key: key.rpartition(".")[2]
    likeness = lambda key: difflib.SequenceMatcher(None, name, key).ratio()
    same = [key for key in known if last(key) == last(name)]
    best: Iterable[str] = same or difflib.get_close_matches(name, known, 1, 0.6)
    return max(best, key=likeness, default="")


def check_names(name: str, given: Mapping[str, Any], record: type) -> None:
    """Raises UserError for a name in the mapping `given` that the dataclass `record` lacks."""
    known = [field.name for field in dataclasses.fields(record)]
    if unknown := sorted(set(given) - set(known)):
        raise UserError(f"{name} knows {', '.join(known)}, not {unknown[0]!r}")
