"""`re`, on a linear-time engine: no pattern that a script makes can take more than time in proportion to the text."""

from __future__ import annotations

import functools
import re

import re2

from mxjax.mas.errors import LimitExceeded
from mxjax.mas.interpreter.attributes import PROPERTIES, methods
from mxjax.mas.interpreter.frames import Invoke
from mxjax.mas.interpreter.values import HostIterator, type_name

FLAGS = {
    "IGNORECASE": 2,
    "I": 2,
    "MULTILINE": 8,
    "M": 8,
    "DOTALL": 16,
    "S": 16,
    "VERBOSE": 64,
    "X": 64,
    "ASCII": 256,
    "A": 256,
    "UNICODE": 32,
    "U": 32,
}
_INLINE = {2: "i", 8: "m", 16: "s"}
_MEMORY = 1 << 22


class Pattern:
    """A compiled pattern; `host` is shared by all that compile the same."""

    __slots__ = ("flags", "host", "pattern")
    type_name = "Pattern"

    def __init__(self, pattern: str, flags: int, host):
        self.pattern = pattern
        self.flags = flags
        self.host = host

    def shown(self) -> str:
        return f"re.compile({self.pattern[:200]!r})"


class Match:
    """A match; the host's object is never handed out."""

    __slots__ = ("host", "pattern", "string")
    type_name = "Match"
    own_bytes = 700

    def __init__(self, host, pattern: Pattern):
        self.host = host
        self.pattern = pattern
        self.string = host.string

    def shown(self) -> str:
        return f"<re.Match object; span={self.host.span()}, match={self.host.group()[:50]!r}>"

    def get_item(self, m, key):
        return _group(m, self, key)


@functools.lru_cache(maxsize=512)
def _compiled(pattern: str, flags: int):
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    inline = "".join(letter for flag, letter in _INLINE.items() if flags & flag)
    text = _verbose(pattern) if flags & FLAGS["VERBOSE"] else pattern
    try:
        return re2.compile(f"(?{inline})(?:{text})" if inline else text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "cannot be compiled"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"regular expression {pattern[:80]!r}: {reason}") from None


def _verbose(pattern: str) -> str:
    """Drops the white space and comments that the verbose flag allows."""
    out, inside, at = [], False, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            out.append(pattern[at : at + 2])
            at += 2
            continue
        inside = (inside or char == "[") and char != "]"
        if not inside and char == "#":
            end = pattern.find("\n", at)
            at = len(pattern) if end < 0 else end
            continue
        if inside or not char.isspace():
            out.append(char)
        at += 1
    return "".join(out)


def compile_(m, pattern, flags=0):
    if type(pattern) is Pattern:
        return pattern
    if type(pattern) is not str:
        raise TypeError(f"first argument must be string or compiled pattern, not {type_name(pattern)}")
    m.charge(50 + 2 * len(pattern))
    host = _compiled(pattern, flags)
    m.charge(2 * host.programsize)
    m.allocate(1000)
    return Pattern(pattern, flags, host)


def _text(m, pattern: Pattern, text) -> str:
    if type(text) is not str:
        raise TypeError(f"expected string or bytes-like object, got '{type_name(text)}'")
    m.charge(8 + (len(text) >> 3) * (1 + (pattern.host.programsize >> 6)))
    if not text.isascii():
        text.encode()
    return text


def _searcher(name: str):
    def call(m, pattern, text, flags=0):
        compiled = compile_(m, pattern, flags)
        found = getattr(compiled.host, name)(_text(m, compiled, text))
        return None if found is None else Match(found, compiled)

    return call


def _all(m, compiled: Pattern, text: str):
    """The host's matches one by one, each accounted for with the rest of the text, which the next may scan in vain."""
    weight = 1 + (compiled.host.programsize >> 6)
    size = 100 * (1 + compiled.host.groups)
    for count, found in enumerate(compiled.host.finditer(_text(m, compiled, text))):
        m.charge(4 + ((len(text) - found.end()) * weight >> 10))
        m.allocate(size)
        if count >= m.limits.items:
            raise LimitExceeded("items")
        yield found


def findall(m, pattern, text, flags=0):
    compiled = compile_(m, pattern, flags)
    groups = compiled.host.groups
    found = [match.groups("") if groups > 1 else match.group(groups) or "" for match in _all(m, compiled, text)]
    m.need_items(len(found))
    return found


def finditer(m, pattern, text, flags=0):
    compiled = compile_(m, pattern, flags)
    matches = []
    for found in _all(m, compiled, text):
        m.allocate(Match.own_bytes)
        matches.append(Match(found, compiled))
    return HostIterator(iter(matches), "callable_iterator")


def split(m, pattern, text, maxsplit=0, flags=0):
    compiled = compile_(m, pattern, flags)
    if type(maxsplit) is not int:
        raise TypeError(f"'{type_name(maxsplit)}' object cannot be interpreted as an integer")
    parts, at = [], 0
    for found in _all(m, compiled, text) if maxsplit >= 0 else ():
        parts += (text[at : found.start()], *found.groups())
        at = found.end()
        if len(parts) == maxsplit * (1 + compiled.host.groups):
            break
    return [*parts, text[at:]]


def sub(m, pattern, repl, text, count=0, flags=0):
    return (yield from _substitute(m, pattern, repl, text, count, flags))[0]


def subn(m, pattern, repl, text, count=0, flags=0):
    return (yield from _substitute(m, pattern, repl, text, count, flags))


def _substitute(m, pattern, repl, text, count, flags):
    compiled = compile_(m, pattern, flags)
    if type(count) is not int:
        raise TypeError(f"'{type_name(count)}' object cannot be interpreted as an integer")
    pieces = _template(m, compiled, repl) if type(repl) is str else None
    out, at, done = [], 0, 0
    total = len(text) if type(text) is str else 0
    for found in _all(m, compiled, text):
        if pieces is not None:
            m.charge(len(pieces))
            new = [piece if type(piece) is str else found.group(piece) or "" for piece in pieces]
        else:
            made = yield Invoke(repl, (Match(found, compiled),))
            if type(made) is not str:
                raise TypeError(f"expected str instance, {type_name(made)} found")
            new = [made]
        total += sum(map(len, new))
        if total > m.limits.string_chars:
            raise LimitExceeded("string_chars")
        m.allocate(50 * len(new))
        out += (text[at : found.start()], *new)
        at, done = found.end(), done + 1
        if done == count:
            break
    out.append(text[at:])
    m.need_string(sum(map(len, out)), all(map(str.isascii, out)))
    return "".join(out), done


_REFERENCE = re.compile(r"\\(?:(\d\d?)|g<([^>]*)>|(.?))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def _template(m, compiled: Pattern, repl: str) -> list[str | int]:
    r"""A replacement as literal pieces and the groups that `\1` and `\g<name>` stand for."""
    m.charge(len(repl) >> 4)
    pieces: list[str | int] = []
    at = 0
    for found in _REFERENCE.finditer(repl):
        m.charge(1)
        pieces.append(repl[at : found.start()])
        at = found.end()
        number, name, escaped = found.groups()
        if number is None and name is None:
            pieces.append(_ESCAPES.get(escaped, "\\" + escaped))
            continue
        key = number or name
        group = int(key) if key.isdecimal() else compiled.host.groupindex.get(key, -1)
        if not 0 <= group <= compiled.host.groups:
            raise IndexError(f"invalid group reference {key}")
        pieces.append(group)
    return [piece for piece in (*pieces, repl[at:]) if piece != ""]


def escape(m, text):
    m.need_string(2 * len(text))
    return "".join(char if char.isalnum() or char == "_" or not char.isascii() else "\\" + char for char in text)


FUNCTIONS = {
    "compile": compile_, "match": _searcher("match"), "search": _searcher("search"),
    "fullmatch": _searcher("fullmatch"), "findall": findall, "finditer": finditer, "split": split,
    "sub": sub, "subn": subn, "escape": escape,
}  # fmt: skip
CONSTANTS = FLAGS
_OF_PATTERN = ("match", "search", "fullmatch", "findall", "finditer", "split", "sub", "subn")
methods(Pattern, {name: FUNCTIONS[name] for name in _OF_PATTERN})
PROPERTIES[Pattern] = {
    "pattern": lambda m, owner: owner.pattern,
    "flags": lambda m, owner: owner.flags,
    "groups": lambda m, owner: owner.host.groups,
}


def _group(m, owner, *keys):
    keys = keys or (0,)
    m.charge(len(keys))
    return owner.host.group(*map(_key, keys))


def _key(key):
    """A group's name or number, which are all that the host may look up."""
    if type(key) not in (int, str):
        raise IndexError("no such group")
    return key


def _groups(m, owner, default=None):
    m.need_items(4 * owner.pattern.host.groups)
    return tuple(owner.host.groups(default))


def _group_dict(m, owner, default=None):
    m.need_entries(4 * owner.pattern.host.groups)
    return dict(owner.host.groupdict(default))


methods(
    Match,
    {
        "group": _group,
        "groups": _groups,
        "groupdict": _group_dict,
        "start": lambda m, owner, key=0: owner.host.start(_key(key)),
        "end": lambda m, owner, key=0: owner.host.end(_key(key)),
        "span": lambda m, owner, key=0: tuple(owner.host.span(_key(key))),
    },
)
PROPERTIES[Match] = {
    "string": lambda m, owner: owner.string,
    "re": lambda m, owner: owner.pattern,
    "lastindex": lambda m, owner: owner.host.lastindex,
    "lastgroup": lambda m, owner: owner.host.lastgroup,
}
