"""Correctness and format of one execution, from its result.

What is graded is the message that the workflow returned. By default that message must also be an agent's reply: a
design that prints the answer itself would otherwise be paid as a calculator with a dummy agent.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from mxjax.errors import UserError
from mxjax.mas.records import Result
from mxjax.program_extraction import extract_program
from mxjax.rewards.code import grade_code
from mxjax.rewards.format import format_code, format_math
from mxjax.rewards.math import grade_math
from mxjax.rewards.verdict import Verdict
from mxjax.rewards.words import grade_text
from mxjax.rollout.faults import GradingFaults
from mxjax.rollout.records import Question, Reward, Segment
from mxjax.rollout.tree import derive_seed
from mxjax.sandbox import Sandbox, SandboxLimits

Verify = Callable[[Question, str], Verdict | bool | float]


@dataclasses.dataclass(frozen=True)
class RewardFunction:
    """`reward(question, result, segments) -> Reward` for rollouts; make one with `make_reward`."""

    answer_from: str
    verify: Verify
    sandbox: Sandbox | None = None
    all_pass: bool = True
    faults: GradingFaults | None = None

    def submitter(self, question: Question) -> Callable[..., Future[Reward]] | None:
        """What grades this question in a worker, as `submit(function, ...)`.

        Returns None where it is done in place.
        """
        return self.sandbox.call if self.sandbox is not None and question.task_type == "code" else None

    def __call__(self, question: Question, result: Result, segments: Sequence[Segment] = ()) -> Reward:
        """Grade `result.content` against `question`; the format is judged on `result.origin_text`.

        0 for an execution that did not finish, and, with `answer_from="agent"`, for an answer that no agent gave.
        Exceptions propagate, InfrastructureError where the machine was lost: `faults` catches them in a rollout.
        """
        if result.status != "ok":
            return Reward(0.0, 0.0, True, how=result.reason or result.status)
        if self.answer_from == "agent" and result.origin_call is None:
            return Reward(0.0, 0.0, True, how="not_from_agent")
        correct, how = _graded(self.verify(question, result.content), self.all_pass)
        judge = format_code if question.task_type == "code" else format_math
        shape = 0.0 if result.origin_text is None else judge(result.origin_text)
        return Reward(correct, shape, True, how=how)


def make_reward(
    answer_from: str = "agent",
    verify: Verify | None = None,
    sandbox: Sandbox | None = None,
    limits: SandboxLimits | None = None,
    all_pass: bool = True,
    tests: int = 0,
    seed: int = 0,
    in_process: bool = False,
) -> RewardFunction:
    """The reward function of a run.

    Args:
        answer_from: "agent": the returned message must be an agent's reply; "any": whatever the script returned.
        verify: a task's own `verify(question, answer) -> Verdict | bool | float in [0, 1]`; by default "math" and
            "text" questions are compared with their gold answer, and "code" questions run on their tests.
        sandbox, limits: where the programs of code questions run, and the limits of each test.
        all_pass: a program is correct (1) or not (0); False: its correctness is the share of tests that it passes.
        tests: run so many of a question's tests, drawn by `seed` and its id, the same ones for every program; 0: all.
        in_process: count checks that only run beside the program, which could forge them.

    Raises:
        ValueError: an unknown `answer_from`.
    """
    if answer_from not in ("agent", "any"):
        raise UserError(f"reward.answer_from must be 'agent' or 'any', got {answer_from!r}.")
    if verify is not None:
        return RewardFunction(answer_from, verify)
    by_kind = functools.partial(
        _by_kind, sandbox=sandbox, limits=limits, all_pass=all_pass, tests=tests, seed=seed, in_process=in_process
    )
    return RewardFunction(answer_from, by_kind, sandbox, all_pass)


def _by_kind(
    question: Question,
    answer: str,
    *,
    sandbox: Sandbox | None,
    limits: SandboxLimits | None,
    all_pass: bool,
    tests: int,
    seed: int,
    in_process: bool,
) -> Verdict:
    if question.task_type == "math":
        return grade_math(question.gold, answer)
    if question.task_type == "text":
        return grade_text(question.gold, answer)
    if question.task_type != "code":
        raise ValueError(
            f"Question {question.id!r} has task_type {question.task_type!r}, which has no gold answer to compare "
            "with: pass verify= to make_reward."
        )
    if sandbox is None:
        raise ValueError(f"The code question {question.id!r} needs a sandbox: pass sandbox= to make_reward.")
    program = extract_program(answer)
    if program is None:
        return Verdict(False, "no_program")
    return grade_code(
        program,
        question.tests,
        sandbox,
        entry_point=question.gold,
        all_pass=all_pass,
        limits=limits,
        subset=tests or None,
        seed=derive_seed(seed, question.id, "tests"),
        in_process=in_process,
    )


def _graded(verdict: Verdict | bool | float, all_pass: bool) -> tuple[float, str]:
    """(correctness in [0, 1], deciding rule) of what a verifier returned."""
    if isinstance(verdict, Verdict):
        whole = all_pass or not verdict.total
        return float(verdict.correct) if whole else verdict.passed / verdict.total, verdict.how
    correct = float(verdict)
    if not 0.0 <= correct <= 1.0:
        raise ValueError(f"verify must return a Verdict, a bool or a number in [0, 1], got {verdict!r}.")
    return correct, "verify"
