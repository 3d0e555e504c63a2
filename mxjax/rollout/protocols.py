"""Protocols of engine, script and reward, as a rollout uses them.

Rollouts depend on nothing else, so a test or a user can substitute other implementations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

from mxjax.mas import AgentCall, Reply, Result, ToolCall
from mxjax.rollout.faults import GradingFaults
from mxjax.rollout.records import Question, Reward, Segment
from mxjax.sampling import Completion, Request

Call = AgentCall | ToolCall


class ChatTokenizer(Protocol):
    """The ids of a conversation, a list of {"role", "content"}."""

    @property
    def rewrites_history(self) -> bool:
        """Whether past turns are rendered anew, so that ids cannot be continued."""

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Ids of a conversation, ready for the reply."""

    def extend_ids(self, ids: Sequence[int], messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Ids that continue `ids` with `messages` and ask for the next reply."""


class Handle(Protocol):
    """A submitted request, with an `id` unique within its engine."""

    @property
    def id(self) -> int:
        """Its number."""

    @property
    def done(self) -> bool:
        """Whether the completion is there."""

    def result(self) -> Completion:
        """The completion of a request that is done."""

    def cancel(self) -> None:
        """End the request."""


class ChatEngine(Protocol):
    """An engine that samples replies, such as `sampling.Engine`."""

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The tokenizer of its policy."""

    @property
    def max_len(self) -> int:
        """Most tokens of a prompt and its response together."""

    @property
    def prefix_cache(self) -> str:
        """ "all": outputs depend, within rounding, on what the engine did before."""

    def submit(self, request: Request) -> Handle:
        """Queue a request."""

    def step(self) -> object:
        """Run the engine for one turn."""


class Script(Protocol):
    """A running script; `mas.ScriptRun` is one."""

    @property
    def result(self) -> Result | None:
        """How it ended; None while it runs."""

    @property
    def pending(self) -> tuple[Call, ...]:
        """The calls that it waits for."""

    @property
    def answered(self) -> tuple[tuple[Call, Reply], ...]:
        """The calls that have been answered, with their replies, in structural order."""

    def advance(self, replies: Mapping[str, Reply | str]) -> tuple[Call, ...]:
        """Answer some of the pending calls.

        Returns the calls that the script then makes.
        """


class RewardFunction(Protocol):
    """The reward of an execution.

    An exception loses the execution (`rollout.faults`).
    """

    def __call__(self, question: Question, result: Result, segments: Sequence[Segment]) -> Reward:
        """The reward of an execution that ended with `result`.

        `segments` are its executor calls.
        """


@runtime_checkable
class WorkerReward(Protocol):
    """A `RewardFunction` that can grade in workers and counts its faults."""

    @property
    def faults(self) -> GradingFaults | None:
        """The count of faults over several rollouts; None: each rollout by itself."""

    def submitter(self, question: Question) -> Callable[..., Future[Any]] | None:
        """A worker's `submit(function, *arguments)` for grading this question.

        None if it is graded in place.
        """
