"""Training and held-out questions of a run, and its batches.

The held-out questions are drawn first and their texts are kept out of every other stream, because streams of one
generator meet: with near seeds, all of 512 held-out questions were found among 20,000 training ones.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mxjax.data.benchmarks import benchmark_keys, check_apart, left_out
from mxjax.data.identity import texts_of
from mxjax.data.sources import load_questions
from mxjax.errors import UserError
from mxjax.rollout.records import Question

POOL_RATIO = 20
HELD_OUT = "held_out"  # names the held-out pool among the benchmarks of a run


@dataclasses.dataclass(frozen=True)
class Pools:
    """Training and held-out questions without a text in common."""

    train: list[Question]
    held_out: list[Question]

    @functools.cached_property
    def digest(self) -> str:
        """16 hexadecimal digits for these pools, from ids and texts in order."""
        listed = [[(question.id, question.text) for question in pool] for pool in (self.train, self.held_out)]
        return hashlib.blake2b(json.dumps(listed).encode(), digest_size=8).hexdigest()


def held_out(
    spec: Any, size: int, seed: int = 0, split: str = "test", exclude_keys: frozenset[str] = frozenset()
) -> list[Question]:
    """`size` test questions, always distinct.

    Draw these before anything else, then exclude `texts_of(...)` them.
    """
    return load_questions(spec, split, seed, size, distinct=True, exclude_keys=exclude_keys)


def disjoint_pools(
    spec: Any,
    size: int | None,
    held_out_size: int,
    seed: int = 0,
    held_out_spec: Any = None,
    ratio: int = POOL_RATIO,
    train_without: frozenset[str] = frozenset(),
    held_out_without: frozenset[str] = frozenset(),
) -> Pools:
    """Held-out questions, and `size` training questions with other texts.

    Args:
        spec: source of the training questions (`mxjax.data.sources`).
        size: how many training questions; None: all the rest of a file or task.
        held_out_size: how many held-out questions, drawn first.
        seed: the run's data seed.
        held_out_spec: their source, if it is another.
        ratio: distinct training questions there must be for each held-out one. Holding out a large part of a small
            space would change what is trained on, and leave a pool that the policy can learn by heart.
        train_without: statements that are not trained on, by `statement_key`.
        held_out_without: statements that are not held out.

    Raises:
        ValueError: the sources cannot give that much.
    """
    test_spec = spec if held_out_spec is None else held_out_spec
    test = held_out(test_spec, held_out_size, seed, exclude_keys=held_out_without)
    train = load_questions(spec, "train", seed, size, exclude_texts=texts_of(test), exclude_keys=train_without)
    distinct = len(texts_of(train))
    if distinct < ratio * held_out_size:
        raise UserError(
            f"{distinct} distinct training questions are fewer than {ratio} for each of {held_out_size} held-out ones: "
            f"hold out at most {distinct // ratio}, or train on a larger pool."
        )
    return Pools(train, test)


def question_pools(config: ConfigDict) -> Pools:
    """Training and held-out questions of a run, without a text in common.

    The held-out ones are drawn first. Neither shares a text with a benchmark that the run names or that is on this
    machine (`data.overlap`).
    """
    data = config.data
    spec = config.task or (list(map(dict, data.mixture)) if data.mixture else _spec(data.train))
    validation = _spec(data.validation) if data.validation else None
    size = data.train_size or None
    keys = benchmark_keys(name for name in config.eval.benchmarks if name != HELD_OUT)
    not_drawn = left_out(keys, data.overlap)
    on_test = config.eval.choose_on_test
    pools = disjoint_pools(
        spec,
        size,
        data.validation_size,
        config.seed,
        held_out_spec=validation,
        train_without=not_drawn,
        held_out_without=frozenset() if on_test else not_drawn,
    )
    check_apart(pools.train, keys, "training")
    if not on_test:
        check_apart(pools.held_out, keys, "validation")
    return pools


def _spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, ConfigDict) else value for key, value in spec.items()}


@dataclasses.dataclass(frozen=True)
class QuestionStream:
    """The questions of each step, a pure function of (seed, step).

    The step is the data position. Each epoch is a shuffle of its own, cut into steps; the remainder of an epoch, other
    questions each time, is left out, so that no step asks one question twice. Nothing is sharded here: every process
    sees the whole batch.
    """

    pool: Sequence[Question]
    seed: int
    questions_per_step: int

    def __post_init__(self) -> None:
        if not self.pool:
            raise UserError("The data set is empty: point data.train at a source with questions.")
        if not 1 <= self.questions_per_step <= len(self.pool):
            raise UserError(
                f"A step of {self.questions_per_step} questions cannot be drawn from a pool of {len(self.pool)}: "
                "lower the questions per step or enlarge the pool."
            )
        if len({question.id for question in self.pool}) < len(self.pool):
            raise UserError("Two questions of the pool have the same id: make the ids of the data set distinct.")

    @property
    def steps_per_epoch(self) -> int:
        return len(self.pool) // self.questions_per_step

    def batch(self, step: int) -> list[Question]:
        """The questions of RL step `step`, counted from 0."""
        if step < 0:
            raise ValueError(f"The step must be at least 0, got {step}.")
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.questions_per_step
        order = _shuffle(self.seed % 2**64, epoch, len(self.pool))
        return [self.pool[i] for i in order[start : start + self.questions_per_step]]


@functools.lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, size: int) -> tuple[int, ...]:
    """A permutation of range(size) from raw Philox bits.

    numpy keeps these the same across versions.
    """
    keys = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(size)
    return tuple(np.argsort(keys, kind="stable").tolist())
