"""Questions from generators, as many as a run needs, of known answers.

The 100 tasks of reasoning-gym, and sums. Item i of a generator seeded s is drawn from s + i, so two near seeds share
almost all their items. Streams therefore start at hashed seeds, and overlap between splits is excluded by text, never
by trust in seeds.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mxjax.data.arithmetic import evaluate, is_expression
from mxjax.data.identity import text_id
from mxjax.errors import MissingPackage, UserError
from mxjax.rollout.records import Question

GYM = "reasoning_gym:"
SUMS = "arithmetic:sums"
_FORMS = ("task", "bare", "mixed")
_INTEGER = re.compile(r"-?[0-9]{1,400}")


def is_generator(source: str) -> bool:
    """Whether a source's name is that of a generator."""
    return source.startswith(GYM) or source == SUMS


def draw(
    source: str, options: Mapping[str, Any], split: str, seed: int, form: str, bare_share: float, limit: int
) -> Iterator[Question]:
    """At most `limit` draws of a task, lazily, duplicates included, as questions.

    Args:
        source: `reasoning_gym:<task>`, a task with one right answer for each item, or `arithmetic:sums`.
        options: the task's own keyword arguments (`min_terms`, `max_digits`, ...); those of `Sums`.
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
        raise UserError(f"form must be one of {', '.join(_FORMS)}, got {form!r}.")
    if not 0.0 <= bare_share <= 1.0:
        raise UserError(f"bare_share must lie in [0, 1], got {bare_share!r}.")
    share = {"task": 0.0, "bare": 1.0, "mixed": bare_share}[form]
    key = json.dumps([source, split, seed, sorted(options.items())], default=str)
    dataset = _dataset(source, dict(options), stream_seed(key), limit)
    for index in range(limit):
        question = _question(dataset[index], source, split, _uniform(f"{key}/{index}") < share)
        if question is not None:
            yield question


class Sums:
    """Sums and differences of whole numbers: "12 + 7 - 3".

    (reasoning-gym's chain_sum gives all terms of an item the same number of digits.) Terms and digits are uniform in
    their ranges, a number is uniform among those of its digits. Raises ValueError for impossible ranges.
    """

    def __init__(self, seed: int = 0, min_terms: int = 2, max_terms: int = 4, min_digits: int = 1, max_digits: int = 2):
        if not 1 <= min_terms <= max_terms or not 1 <= min_digits <= max_digits:
            raise UserError("min_terms and min_digits must be at least 1 and at most max_terms and max_digits")
        self.seed, self.terms, self.digits = seed, (min_terms, max_terms), (min_digits, max_digits)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item `index` in the form of reasoning-gym's."""
        rng = random.Random(f"{self.seed}/{index}")
        parts = [self._number(rng)]
        for _ in range(rng.randint(*self.terms) - 1):
            parts += [rng.choice("+-"), self._number(rng)]
        expression = " ".join(parts)
        return {
            "question": f"What is {expression}?",
            "answer": str(evaluate(expression)),
            "metadata": {"expression": expression},
        }

    def _number(self, rng: random.Random) -> str:
        digits = rng.randint(*self.digits)
        return str(rng.randint(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1))


def stream_seed(key: str) -> int:
    """A generator seed in [0, 2^31) derived from `key`.

    Seeds of different keys are far apart; numpy-based tasks need 32 bits.
    """
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") >> 1


def _uniform(key: str) -> float:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48


def _dataset(source: str, options: dict[str, Any], seed: int, size: int) -> Any:
    if source == SUMS:
        try:
            return Sums(seed, **options)
        except (TypeError, ValueError) as error:
            raise UserError(f"{SUMS} refuses the options {options}: {error}.") from error
    task = source.removeprefix(GYM)
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise MissingPackage("reasoning-gym is not installed: run `pip install 'mxjax[data]'`.") from error
    if task not in DATASETS:
        raise UserError(f"reasoning-gym has no task {task!r}: see `reasoning_gym.factory.DATASETS` for their names.")
    try:
        return reasoning_gym.create_dataset(task, seed=seed, size=size, **options)
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"reasoning-gym task {task!r} refuses the options {options}: {error}.") from error


def _question(item: Mapping[str, Any], source: str, split: str, bare: bool) -> Question | None:
    """`item` as a question, None if its stated answer is wrong."""
    answer = str(item["answer"]).strip()
    expression = item["metadata"].get("expression")
    is_arithmetic = isinstance(expression, str) and is_expression(expression)
    if is_arithmetic and not _is_value(answer, expression):
        return None
    if bare and not is_arithmetic:
        raise UserError(f"{source} has no bare arithmetic form: set form='task'.")
    text = " ".join(expression.split()) if bare else str(item["question"])
    task_type = "math" if _INTEGER.fullmatch(answer) else "text"
    return Question(text_id(source, text), text, task_type, gold=answer, source=source, split=split)


def _is_value(answer: str, expression: str) -> bool:
    try:
        return _INTEGER.fullmatch(answer) is not None and evaluate(expression) == int(answer)
    except ValueError:
        return False
