"""The compiled form of a script: instructions shared by all its executions."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class Signature:
    """Parameters of a function, in slot order.

    Positional and keyword-only first, then `*args` and `**kwargs`.
    """

    holds: ClassVar[tuple[str, ...]] = ()

    positional: tuple[str, ...] = ()
    positional_only: int = 0
    keyword_only: tuple[str, ...] = ()
    varargs: bool = False
    varkw: bool = False

    @functools.cached_property
    def by_name(self) -> dict[str, int]:
        """The slot of each parameter that can be given by name."""
        names = (*self.positional, *self.keyword_only)
        return {name: slot for slot, name in enumerate(names) if slot >= self.positional_only}


@dataclasses.dataclass(frozen=True, slots=True)
class Code:
    """One function, class body, comprehension or module.

    Attributes:
      ops: (handler, argument) pairs, see `ops`; `lines` the source line of each.
      slots: size of a frame; `cells` those slots that start as a cell of this frame, `frees` those filled from the
        closure.
      doc: the text that a function's body begins with.
      annotation: the name that its first parameter is annotated with, for `singledispatch`.
      kind: "plain", "generator", "coroutine" or "class".
    """

    holds: ClassVar[tuple[str, ...]] = ()

    name: str
    ops: tuple[tuple[Any, Any], ...]
    lines: tuple[int, ...]
    slots: int
    cells: tuple[int, ...]
    frees: tuple[int, ...]
    signature: Signature
    kind: str = "plain"
    slot_names: tuple[str, ...] = ()
    qualname: str = ""
    doc: str | None = None
    annotation: str = ""
