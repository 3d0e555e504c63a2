"""The records passed from rollout to learner.

Each pair of parts shares one type, and all are immutable.

A *segment* is one LLM call: the exact ids sent, the exact ids sampled. An *execution* is one run of a design; a
*design* one script; a *tree* all designs and executions of one question.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mxjax.mas.records import Result
from mxjax.sampling import SamplingParams

GRADING_FAULT = "grading_fault"
"""What the reason of an execution begins with that was lost to an exception of its grading."""


@dataclasses.dataclass(frozen=True)
class Question:
    """One question to answer.

    `gold` is the reference answer ("math", "text"), or the function that tests call ("code").

    `tests` are the tests of a code question, in the shapes of `rewards.grade_code`; they are hidden from scripts and
    agents, except that votes compare programs on the `examples`.
    """

    id: str
    text: str
    task_type: str = "math"
    gold: str | None = None
    tests: Sequence[Mapping[str, Any]] | None = None
    source: str = ""
    split: str = "train"

    @property
    def examples(self) -> tuple[dict[str, Any], ...]:
        """The tests marked "public", without what they expect.

        Arguments of the host tool `run_program`.
        """
        return tuple(_example(test, self.gold) for test in self.tests or () if test.get("public"))


def _example(test: Mapping[str, Any], entry_point: str | None) -> dict[str, Any]:
    arguments = {name: test[name] for name in ("setup", "args", "check", "prelude", "functions") if name in test}
    if "args" in arguments:
        return {**arguments, "entry_point": entry_point}
    return arguments if "check" in arguments else {**arguments, "stdin": test["input"]}


@dataclasses.dataclass(frozen=True)
class Task:
    """A user's own task, returned by the function of a `module:function` spec.

    `questions` are the questions, or a function `(split, seed) -> questions`. `verify(question, answer)` returns a
    `rewards.Verdict`, a bool or a number in [0, 1]; None: answers are compared with the gold answers.
    """

    questions: Sequence[Question] | Callable[[str, int], Iterable[Question]]
    verify: Callable[[Question, str], Any] | None = None


@dataclasses.dataclass(frozen=True)
class Reward:
    """The verdict on one execution: `correct` and `format` in [0, 1].

    `valid` is False only where the execution is lost: the machine or the grading failed, not the policy. A wrong
    answer, or none, is a valid verdict of 0. `how` names the rule that decided.
    """

    correct: float
    format: float = 0.0
    valid: bool = True
    how: str = ""

    def total(self, format_weight: float = 0.4) -> float:
        """The terminal reward R = correct + format_weight * format.

        0 if not valid.
        """
        return float(self.correct + format_weight * self.format) if self.valid else 0.0


@dataclasses.dataclass(frozen=True)
class Segment:
    """One LLM call.

    Token ids are int32[P] and int32[R]; log-probabilities are float32[R], in nats.

    `logprobs` are those of the distribution sampled from, `model_logprobs` those of softmax(logits / T) before
    truncation; the policy ratio uses the latter. `parent` is the call whose conversation this one continues.
    `clamped` says that the design asked for other `sampling`, outside of its bounds.
    """

    role: str
    call_id: str
    parent: str | None
    prompt_token_ids: np.ndarray
    token_ids: np.ndarray
    logprobs: np.ndarray
    model_logprobs: np.ndarray
    sampling: SamplingParams
    finish_reason: str
    clamped: bool = False


@dataclasses.dataclass(frozen=True)
class Execution:
    """One run of a design.

    `status` is "ok"; "error" (the script failed or returned no answer); "limit" (it used up one of `mas.Limits`);
    "invalid_design" (the design cannot run, so nothing ran); or "infrastructure" (lost: to the machine, or to a fault
    of its grading). `reason` says more.
    """

    index: int
    segments: tuple[Segment, ...]
    result: Result | None
    correct: float
    format: float
    reward: float
    status: str
    reason: str = ""

    @property
    def valid(self) -> bool:
        """Whether the execution was not lost.

        False for the status "infrastructure" alone. An execution that failed, or whose design cannot run, is valid and
        earns 0.
        """
        return self.status != "infrastructure"

    @property
    def grading_fault(self) -> bool:
        """Whether grading raised an exception (`rollout.faults`)."""
        return not self.valid and self.reason.startswith(GRADING_FAULT)


@dataclasses.dataclass(frozen=True)
class Design:
    """One script by the designer, with its N executions.

    `error` says why it cannot run ("" if it can).

    `error_kind` is the stable word for that, such as "syntax" or "name" (`mas.DesignError.kind`).
    """

    index: int
    segment: Segment | None
    source: str
    error: str
    executions: tuple[Execution, ...]
    error_kind: str = ""


@dataclasses.dataclass(frozen=True)
class QuestionTree:
    """M designs × N executions of one question at RL step `step`."""

    question: Question
    designs: tuple[Design, ...]
    step: int = 0

    @property
    def rewards_MN(self) -> np.ndarray:
        """Terminal rewards, float64[M, N]."""
        return np.array([[e.reward for e in d.executions] for d in self.designs], np.float64)

    @property
    def valid_MN(self) -> np.ndarray:
        """`Execution.valid` of each execution, bool[M, N].

        All but the lost ones enter advantages.
        """
        return np.array([[e.valid for e in d.executions] for d in self.designs], bool)

    @property
    def executor_valid_MN(self) -> np.ndarray:
        """Which executions enter executor statistics, bool[M, N].

        Those that are valid and made at least one executor call. Without the second condition executors would be paid
        because another design failed to parse.
        """
        return np.array([[e.valid and len(e.segments) > 0 for e in d.executions] for d in self.designs], bool)


def design_error_counts(trees: Sequence[QuestionTree]) -> dict[str, int]:
    """Designs that cannot run, by kind of error: {"design_errors/syntax": 2, ...}."""
    kinds = [design.error_kind or "other" for tree in trees for design in tree.designs if design.error]
    return {f"design_errors/{kind}": count for kind, count in sorted(collections.Counter(kinds).items())}
