"""Ranges of settings, each in words and as a predicate.

`mxjax.keys` gives every key of the config its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from mxjax.errors import UserError
from mxjax.values import is_finite, is_integer

MOST = 2**31 - 1  # of whole numbers, which become int32 in arrays


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a key may have.

    It has them in words, to follow "must be", and as a predicate. `brief` is what a list of settings adds to a default,
    which shows the type already; "" if there is no more.
    """

    says: str
    holds: Callable[[Any], bool]
    brief: str = ""


def whole(least: int, most: int = MOST, also: str = "") -> Range:
    """Whole numbers from `least` to `most`.

    `also` says what a special value means.
    """
    end = "" if most == MOST else f" and at most {most}"
    words = f"a whole number of at least {least}{end}{also}"
    brief = f"at least {least}" if most == MOST else ""
    return Range(words, lambda value: is_integer(value) and least <= value <= most, brief)


def real(least: float = -math.inf, most: float = math.inf, above: bool = False, below: bool = False) -> Range:
    """Finite numbers from `least` to `most`.

    `above` and `below` leave out these two.
    """

    def holds(value: Any) -> bool:
        if not is_finite(value):
            return False
        return (least < value if above else least <= value) and (value < most if below else value <= most)

    if math.isfinite(most):
        within = f"in {'(' if above else '['}{least:g}, {most:g}{')' if below else ']'}"
        return Range(f"a number {within}", holds, within)
    if not math.isfinite(least):
        return Range("a finite number", holds)
    within = f"{'above' if above else 'at least'} {least:g}"
    return Range(f"a finite number {within if above else f'of {within}'}", holds, within)


def pair(least: float) -> Range:
    """Two finite numbers of at least `least`, the lower first."""
    each = real(least)

    def holds(value: Any) -> bool:
        is_pair = isinstance(value, tuple | list) and len(value) == 2
        return is_pair and all(map(each.holds, value)) and value[0] <= value[1]

    return Range(f"two finite numbers of at least {least:g}, the lower first", holds)


def one_of(*choices: str) -> Range:
    """One of some words."""
    words = f"one of {', '.join(choices)}"
    return Range(words, lambda value: isinstance(value, str) and value in choices, words)


def or_else(value: Any, other: Range) -> Range:
    """`value` itself, of its own type, or what `other` allows."""
    holds = lambda given: (type(given) is type(value) and given == value) or other.holds(given)
    return Range(f"{value} or {other.says}", holds, f"{value} or {other.brief}")


def _is_spec(value: Any) -> bool:
    return isinstance(value, str | Mapping | ConfigDict)


FLAG = Range("True or False", lambda value: isinstance(value, bool))
TEXT = Range("text", lambda value: isinstance(value, str))
NAME = Range("text that is not empty", lambda value: isinstance(value, str) and bool(value.strip()))
NAMES = Range(
    "a tuple of names",
    lambda value: isinstance(value, list | tuple) and all(isinstance(name, str) and name for name in value),
)
MAPPING = Range("a mapping of names to values", lambda value: isinstance(value, Mapping | ConfigDict))
SPEC = Range("the spec of a source of questions", _is_spec)
SPECS = Range(
    "a tuple of specs with weights", lambda value: isinstance(value, list | tuple) and all(map(_is_spec, value))
)
SHARE = real(0, 1)
COUNT = whole(1)
NO_LIMIT = whole(0, also=", 0 for all")
AXIS = or_else(-1, COUNT)
EVERY = whole(0, also=", 0 for never")


def check_names(name: str, values: Mapping[str, Any], record: type) -> None:
    """Raise UserError for a name in `given` that `record` lacks."""
    known = [field.name for field in dataclasses.fields(record)]
    if unknown := sorted(set(values) - set(known)):
        raise UserError(f"{name} knows {', '.join(known)}, not {unknown[0]!r}")
