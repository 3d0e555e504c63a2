"""Catch exceptions of grading, at the cost of one execution each.

The run goes on. Answers are hostile and verifiers are users' code: something will raise. Every kind of exception is
logged whole, once, and a run whose verifier is simply broken ends instead of training on what is left.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mxjax.errors import UserError, message_of, place_of
from mxjax.mas.records import Result
from mxjax.rollout.records import GRADING_FAULT, Question, Reward, Segment
from mxjax.sandbox.outcome import InfrastructureError

if TYPE_CHECKING:
    from mxjax.rollout.protocols import RewardFunction

LEAST = 10
"""Faults below which nothing stops, whatever their share."""
MAX_SHARE = 0.05
SHOWN = 2_000  # characters of a question and of an answer in the log

_log = logging.getLogger(__name__)


class GradingFaults:
    """Grade executions and count faults of grading; thread-safe.

    One instance serves all that a command grades. From the `LEAST`-th fault on, `grade` raises UserError if faults are
    more than `max_share` of what it has graded; executions that did not finish, which no verifier looks at, are left
    out.
    """

    def __init__(self, max_share: float = MAX_SHARE):
        self.max_share = max_share
        self.graded = self.count = 0
        self._kinds: set[tuple[type, str]] = set()
        self._lock = threading.Lock()

    def grade(self, reward: RewardFunction, question: Question, result: Result, segments: Sequence[Segment]) -> Reward:
        """The verdict of `reward`.

        If it raises an exception the verdict is not valid, and the exception is logged and counted. A lost machine
        (InfrastructureError) is not counted: it says nothing about the verifier.
        """
        try:
            verdict = reward(question, result, segments)
        except InfrastructureError as error:
            return Reward(0.0, 0.0, False, how=f"infrastructure: {type(error).__name__}: {error}")
        except Exception as error:
            self._caught(error, question, result)
            return Reward(0.0, 0.0, False, how=f"{GRADING_FAULT}: {type(error).__name__}: {message_of(error)}")
        with self._lock:
            self.graded += result.status == "ok"
        return verdict

    def _caught(self, error: Exception, question: Question, result: Result) -> None:
        place = place_of(error)
        what = f"{type(error).__name__}: {message_of(error)} ({place})"
        with self._lock:
            self.graded += 1
            self.count += 1
            is_new = (type(error), place) not in self._kinds
            self._kinds.add((type(error), place))
            count, graded = self.count, self.graded
        if is_new:
            _log.error(
                "grading failed, so this execution does not count; more of the kind are only counted: %s\n"
                "question %s: %.*r\nanswer: %.*r",
                *(what, question.id, SHOWN, question.text, SHOWN, result.content),
                exc_info=error,
            )
        if count >= LEAST and count > self.max_share * graded:
            raise UserError(
                f"grading failed for {count} of {graded} answers, more than reward.max_fault_share={self.max_share:g} "
                f"allows, at last for question {question.id!r} with {what}: mend the verifier or the question; the "
                "traceback of each kind of fault is in the log"
            ) from error
