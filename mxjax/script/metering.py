"""The caps on a script's consumption, and the meter that counts it.

The caps bound time, memory and output of any text at all. Counts are exact and do not depend on the machine: the same
script with the same replies uses the same fuel everywhere. Whoever embeds the language adds limits and counters of its
own by deriving from both classes (see `mas.limits`).
"""

from __future__ import annotations

import copy
import dataclasses
from typing import ClassVar, Self

from mxjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
    """Caps of one execution.

    A run that reaches one is stopped with the name of the field.

    Attributes:
      fuel: instructions, plus a charge in proportion to size for every operation that is not constant time.
      live_bytes: memory reachable from the script, by the interpreter's own size model.
      depth: nested calls, of functions and of our own generators.
      nesting: depth of nested containers that are compared, hashed, printed or serialised.
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
                raise UserError(f"{type(self).__name__}.{field.name} must be a non-negative int, got {value!r}")


class Meter:
    """The resources that an execution has used so far.

    Private members of a `frames.Gather` each hold a meter of their own. COUNTS are the attributes that add up over
    members; those in CAPPED are limits of the same name.
    """

    COUNTS: ClassVar[tuple[str, ...]] = ("fuel", "allocated")
    CAPPED: ClassVar[tuple[str, ...]] = ("fuel",)
    __slots__ = ("allocated", "fuel")
    holds = ()

    def __init__(self):
        self.fuel = 0
        self.allocated = 0

    def share(self, amount: int) -> Self:
        """The same counts in a new meter, for a group member.

        The member was given a share of `amount`.
        """
        return copy.copy(self)

    def reserve(self, amount: int):
        """Set aside group members' shares; a negative amount gives them back."""

    def add_since(self, start: Meter, end: Meter):
        """Add what was used between two readings of another meter."""
        for name in self.COUNTS:
            setattr(self, name, getattr(self, name) + getattr(end, name) - getattr(start, name))

    def exceeded(self, limits: Limits) -> str | None:
        """The first limit that the counts go over."""
        return next((name for name in self.CAPPED if getattr(self, name) > getattr(limits, name)), None)
