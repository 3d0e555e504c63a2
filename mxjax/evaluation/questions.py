"""The questions of a benchmark as an evaluation takes them: each id once, under a name that tells a sample apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mxjax.data.catalogue import SAMPLE
from mxjax.errors import UserError
from mxjax.rollout import Question


def distinct(name: str, questions: Iterable[Question]) -> list[Question]:
    """The questions of benchmark `name`, repeated ones once.

    Raises ValueError for two different ones with the same id, since seeds and records go by it.
    """
    found: dict[str, Question] = {}
    for question in questions:
        if found.setdefault(question.id, question) != question:
            raise UserError(f"{name} has two different questions with the id {question.id!r}; give each its own")
    return list(found.values())


def shown_name(name: str, questions: Sequence[Question]) -> str:
    """What rows call the benchmark `name`: "NAME:sample" where its questions are those of the shipped sample."""
    source = questions[0].source if questions else ""
    return source if source.endswith(SAMPLE) else name
