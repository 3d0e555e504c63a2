"""The compiled form of a script: instructions that every execution of it shares."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """Parameters of a function, in slot order: positional, keyword-only, then `*args` and `**kwargs`."""

    positional: tuple[str, ...] = ()
    positional_only: int = 0
    keyword_only: tuple[str, ...] = ()
    varargs: bool = False
    varkw: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Code:
    """One function, class body, comprehension or module.

    Attributes:
      ops: (handler, argument) pairs, see `ops`; `lines` the source line of each.
      slots: size of a frame; `cells` those slots that start as a cell of this frame, `frees` those filled from the
        closure.
      kind: "plain", "generator", "coroutine" or "class".
    """

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
