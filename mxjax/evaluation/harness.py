"""The harness that answers questions with one system and grades the answers.

All systems go through it and one grader.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mxjax import mas
from mxjax.data.catalogue import SAMPLE
from mxjax.errors import UserError
from mxjax.evaluation.answered import Answered, answered, make_row
from mxjax.evaluation.systems import (
    BEST_FIXED,
    CONSISTENT,
    DESIGNED,
    FROZEN_EXECUTOR,
    RANDOM,
    SOLVER_TEXT,
    fixed_script,
    parse_system,
    random_script,
)
from mxjax.rollout import Question, QuestionTree, Reward, Role, collect
from mxjax.rollout.tree import derive_seed


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A system on a set of questions.

    Its table row, and the trees of the questions that were answered now.
    """

    row: dict[str, Any]
    trees: list[QuestionTree]


def evaluate(
    questions: Sequence[Question],
    system: str,
    roles: Mapping[str, Role],
    reward: Callable[..., Reward],
    benchmark: str = "",
    samples: int = 1,
    seed: int = 0,
    limits: mas.Limits | None = None,
    agent_text: str = SOLVER_TEXT,
    progress: Callable[[int, float], None] = lambda done, accuracy: None,
    tools: Mapping[str, mas.Tool] | None = None,
    script: str = "",
    earlier: Mapping[str, Answered] | None = None,
    finished: Callable[[QuestionTree, Answered], None] = lambda tree, record: None,
) -> Outcome:
    """Answer every question `samples` times with `system` and grade the returned messages.

    Args:
      roles: "executor", and "designer" where designs are written; "frozen_executor" for the system of that name.
      progress: called with the number of samples answered so far and their accuracy.
      script: the design of "best_fixed".
      earlier: records of questions that were answered before, by question id; they are not answered again.
      finished: called with each tree as soon as its question is answered, and with its record.

    Raises ValueError for an unknown system, a role or script that it lacks, or no questions.
    """
    name, size = parse_system(system)
    if not size:
        raise UserError(f"{system} is settled by match_budget before it is evaluated")
    if not questions:
        raise UserError(f"no questions to evaluate on in {benchmark or 'the set'}; check its file or raise the limit")
    if name == FROZEN_EXECUTOR and name not in roles:
        raise UserError(f"{FROZEN_EXECUTOR} needs another policy; name it with --executor CHECKPOINT")
    if name == BEST_FIXED and not script:
        raise UserError(f"{BEST_FIXED} needs the design that was chosen on validation questions")
    done = {q.id: (earlier or {})[q.id] for q in questions if q.id in (earlier or {})}
    left = [question for question in questions if question.id not in done]
    each = size if name == CONSISTENT else 1
    last = time.monotonic()

    def keep(tree: QuestionTree) -> None:
        nonlocal last
        now = time.monotonic()
        done[tree.question.id] = record = answered(tree, each, now - last)
        last = now
        finished(tree, record)
        report()

    def report() -> None:
        right = [value for record in done.values() for value in record.correct]
        progress(len(right), sum(right) / max(1, len(right)))

    roll_out = functools.partial(collect, seed=seed, limits=limits, tools=tools, finished=keep)
    if done:
        report()
    if not left:
        trees = []
    elif name in (DESIGNED, FROZEN_EXECUTOR):
        cast = {**roles, "executor": roles[FROZEN_EXECUTOR]} if name == FROZEN_EXECUTOR else roles
        trees = roll_out(left, cast, reward, designs=samples, executions=1)
    elif name == RANDOM:
        drawn = {q.id: [random_script(derive_seed(seed, q.id, RANDOM, i)) for i in range(samples)] for q in left}
        trees = roll_out(left, roles, reward, scripts=drawn, designs=samples, executions=1)
    else:
        script = script or fixed_script("single" if name == CONSISTENT else name, agent_text, size)
        trees = roll_out(left, roles, reward, scripts=[script], executions=samples * each)
    records = [done[question.id] for question in questions]
    return Outcome(make_row(records, system, benchmark, seed), trees)


def distinct(name: str, questions: Iterable[Question]) -> list[Question]:
    """The questions of benchmark `name`, repeated ones once.

    Raises ValueError for two different ones with the same id, since seeds and records go by it.
    """
    by_id: dict[str, Question] = {}
    for question in questions:
        if by_id.setdefault(question.id, question) != question:
            raise UserError(f"{name} has two different questions with the id {question.id!r}; give each its own")
    return list(by_id.values())


def shown_name(name: str, questions: Sequence[Question]) -> str:
    """What rows call the benchmark `name`.

    "NAME:sample" where its questions are those of the shipped sample.
    """
    source = questions[0].source if questions else ""
    return source if source.endswith(SAMPLE) else name
