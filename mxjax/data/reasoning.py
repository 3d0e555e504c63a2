"""Questions from reasoning-gym, whose 100 tasks are generators: as many questions as a run needs, of known answers.

Item i of a generator seeded s is drawn from s + i, so two near seeds share almost all their items. Streams therefore
start at hashed seeds, and overlap between splits is excluded by text, never by trust in seeds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mxjax.data.arithmetic import evaluate, is_expression
from mxjax.data.identity import text_id
from mxjax.rollout.records import Question

PREFIX = "reasoning_gym:"
_FORMS = ("task", "bare", "mixed")
_INTEGER = re.compile(r"-?[0-9]{1,400}")


def draw(
    source: str, options: Mapping[str, Any], split: str, seed: int, form: str, bare_share: float, limit: int
) -> Iterator[Question]:
    """At most `limit` draws of a task, lazily, duplicates included, as questions.

    Args:
        source: `reasoning_gym:<task>`, a task with one right answer for each item.
        options: the task's own keyword arguments (`min_terms`, `max_digits`, ...).
        split: recorded in each question; part of the seed, as are `source` and `options`.
        seed: the run's data seed.
        form: "task": the task's own wording; "bare": the arithmetic expression alone; "mixed": `bare_share` of the
            items bare, drawn per item.
        bare_share: see `form`.
        limit: draws, not questions: an item whose stated answer is not its expression's value is left out.

    Raises:
        ValueError: unknown task, option or form, or a form that the task does not have.
        ImportError: reasoning-gym is not installed.
    """
    if form not in _FORMS:
        raise ValueError(f"form must be one of {', '.join(_FORMS)}, got {form!r}.")
    if not 0.0 <= bare_share <= 1.0:
        raise ValueError(f"bare_share must lie in [0, 1], got {bare_share!r}.")
    share = {"task": 0.0, "bare": 1.0, "mixed": bare_share}[form]
    key = json.dumps([source, split, seed, sorted(options.items())], default=str)
    dataset = _dataset(source.removeprefix(PREFIX), dict(options), stream_seed(key), limit)
    for index in range(limit):
        question = _question(dataset[index], source, split, _uniform(f"{key}/{index}") < share)
        if question is not None:
            yield question


def stream_seed(key: str) -> int:
    """A generator seed in [0, 2^31) that is far from those of other keys, as numpy-based tasks need it."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") >> 1


def _uniform(key: str) -> float:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48


def _dataset(task: str, options: dict[str, Any], seed: int, size: int) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ImportError("reasoning-gym is not installed: run `pip install 'mxjax[data]'`.") from error
    if task not in DATASETS:
        raise ValueError(f"reasoning-gym has no task {task!r}: see `reasoning_gym.factory.DATASETS` for their names.")
    try:
        return reasoning_gym.create_dataset(task, seed=seed, size=size, **options)
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"reasoning-gym task {task!r} refuses the options {options}: {error}.") from error


def _question(item: Mapping[str, Any], source: str, split: str, bare: bool) -> Question | None:
    """`item` as a question, None if its stated answer is wrong."""
    answer = str(item["answer"]).strip()
    expression = item["metadata"].get("expression")
    is_arithmetic = isinstance(expression, str) and is_expression(expression)
    if is_arithmetic and not _is_value(answer, expression):
        return None
    if bare and not is_arithmetic:
        raise ValueError(f"{source} has no bare arithmetic form: set form='task'.")
    text = " ".join(expression.split()) if bare else str(item["question"])
    task_type = "math" if _INTEGER.fullmatch(answer) else "text"
    return Question(text_id(source, text), text, task_type, gold=answer, source=source, split=split)


def _is_value(answer: str, expression: str) -> bool:
    try:
        return _INTEGER.fullmatch(answer) is not None and evaluate(expression) == int(answer)
    except ValueError:
        return False
