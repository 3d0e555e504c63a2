"""The caps on a design's consumption.

These are the caps of the language, and those on calls to agents and tools.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from mxjax.script import metering


@dataclasses.dataclass(frozen=True)
class Limits(metering.Limits):
    """Caps of one execution.

    When one is reached, `Result.reason` is the name of its field.

    Attributes, beside those of `script.metering.Limits`:
      agent_calls: calls to the model.
      tool_calls: calls to host tools.
      prompt_chars: characters of all prompts, and of all arguments of tools, together.
      reply_tokens: tokens of all replies together, as the engine counts them; no call is given out once it is reached.
      agent_turns: turns of one agent's conversation, whatever its `max_turns` says; the last one demands the answer.
      agent_tokens: tokens of one agent's replies in a conversation, after which its next turn is the last one.
      reply_chars: characters kept of one reply; the rest is cut.
    """

    holds: ClassVar[tuple[str, ...]] = ()

    agent_calls: int = 64
    tool_calls: int = 64
    prompt_chars: int = 4_000_000
    reply_tokens: int = 1_000_000
    agent_turns: int = 32
    agent_tokens: int = 100_000
    reply_chars: int = 200_000


class Meter(metering.Meter):
    """The resources that an execution has used so far.

    Calls to agents and tools are included.

    `most_calls` is up to where `agent_calls` may count: the limit, or the share of a member of a group. `reserved` are
    the calls that groups which have not ended may still make.
    """

    CAPPED: ClassVar[tuple[str, ...]] = ("fuel", "agent_calls", "tool_calls", "prompt_chars", "reply_tokens")
    COUNTS: ClassVar[tuple[str, ...]] = (*CAPPED, "allocated")
    __slots__ = (*CAPPED[1:], "most_calls", "reserved")
    holds = ()

    def __init__(self, most_calls: int):
        super().__init__()
        self.agent_calls = 0
        self.tool_calls = 0
        self.prompt_chars = 0
        self.reply_tokens = 0
        self.most_calls = most_calls
        self.reserved = 0

    @property
    def calls_left(self) -> int:
        """Agent calls that may still be made here and are not reserved."""
        return self.most_calls - self.agent_calls - self.reserved

    def share(self, amount: int) -> Meter:
        """The same counts in a new meter, with `amount` more calls allowed."""
        other = super().share(amount)
        other.most_calls = self.agent_calls + amount
        other.reserved = 0
        return other

    def reserve(self, amount: int):
        """Set aside calls for a group; a negative amount returns them."""
        self.reserved += amount
