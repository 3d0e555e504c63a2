"""Every cap on what a design may consume, and the meter that counts against them.

The caps bound time, memory and money for any text at all, so that a hostile design costs no more than a bad one. Counts
are exact and do not depend on the machine: the same script with the same replies uses the same fuel everywhere.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from mxjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
    """Caps of one execution; the name of a field is what `Result.reason` names when it is reached.

    Attributes:
      fuel: instructions, plus a charge in proportion to size for every operation that is not constant time.
      live_bytes: memory reachable from the script, by the interpreter's own size model.
      depth: nested calls, of functions and of library nodes.
      nesting: depth of nested containers that are compared, hashed, printed or serialised.
      agent_calls: calls to the model.
      tool_calls: calls to host tools.
      prompt_chars: characters of all prompts, and of all arguments of tools, together.
      reply_tokens: tokens of all replies together, as the engine counts them; no call is given out once it is reached.
      agent_turns: turns of one agent's conversation, whatever its `max_turns` says; the last one demands the answer.
      agent_tokens: tokens of one agent's replies in a conversation, after which its next turn is the last one.
      reply_chars: characters kept of one reply; the rest is cut.
      printed_chars: characters of the script's own output.
      string_chars: length of one string.
      items: length of one container.
      int_bits: size of one integer.
      format_width: width or precision in a format specification.
      source_chars, source_nodes, source_depth: size of the source, checked before and right after parsing.
    """

    holds: ClassVar[tuple[str, ...]] = ()

    fuel: int = 1_000_000
    live_bytes: int = 16_000_000
    depth: int = 200
    nesting: int = 100
    agent_calls: int = 64
    tool_calls: int = 64
    prompt_chars: int = 4_000_000
    reply_tokens: int = 1_000_000
    agent_turns: int = 32
    agent_tokens: int = 100_000
    reply_chars: int = 200_000
    printed_chars: int = 200_000
    string_chars: int = 1_000_000
    items: int = 200_000
    int_bits: int = 32_768
    format_width: int = 10_000
    source_chars: int = 65_536
    source_nodes: int = 20_000
    source_depth: int = 100

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 0:
                raise UserError(f"Limits.{field.name} must be a non-negative int, got {value!r}")


class Meter:
    """What has been used so far. Members of a group that run on their own each hold one (see `frames.Gather`).

    `most_calls` is up to where `agent_calls` may count: the limit, or what was reserved for a member. `reserved` are
    the calls that such groups may still make; their meters are added when they have ended.
    """

    COUNTS = ("fuel", "allocated", "agent_calls", "tool_calls", "prompt_chars", "reply_tokens")
    __slots__ = (*COUNTS, "most_calls", "reserved")
    holds = ()

    def __init__(self, most_calls: int):
        self.fuel = 0
        self.allocated = 0
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

    def copy(self, calls: int = 0) -> Meter:
        """The same counts in a new meter, which may count so many more calls."""
        other = Meter(self.agent_calls + calls)
        for name in self.COUNTS:
            setattr(other, name, getattr(self, name))
        return other

    def add_since(self, start: Meter, end: Meter):
        """Adds what was used between two readings of another meter."""
        for name in self.COUNTS:
            setattr(self, name, getattr(self, name) + getattr(end, name) - getattr(start, name))
