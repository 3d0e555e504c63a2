"""Input and output of a running script: calls, replies, tools and result."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@dataclasses.dataclass(frozen=True, slots=True)
class AgentCall:
    """A call to the model that a script waits for.

    Attributes:
      id: structural, from the path of the node and the turn; it does not depend on the order in which replies arrive.
      node: the name of the agent.
      messages: the conversation to answer, as {"role", "content"} dicts.
      sampling: overrides of the sampling settings, often none.
      parent: the call whose conversation this one continues: `messages` starts with the parent's messages and its
        reply.
    """

    holds: ClassVar[tuple[str, ...]] = ("messages", "sampling")

    id: str
    node: str
    messages: list[dict[str, str]]
    sampling: Mapping[str, Any]
    parent: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCall:
    """A call to a host tool.

    Calls with the same `session` are of one agent's conversation and may share state.
    """

    holds: ClassVar[tuple[str, ...]] = ("arguments",)

    id: str
    name: str
    arguments: Mapping[str, Any]
    session: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a call.

    With an `error` (such as "prompt_too_long") the node that called fails.
    """

    holds: ClassVar[tuple[str, ...]] = ("text", "error")

    text: str
    tokens: int = 0
    finish_reason: str = "stop"
    error: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """A host tool: `func(**arguments)` returns its output.

    A tool with state has `open`: it begins a conversation's session, whose `run(**arguments)` is called instead of
    `func`, and whose `close()` ends it.

    A tool that takes time has `submit(function, *arguments) -> Future`: what answers a call of it somewhere else while
    other work goes on.
    """

    holds: ClassVar[tuple[str, ...]] = ()

    func: Callable[..., Any] | None = None
    description: str = ""
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    open: Callable[[], Any] | None = None
    submit: Callable[..., concurrent.futures.Future] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """How an execution ended.

    Attributes:
      status: "ok", "error" (the script failed or returned no answer) or "limit".
      content: the text of the message that the script's last `run(...)` returned; "" unless ok.
      reason: why not ok, in a sentence; for a limit, the field of `Limits`.
      calls: number of agent calls made.
      fuel: fuel used.
      origin_call: the latest call whose reply is `content`, verbatim or as library compaction made it; None if the
        script
        composed it.
      origin_text: the raw text of that reply.
    """

    status: str
    content: str
    reason: str
    calls: int
    fuel: int
    origin_call: str | None
    origin_text: str | None
