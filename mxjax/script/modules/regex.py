r"""Translate Python regular expressions into RE2 syntax with the same matches.

CPython's own parser reads a pattern, and its tree is written out anew; what RE2 cannot do is refused by name. Texts of
ASCII get narrow classes (`\w` is 64 ranges less), all others the Unicode ones. A `$` that may stand before a last
newline becomes a group that takes this newline, and whoever reads the spans cuts it off again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import re
import warnings
from re import _parser  # type: ignore[attr-defined]  # private; used here are `parse` and the tree, which 3.11 and later releases share
from typing import ClassVar

IGNORECASE, MULTILINE, DOTALL, UNICODE, VERBOSE, ASCII = 2, 8, 16, 32, 64, 256
_READ = IGNORECASE | MULTILINE | DOTALL | VERBOSE
_DEEPEST = 100
_MARKS = re.compile(r"\\.|\[\^?\]?[^\]\\]*(?:\\.[^\]\\]*)*|\(\?#[^)\\]*(?:\\.[^)\\]*)*\)?|[()]", re.DOTALL)
_VERBOSE = re.compile(r"\(\?[a-zA-Z]*x")
_WARNED = ("[[", "--", "&&", "~~", "||", "(?(")  # of which the parser may warn
_NARROW = {"DIGIT": "0-9", "WORD": "0-9A-Za-z_", "SPACE": "\\t-\\r\\x1c-\\x20"}
_STRICT = {**_NARROW, "SPACE": "\\t-\\r\\x20"}
_SPACES = "\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
_WIDE = {"DIGIT": "\\p{Nd}", "WORD": "\\p{L}\\p{N}_", "SPACE": _NARROW["SPACE"] + _SPACES}
_MEMBERS = {"DIGIT": str.isdecimal, "WORD": lambda char: char.isalnum() or char == "_", "SPACE": str.isspace}
_SIZES = {"DIGIT": 90, "WORD": 1350, "SPACE": 30}  # instructions of RE2 for the wide classes
_NOT_NARROW = {
    "DIGIT": "\\x00-/:-\\x7f",
    "WORD": "\\x00-/:-@\\[-\\^`\\{-\\x7f",
    "SPACE": "\\x00-\\x08\\x0e-\\x1b!-\\x7f",
}
_NOT_STRICT = {kind: text.replace("\\x1b!", "\\x1f!") + "\\x80-\\x{10ffff}" for kind, text in _NOT_NARROW.items()}
_NOT_FOLDED = {  # without the two that fold to letters of ASCII
    **_NOT_STRICT,
    "WORD": _NOT_NARROW["WORD"] + "\\x80-\\x{17e}\\x{180}-\\x{2129}\\x{212b}-\\x{10ffff}",
}
_LAST = "(?:(\\n)?\\z)"
_IN_TEXTS = {
    "AT_BEGINNING": "\\A",
    "AT_BEGINNING_STRING": "\\A",
    "AT_END": _LAST,
    "AT_END_STRING": "\\z",
    "AT_BOUNDARY": "\\b",
    "AT_NON_BOUNDARY": "\\B",
}
_IN_LINES = {**_IN_TEXTS, "AT_BEGINNING": "(?m:^)", "AT_END": "(?m:$)"}
_COUNTS = {(0, _parser.MAXREPEAT): "*", (1, _parser.MAXREPEAT): "+", (0, 1): "?"}
_REFUSED = {
    "ASSERT": "look-ahead",
    "ASSERT_NOT": "look-ahead",
    "FAILURE": "look-ahead",
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a conditional group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive quantifier",
}


class PatternError(Exception):
    """A pattern that Python would refuse, or RE2."""


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """A pattern of RE2, and how its groups map to the script's.

    Attributes:
      text: the pattern in RE2's syntax.
      groups: for each group of the script, its number in `text`.
      names: the numbers of the script's named groups.
      ends: the groups of `text` that hold a newline which `$` stands before.
      size: about as many instructions as RE2 needs; the same on every machine.
      flags: the flags given and those in the pattern.
    """

    holds: ClassVar[tuple[str, ...]] = ()

    text: str
    groups: tuple[int, ...]
    names: dict[str, int]
    ends: tuple[int, ...]
    size: int
    flags: int


def translate(pattern: str, flags: int, wide: bool) -> Translation:
    """The translation for ASCII texts or, with `wide`, for all others.

    Raises PatternError where there is none.
    """
    try:
        tree = _parsed(pattern, flags)
        flags |= tree.state.flags
        if flags & ASCII:
            flags &= ~UNICODE
        writer = _Writer(wide)
        size = 4 + writer.write(tree, flags)
    except RecursionError:
        raise PatternError("too many nested groups") from None
    letters = _letters(flags)
    text = f"(?{letters})" * bool(letters) + "".join(writer.out)
    return Translation(text, tuple(writer.groups), dict(tree.state.groupdict), tuple(writer.ends), size, flags)


def reading_cost(pattern: str, flags: int) -> int:
    """The fuel for reading a pattern.

    The parser copies what is nested, and at worst the whole for each character.
    """
    return 50 + 2 * len(pattern) * (1 + _depth(pattern, flags) // 8 + len(pattern) // 20_000)


def _depth(pattern: str, flags: int) -> int:
    """Nesting depth of groups, or an upper bound.

    It is more where parentheses may stand in comments of a verbose pattern.
    """
    opened = pattern.count("(")
    if opened < 8:
        return opened
    if "#" in pattern and (flags & VERBOSE or _VERBOSE.search(pattern)):
        return opened
    steps = {"(": 1, ")": -1}
    return max(itertools.accumulate((steps.get(mark, 0) for mark in _MARKS.findall(pattern)), initial=0))


def _parsed(pattern: str, flags: int) -> _parser.SubPattern:
    if _depth(pattern, flags) > _DEEPEST:
        raise PatternError(f"more than {_DEEPEST} nested groups")
    warns = any(mark in pattern for mark in _WARNED)
    try:
        with warnings.catch_warnings(action="ignore") if warns else contextlib.nullcontext():
            tree = _parser.parse(pattern, flags & _READ)
    except re.error as error:
        raise PatternError(error.msg if len(error.msg) <= 120 else f"{error.msg[:117]}...") from None
    except (OverflowError, ValueError):
        raise PatternError("a number is too large") from None
    if tree.state.flags & ~(_READ | UNICODE | ASCII):
        raise PatternError("unknown flag")
    return tree


def _letters(flags: int) -> str:
    """The flags that RE2 has too."""
    return "i" * bool(flags & IGNORECASE) + "s" * bool(flags & DOTALL)


def _literal(code: int) -> str:
    """One character as RE2 reads it literally, in a class or outside."""
    char = chr(code)
    return char if char.isascii() and char.isalnum() else f"\\x{{{code:x}}}"


@functools.cache
def _complement(kind: str) -> str:
    """The characters outside a class of Unicode, as ranges."""
    test = _MEMBERS[kind]
    ranges, first = [], None
    for code in range(0x110001):
        outside = code < 0x110000 and not 0xD800 <= code < 0xE000 and not test(chr(code))
        if outside and first is None:
            first = code
        elif not outside and first is not None:
            ranges.append(f"\\x{{{first:x}}}-\\x{{{code - 1:x}}}")
            first = None
    return "".join(ranges)


class _Writer:
    """The text of a tree, part by part, and its groups."""

    def __init__(self, wide: bool):
        self.wide = wide
        self.out: list[str] = []
        self.groups: list[int] = []
        self.ends: list[int] = []

    def write(self, tree: _parser.SubPattern, flags: int) -> int:
        """Write a part of the tree; return its approximate RE2 size.

        The size is a number of instructions.
        """
        size = 0
        for op, value in tree.data:
            match op.name:
                case "LITERAL":
                    self.out.append(_literal(value))
                    size += 1 if value < 128 else 4
                case "IN":
                    size += self.members(value, flags)
                case "MAX_REPEAT" | "MIN_REPEAT":
                    low, high, inner = value
                    endless = high == _parser.MAXREPEAT
                    self.out.append("(?:")
                    size += self.write(inner, flags) * (high if not endless else low + 1 if low > 1 else 1) + 2
                    counts = _COUNTS.get((low, high)) or f"{{{low},{'' if endless else high}}}"
                    self.out.append(f"){counts}{'?' * (op.name == 'MIN_REPEAT')}")
                case "SUBPATTERN":
                    group, added, dropped, inner = value
                    kept = flags & ~(ASCII | UNICODE) if added & (ASCII | UNICODE) else flags
                    if group is None:
                        self.out.append(f"(?{_letters(added)}{'-' * bool(_letters(dropped))}{_letters(dropped)}:")
                    else:
                        self.groups.append(1 + len(self.groups) + len(self.ends))
                        self.out.append("(")
                        size += 2
                    size += self.write(inner, (kept | added) & ~dropped)
                    self.out.append(")")
                case "ANY":
                    self.out.append(".")
                    size += 12
                case "AT":
                    text = (_IN_LINES if flags & MULTILINE else _IN_TEXTS)[value.name]
                    if text == _LAST:
                        self.ends.append(1 + len(self.groups) + len(self.ends))
                    self.out.append(text)
                    size += 6 if text == _LAST else 1
                case "BRANCH":
                    for index, inner in enumerate(value[1]):
                        self.out.append("|" if index else "(?:")
                        size += self.write(inner, flags) + bool(index)
                    self.out.append(")")
                case "NOT_LITERAL":
                    size += self.members([(_parser.NEGATE, None), (_parser.LITERAL, value)], flags)
                case name:
                    what = "look-behind" if "ASSERT" in name and value[0] < 0 else _REFUSED.get(name, "this")
                    raise PatternError(f"{what} is not available")
        return size

    def members(self, items: list, flags: int) -> int:
        r"""Write a character class; return its size.

        The class is in brackets, or stands for itself, such as `\W`.
        """
        negated = items[0][0].name == "NEGATE"
        items = items[negated:]
        alone = len(items) == 1 and items[0][0].name == "CATEGORY"
        size = 0 if alone else 2 + 10 * negated
        negated ^= alone and "_NOT_" in items[0][1].name
        self.out.append("[^" if negated else "[")
        for op, value in items:
            if op.name == "LITERAL":
                text, cost = _literal(value), 1 if value < 128 else 4
            elif op.name == "RANGE":
                low, high = value
                text, cost = f"{_literal(low)}-{_literal(high)}", (1 if low < 128 else 4) + (0 if high < 128 else 12)
            else:
                kind, outside = value.name.rpartition("_")[2], "_NOT_" in value.name and not alone
                if self.wide and not flags & ASCII:
                    text, cost = _complement(kind) if outside else _WIDE[kind], _SIZES[kind]
                elif outside:
                    folded = _NOT_FOLDED if flags & IGNORECASE else _NOT_STRICT
                    text, cost = (folded if flags & ASCII else _NOT_NARROW)[kind], 2
                else:
                    text, cost = (_STRICT if flags & ASCII else _NARROW)[kind], 2
            self.out.append(text)
            size += cost
        self.out.append("]")
        return size
