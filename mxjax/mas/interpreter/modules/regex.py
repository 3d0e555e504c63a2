r"""Translates Python's regular expressions into the syntax of RE2, so that both find the same.

Every construct is read as Python reads it and written out anew; what RE2 cannot do is refused by name. Texts of ASCII
get narrow classes (`\w` is 64 ranges less), all others the Unicode ones. A `$` that may stand before a last newline
becomes a group that takes this newline, and whoever reads the spans cuts it off again.
"""

from __future__ import annotations

import dataclasses
import functools
import unicodedata

IGNORECASE, MULTILINE, DOTALL, UNICODE, VERBOSE, ASCII = 2, 8, 16, 32, 64, 256
_LETTERS = {"i": IGNORECASE, "m": MULTILINE, "s": DOTALL, "u": UNICODE, "x": VERBOSE, "a": ASCII}
_NARROW = {"d": "0-9", "w": "0-9A-Za-z_", "s": "\\t-\\r\\x1c-\\x20"}
_STRICT = {**_NARROW, "s": "\\t-\\r\\x20"}
_SPACES = "\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
_WIDE = {"d": "\\p{Nd}", "w": "\\p{L}\\p{N}_", "s": _NARROW["s"] + _SPACES}
_MEMBERS = {"d": str.isdecimal, "w": lambda char: char.isalnum() or char == "_", "s": str.isspace}
_SIZES = {"d": 90, "w": 1350, "s": 30}  # instructions of RE2 for the wide classes
_CHARS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_HEX = {"x": 2, "u": 4, "U": 8}
_REFUSED = {
    "(?=": "look-ahead", "(?!": "look-ahead", "(?<=": "look-behind", "(?<!": "look-behind",
    "(?P=": "a back-reference", "(?(": "a conditional group", "(?>": "an atomic group",
}  # fmt: skip


class PatternError(Exception):
    """A pattern that Python would refuse, or RE2."""


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """A pattern of RE2, and how its groups relate to those of the script.

    Attributes:
      text: the pattern in RE2's syntax.
      groups: for each group of the script, its number in `text`.
      names: the numbers of the script's named groups.
      ends: the groups of `text` that hold a newline which `$` stands before.
      size: about as many instructions as RE2 needs; the same on every machine.
      flags: the flags given and those in the pattern.
    """

    text: str
    groups: tuple[int, ...]
    names: dict[str, int]
    ends: tuple[int, ...]
    size: int
    flags: int


def translate(pattern: str, flags: int, wide: bool) -> Translation:
    """The translation for texts of ASCII, or with `wide` for all others; PatternError where there is none."""
    return _Reader(pattern, flags, wide).read()


def literal(char: str) -> str:
    """One character as RE2 reads it literally, in a class or outside."""
    return char if char.isalnum() and char.isascii() else f"\\x{{{ord(char):x}}}"


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


_NOT_NARROW = {"d": "\\x00-/:-\\x7f", "w": "\\x00-/:-@\\[-\\^`\\{-\\x7f", "s": "\\x00-\\x08\\x0e-\\x1b!-\\x7f"}
_BEYOND = "\\x80-\\x{17e}\\x{180}-\\x{2129}\\x{212b}-\\x{10ffff}"  # without the two that fold to letters of ASCII
_NOT_STRICT = {kind: ranges + _BEYOND for kind, ranges in {**_NOT_NARROW, "s": "\\x00-\\x08\\x0e-\\x1f!-\\x7f"}.items()}


class _Group:
    """An open group: the flags to go back to, and the size of what it holds."""

    __slots__ = ("flags", "size")

    def __init__(self, flags: int):
        self.flags = flags
        self.size = 0


class _Reader:
    def __init__(self, pattern: str, flags: int, wide: bool):
        self.pattern, self.flags, self.wide = pattern, flags | UNICODE, wide
        if flags & ASCII:
            self.flags &= ~UNICODE
        self.at = 0
        self.out: list[str] = []
        self.groups: list[int] = []
        self.names: dict[str, int] = {}
        self.ends: list[int] = []
        self.open = [_Group(self.flags)]
        self.last: int | None = None  # the size of the item that a quantifier would repeat
        self.repeated = False

    def read(self) -> Translation:
        self.global_flags()
        everywhere = self.flags
        while self.at < len(self.pattern):
            self.item()
        if len(self.open) > 1:
            raise PatternError("missing ), unterminated subpattern")
        letters = "".join(letter for letter, flag in (("i", IGNORECASE), ("s", DOTALL)) if everywhere & flag)
        text = f"(?{letters})" * bool(letters) + "".join(self.out)
        size = self.open[0].size + 4
        return Translation(text, tuple(self.groups), self.names, tuple(self.ends), size, everywhere)

    # Items

    def item(self):
        char = self.pattern[self.at]
        self.at += 1
        if self.flags & VERBOSE and char in " \t\n\r\v\f":
            return
        if self.flags & VERBOSE and char == "#":
            end = self.pattern.find("\n", self.at)
            self.at = len(self.pattern) if end < 0 else end
        elif char == "\\":
            self.escape()
        elif char == "[":
            self.bracket()
        elif char == "(":
            self.group()
        elif char == ")":
            self.close()
        elif char == "|":
            self.out.append("|")
            self.open[-1].size += 1
            self.last = None
        elif char == ".":
            self.put(".", 12)
        elif char == "^":
            self.assertion("(?m:^)" if self.flags & MULTILINE else "\\A")
        elif char == "$":
            self.dollar()
        elif char in "*+?" or (char == "{" and self.counts()):
            self.repeat(char)
        else:
            self.put(literal(char), 1 if char.isascii() else 4)

    def put(self, text: str, size: int):
        self.out.append(text)
        self.open[-1].size += size
        self.last, self.repeated = size, False

    def assertion(self, text: str):
        self.out.append(text)
        self.open[-1].size += 1
        self.last = None

    def dollar(self):
        if self.flags & MULTILINE:
            self.assertion("(?m:$)")
            return
        self.assertion("(?:(\\n)?\\z)")
        self.open[-1].size += 5
        self.ends.append(1 + len(self.groups) + len(self.ends))

    def counts(self):
        """The numbers of a `{2,5}` whose brace was read, as text; None when it is no such thing."""
        end = self.pattern.find("}", self.at, self.at + 32)
        low, comma, high = self.pattern[self.at : max(end, self.at)].partition(",")
        whole = low + high if comma else low
        digits = whole.isascii() and (whole.isdigit() or (comma and not whole))
        return (low, comma, high) if end >= 0 and digits else None

    def repeat(self, char: str):
        if self.last is None:
            raise PatternError("nothing to repeat")
        if self.repeated:
            raise PatternError("multiple repeat")
        times = 1
        if char == "{":
            low, comma, high = self.counts()
            self.at = self.pattern.index("}", self.at) + 1
            if any(len(number) > 9 for number in (low, high)):
                raise PatternError("the repetition number is too large")
            if high and int(low or 0) > int(high):
                raise PatternError("min repeat greater than max repeat")
            times = max(int(low or 0) + (comma == "," and not high), int(high or 0))
            char = f"{{{low or 0}{comma}{high}}}"
        after = self.pattern[self.at : self.at + 1]
        if after == "+":
            raise PatternError("a possessive quantifier is not available")
        if after == "?":
            char += "?"
            self.at += 1
        self.out.append(char)
        self.open[-1].size += self.last * (times - 1) + 2
        self.repeated = True

    # Groups

    def global_flags(self):
        """Flags in front, which count for the whole pattern."""
        while self.pattern.startswith("(?", self.at):
            end = self.pattern.find(")", self.at)
            letters = self.pattern[self.at + 2 : max(end, self.at + 2)]
            if not letters or any(letter not in _LETTERS for letter in letters):
                return
            for letter in letters:
                self.flags |= _LETTERS[letter]
            if self.flags & ASCII:
                self.flags &= ~UNICODE
            self.at = end + 1

    def group(self):
        """What begins with the parenthesis that was read."""
        start = self.at - 1
        if not self.pattern.startswith("?", self.at):
            self.capture()
            return
        for mark, name in _REFUSED.items():
            if self.pattern.startswith(mark, start):
                raise PatternError(f"{name} is not available")
        if self.pattern.startswith("?#", self.at):
            self.at = self.end_of(")", "missing ), unterminated comment") + 1
        elif self.pattern.startswith("?:", self.at):
            self.at += 2
            self.enter("(?:")
        elif self.pattern.startswith("?P<", self.at):
            end = self.end_of(">", "missing >, unterminated name")
            name = self.pattern[self.at + 3 : end]
            if not name.isidentifier():
                raise PatternError(f"bad character in group name {name[:80]!r}" if name else "missing group name")
            if name in self.names:
                raise PatternError(f"redefinition of group name {name[:80]!r}")
            self.names[name] = len(self.groups) + 1
            self.at = end + 1
            self.capture()
        else:
            self.scoped_flags()

    def end_of(self, mark: str, reason: str) -> int:
        end = self.pattern.find(mark, self.at)
        if end < 0:
            raise PatternError(reason)
        return end

    def capture(self):
        self.groups.append(1 + len(self.groups) + len(self.ends))
        self.enter("(")
        self.open[-1].size += 2

    def enter(self, text: str):
        self.out.append(text)
        self.open.append(_Group(self.flags))
        self.last = None

    def scoped_flags(self):
        """`(?i-s:...)`."""
        self.at += 1
        on, minus, off = self.pattern[self.at : self.end_of(":", "unknown extension or missing :")].partition("-")
        known = on + off and all(letter in "aiLmsux" for letter in on) and all(letter in "ims" + "x" for letter in off)
        if not known or "L" in on or (minus and not off):
            if self.pattern[self.at : self.at + 1] in _LETTERS and ")" in self.pattern[self.at :]:
                raise PatternError("global flags not at the start of the expression")
            raise PatternError(f"unknown extension ?{self.pattern[self.at : self.at + 1]}")
        self.at += len(on + minus + off) + 1
        host = ["".join(letter for letter in part if letter in "is") for part in (on, off)]
        self.enter(f"(?{host[0]}{'-' if host[1] else ''}{host[1]}:")
        for letter in on:
            self.flags |= _LETTERS[letter]
            if letter in "au":
                self.flags &= ~(UNICODE if letter == "a" else ASCII)
        for letter in off:
            self.flags &= ~_LETTERS[letter]

    def close(self):
        if len(self.open) == 1:
            raise PatternError("unbalanced parenthesis")
        group = self.open.pop()
        self.flags = group.flags
        self.put(")", group.size)

    # Characters and classes

    def escape(self):
        kind = self.pattern[self.at : self.at + 1]
        if kind in ("A", "b", "B", "Z"):
            self.at += 1
            self.assertion("\\z" if kind == "Z" else "\\" + kind)
        elif kind and kind in "dwsDWS":
            self.at += 1
            name = kind.lower()
            self.put(f"[{'^' if kind.isupper() else ''}{self.classes()[name]}]", self.class_size(name))
        else:
            char = self.escaped_char(inside=False)
            self.put(literal(char), 1 if char.isascii() else 4)

    def classes(self) -> dict[str, str]:
        if self.flags & ASCII:
            return _STRICT
        return _WIDE if self.wide else _NARROW

    def outside(self, kind: str) -> str:
        """The ranges of what is not in a class."""
        if self.flags & ASCII:
            return _NOT_STRICT[kind]
        return _complement(kind) if self.wide else _NOT_NARROW[kind]

    def class_size(self, kind: str) -> int:
        return _SIZES[kind] if self.wide and not self.flags & ASCII else 2

    def escaped_char(self, inside: bool) -> str:
        """The character that an escape stands for; the position is after its backslash."""
        kind = self.pattern[self.at : self.at + 1]
        self.at += 1
        if not kind:
            raise PatternError("bad escape (end of pattern)")
        if kind in _CHARS:
            return _CHARS[kind]
        if kind == "b" and inside:
            return "\b"
        if kind in _HEX:
            digits = self.pattern[self.at : self.at + _HEX[kind]]
            self.at += len(digits)
            if len(digits) < _HEX[kind] or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                raise PatternError(f"incomplete escape \\{kind}{digits}")
            if int(digits, 16) > 0x10FFFF:
                raise PatternError(f"bad escape \\{kind}{digits}")
            return chr(int(digits, 16))
        if kind == "N":
            return self.named_char()
        if kind in "01234567":
            return self.octal(kind, inside)
        if kind == "8" or kind == "9":
            raise PatternError("a back-reference is not available" if not inside else f"bad escape \\{kind}")
        if kind.isascii() and kind.isalpha():
            raise PatternError(f"bad escape \\{kind}")
        return kind

    def named_char(self) -> str:
        if not self.pattern.startswith("{", self.at):
            raise PatternError("missing {")
        end = self.end_of("}", "missing }, unterminated name")
        name = self.pattern[self.at + 1 : end]
        self.at = end + 1
        try:
            return unicodedata.lookup(name[:100])
        except KeyError:
            raise PatternError(f"undefined character name {name[:80]!r}") from None

    def octal(self, first: str, inside: bool) -> str:
        digits = first
        while len(digits) < 3 and (more := self.pattern[self.at : self.at + 1]) and more in "01234567":
            digits += more
            self.at += 1
        if first != "0" and not inside and len(digits) < 3:
            raise PatternError("a back-reference is not available")
        if int(digits, 8) > 0o377:
            raise PatternError(f"octal escape value \\{digits} outside of range 0-0o377")
        return chr(int(digits, 8))

    def bracket(self):
        """A class in brackets; the position is after the first."""
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        parts: list[str] = []
        size, first = 2, True
        while first or not self.pattern.startswith("]", self.at):
            low, cost = self.member()
            size += cost
            first = False
            if not self.pattern.startswith("-", self.at) or self.pattern.startswith("-]", self.at):
                parts.append(low if len(low) != 1 else literal(low))
                continue
            self.at += 1
            high, _ = self.member()
            if len(low) != 1 or len(high) != 1 or low > high:
                raise PatternError("bad character range")
            parts.append(f"{literal(low)}-{literal(high)}")
            size += 0 if high.isascii() else 12
        self.at += 1
        self.put(f"[{'^' * negated}{''.join(parts)}]", size + 10 * negated)

    def member(self) -> tuple[str, int]:
        """One character of a class in brackets, or one class in it as its ranges; and its size."""
        if self.at >= len(self.pattern):
            raise PatternError("unterminated character set")
        char = self.pattern[self.at]
        self.at += 1
        if char != "\\":
            return char, 1 if char.isascii() else 4
        kind = self.pattern[self.at : self.at + 1]
        if not kind or kind not in "dwsDWS":
            char = self.escaped_char(inside=True)
            return char, 1 if char.isascii() else 4
        self.at += 1
        name = kind.lower()
        return self.outside(name) if kind.isupper() else self.classes()[name], self.class_size(name)
