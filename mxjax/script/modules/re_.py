"""`re`, on a linear-time engine.

No pattern of a script can take more than time in proportion to the text.
"""

from __future__ import annotations

import collections

import re2

from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import EXCEPTIONS, binds_arguments, may_raise
from mxjax.script.frames import Invoke
from mxjax.script.modules import regex
from mxjax.script.types import make_nothing
from mxjax.script.values import BuiltinType, Class, HostIterator, Instance, Raised, type_name

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
    "NOFLAG": 0,
}
ERROR = Class("error", (EXCEPTIONS["Exception"],), {}, shared=True)
_STATE_BYTES, _INSTRUCTION_BYTES = 1 << 16, 256  # what RE2 may take for a pattern, and more by its size
_CACHE_PATTERNS, _CACHE_BYTES = 512, 8 << 20  # with RE2's memory, that stay from script to script
_KNOWN = "(patterns)"  # under which a machine notes what its script has had compiled, whose memory it has paid for
_ENDLESS = 1 << 62  # "as far as the text goes"


class Program:
    """A compiled pattern, shared by all scripts that compile the same one.

    It is for ASCII texts or, when `wide`, for all others.
    """

    __slots__ = ("host", "memory", "translation", "weight")
    holds = ()
    own_bytes = property(lambda self: self.memory)

    def __init__(self, host, translation: regex.Translation):
        self.host = host
        self.translation = translation
        self.weight = 1 + (translation.size >> 6)
        self.memory = _memory(translation)


class Pattern:
    """A compiled pattern."""

    __slots__ = ("flags", "pattern", "program")
    holds = ("pattern", "program")
    type_name = "Pattern"

    def __init__(self, pattern: str, flags: int, program: Program):
        self.pattern = pattern
        self.flags = flags
        self.program = program

    @property
    def groups(self) -> int:
        return len(self.program.translation.groups)

    @property
    def names(self) -> dict[str, int]:
        return self.program.translation.names

    def shown(self) -> str:
        return f"re.compile({self.pattern[:200]!r})"


class Match:
    """A match: the spans of the whole and of every group."""

    __slots__ = ("end_at", "pattern", "pos", "spans", "string")
    holds = ("pattern", "spans", "string")
    type_name = "Match"
    own_bytes = 700

    def __init__(self, pattern: Pattern, string: str, spans: list[tuple[int, int]], pos: int, end_at: int):
        self.pattern = pattern
        self.string = string
        self.spans = spans
        self.pos = pos
        self.end_at = end_at

    def shown(self) -> str:
        return f"<re.Match object; span={self.spans[0]}, match={self.text(0)[:50]!r}>"

    def get_item(self, m, key):
        return _group(m, self, key)

    def text(self, number: int, default=None):
        """The text of a group."""
        start, end = self.spans[number]
        return default if start < 0 else self.string[start:end]


def _failed(reason: str) -> Raised:
    return Raised(Instance(ERROR, {"args": (reason,), "msg": reason}))


def _memory(translation: regex.Translation) -> int:
    """RE2's maximum memory for a program and its search states."""
    return _STATE_BYTES + _INSTRUCTION_BYTES * translation.size


_cache: collections.OrderedDict[tuple, Program | str] = collections.OrderedDict()


def _compiled(pattern: str, flags: int, wide: bool) -> Program | str:
    """The program, or why there is none, from a bounded cache."""
    key = (pattern, flags, wide)
    found = _cache.get(key)
    if found is None:
        found = _cache[key] = _compile(*key)
        while len(_cache) > _CACHE_PATTERNS or sum(map(_kept_bytes, _cache.items())) > _CACHE_BYTES:
            _cache.popitem(last=False)
    else:
        _cache.move_to_end(key)
    return found


def _kept_bytes(item: tuple[tuple, Program | str]) -> int:
    (pattern, *_), found = item
    return 400 + 4 * len(pattern) + (4 * len(found) if isinstance(found, str) else found.memory)


def _compile(pattern: str, flags: int, wide: bool) -> Program | str:
    options = re2.Options()
    options.log_errors = False
    try:
        translation = regex.translate(pattern, flags, wide)
        options.max_mem = _memory(translation)
        host = re2.compile(translation.text, options)
        re2.purge()  # its own cache, which counts patterns and not bytes
        return Program(host, translation)
    except regex.PatternError as error:
        return f"{error} in the regular expression {pattern[:80]!r}"
    except re2.error as error:
        reason = error.args[0] if error.args else "cannot be compiled"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        return f"{reason} in the regular expression {pattern[:80]!r}"


def _program(m, pattern: str, flags: int, wide: bool) -> Program:
    program = _compiled(pattern, flags, wide)
    if isinstance(program, str):
        raise _failed(program)
    m.charge(2 * program.translation.size)
    known = m.imported.setdefault(_KNOWN, {})
    if (pattern, flags, wide) not in known:
        m.allocate(program.memory)
        m.need_items(len(known) + 1) if len(known) >= m.limits.items else m.allocate(140)
        known[pattern, flags, wide] = None
    return program


@may_raise(ValueError)
def compile_(m, pattern, flags=0):
    if type(pattern) is Pattern:
        if flags:
            raise ValueError("cannot process flags argument with a compiled pattern")
        return pattern
    if type(pattern) is not str:
        raise TypeError(f"first argument must be string or compiled pattern, not {type_name(pattern)}")
    if type(flags) not in (int, bool):
        raise TypeError(f"flags must be an integer, not {type_name(flags)}")
    m.charge(regex.reading_cost(pattern, flags))
    pattern.encode()
    program = _program(m, pattern, flags, False)
    m.allocate(1000)
    return Pattern(pattern, flags, program)


class _Scan:
    """A search through one text: RE2 sees UTF-8, the script counts characters."""

    __slots__ = (
        "ascii", "byte", "compiled", "data", "end", "first", "known", "m", "pos", "program", "text",
    )  # fmt: skip
    holds = ("compiled", "data", "text")

    @may_raise(ValueError)
    def __init__(self, m, compiled: Pattern, text, pos=0, endpos=_ENDLESS):
        if type(text) is not str:
            raise TypeError(f"expected string or bytes-like object, got '{type_name(text)}'")
        for bound in (pos, endpos):
            if type(bound) not in (int, bool):
                raise TypeError(f"'{type_name(bound)}' object cannot be interpreted as an integer")
        self.ascii = text.isascii()
        program = compiled.program
        if not self.ascii:
            program = _program(m, compiled.pattern, compiled.flags, True)
        m.charge(8 + (len(text) >> 3) * program.weight)
        self.m, self.compiled, self.text, self.program = m, compiled, text, program
        self.end = max(0, min(endpos, len(text)))
        self.pos = self.first = max(0, min(pos, len(text)))
        self.data = (text if self.end == len(text) else text[: self.end]).encode()
        self.byte = len(text[: self.pos].encode()) if not self.ascii else self.pos
        self.known = (self.byte, self.pos)  # a place that both counts are known of

    def match(self, how: str) -> list[tuple[int, int]] | None:
        """The spans of one match from where the search is, in characters."""
        if self.pos > self.end:
            return None
        found = getattr(self.program.host, how)(self.data, self.byte)
        if found is None:
            return None
        translation = self.program.translation
        spans = [found.span(), *map(found.span, translation.groups)]
        cut = any(found.start(index) >= 0 for index in translation.ends)
        if cut:
            last = len(self.data) - 1
            spans = [(min(start, last), min(end, last)) for start, end in spans]
        if how == "fullmatch" and cut:
            return None
        return spans if self.ascii else self.characters(spans)

    def characters(self, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Byte offsets as character offsets, counting each part once."""
        at, count = self.known
        places = {-1: -1}
        for offset in sorted({offset for span in spans for offset in span} - {-1}):
            count += len(self.data[at:offset].decode())
            places[offset] = count
            at = offset
        self.known = (spans[0][1], places[spans[0][1]])
        return [(places[start], places[end]) for start, end in spans]

    def all(self):
        """Every match, each accounted for with the rest of the text.

        The next match may scan that rest in vain.
        """
        m, weight = self.m, self.program.weight
        size = 100 * (1 + self.compiled.groups)
        count = 0
        while (spans := self.match("search")) is not None:
            start, end = spans[0]
            m.charge(4 + ((len(self.text) - end) * weight >> 10))
            m.allocate(size)
            if count >= m.limits.items:
                raise LimitExceeded("items")
            count += 1
            yield spans
            self.go_to(end)
            if start == end:
                self.step()
            if self.pos > self.end:
                return

    def go_to(self, place: int):
        self.pos = place
        self.byte = place if self.ascii else self.known[0]

    def step(self):
        """Advance by one character, past an empty match."""
        self.pos += 1
        self.byte += 1
        while not self.ascii and self.byte < len(self.data) and self.data[self.byte] & 0xC0 == 0x80:
            self.byte += 1

    def made(self, spans) -> Match:
        return Match(self.compiled, self.text, spans, self.first, self.end)


def _one(how: str):
    def find(m, compiled, string, pos=0, endpos=_ENDLESS):
        scan = _Scan(m, compiled, string, pos, endpos)
        spans = scan.match(how)
        return None if spans is None else scan.made(spans)

    return find


def findall(m, compiled, string, pos=0, endpos=_ENDLESS):
    groups = compiled.groups
    found = []
    for spans in _Scan(m, compiled, string, pos, endpos).all():
        texts = ["" if start < 0 else string[start:end] for start, end in (spans[1:] if groups else spans)]
        found.append(tuple(texts) if groups > 1 else texts[0])
    m.need_items(len(found))
    return found


def finditer(m, compiled, string, pos=0, endpos=_ENDLESS):
    scan = _Scan(m, compiled, string, pos, endpos)
    matches = []
    for spans in scan.all():
        m.allocate(Match.own_bytes)
        matches.append(scan.made(spans))
    return HostIterator(iter(matches), "callable_iterator")


def split(m, compiled, string, maxsplit=0):
    if type(maxsplit) is not int:
        raise TypeError(f"'{type_name(maxsplit)}' object cannot be interpreted as an integer")
    parts: list = []
    at = 0
    scan = _Scan(m, compiled, string)
    for (start, end), *groups in scan.all() if maxsplit >= 0 else ():
        parts += (string[at:start], *(None if first < 0 else string[first:last] for first, last in groups))
        at = end
        if len(parts) == maxsplit * (1 + compiled.groups):
            break
    return [*parts, string[at:]]


def sub(m, compiled, repl, string, count=0):
    return (yield from subn(m, compiled, repl, string, count))[0]


def subn(m, compiled, repl, string, count=0):
    if type(count) not in (int, bool):
        raise TypeError(f"'{type_name(count)}' object cannot be interpreted as an integer")
    pieces = _template(m, compiled, repl) if type(repl) is str else None
    scan = _Scan(m, compiled, string)
    out: list[str] = []
    at = done = 0
    total = len(string)
    for spans in scan.all() if count >= 0 else ():
        if pieces is not None:
            m.charge(len(pieces))
            new = [piece if type(piece) is str else string[slice(*spans[piece])] for piece in pieces]
        else:
            made = yield Invoke(repl, (scan.made(spans),))
            if type(made) is not str:
                raise TypeError(f"expected str instance, {type_name(made)} found")
            new = [made]
        total += sum(map(len, new))
        if total > m.limits.string_chars:
            raise LimitExceeded("string_chars")
        m.allocate(50 * len(new))
        start, end = spans[0]
        out += (string[at:start], *new)
        at, done = end, done + 1
        if done == count:
            break
    out.append(string[at:])
    m.need_string(sum(map(len, out)), all(map(str.isascii, out)))
    return "".join(out), done


_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_OCTAL = "01234567"


def _template(m, compiled: Pattern, repl: str) -> list[str | int]:
    r"""A replacement as literal pieces and group references.

    The references are the groups that `\1` and `\g<name>` stand for.
    """
    if type(repl) is not str:
        raise TypeError(f"a template must be a str, not {type_name(repl)}")
    m.charge(len(repl) >> 4)
    pieces: list[str | int] = []
    at = 0
    while (slash := repl.find("\\", at)) >= 0:
        m.charge(1)
        pieces.append(repl[at:slash])
        piece, at = _reference(compiled, repl, slash + 1)
        pieces.append(piece)
    return [piece for piece in (*pieces, repl[at:]) if piece != ""]


def _reference(compiled: Pattern, repl: str, at: int) -> tuple[str | int, int]:
    """The character or group of a template escape, and its end."""
    char = repl[at : at + 1]
    if char == "g":
        end = repl.find(">", at)
        if not repl.startswith("<", at + 1) or end < 0:
            raise _failed("missing group name" if end >= 0 else "missing >, unterminated name")
        name = repl[at + 2 : end]
        if name.isdecimal() and name.isascii():
            return _numbered(compiled, name), end + 1
        if not name.isidentifier():
            raise _failed(f"bad character in group name {name[:80]!r}" if name else "missing group name")
        if name not in compiled.names:
            raise IndexError(f"unknown group name {name[:80]!r}")
        return compiled.names[name], end + 1
    if char and char in "0123456789":
        digits = repl[at : at + 3]
        octal = next((n for n, digit in enumerate(digits) if digit not in _OCTAL), len(digits))
        if char == "0" or octal == 3:
            code = int(digits[:octal], 8)
            if code > 0o377:
                raise _failed(f"octal escape value \\{digits} outside of range 0-0o377")
            return chr(code), at + octal
        length = 2 if digits[1:2] and digits[1] in "0123456789" else 1
        return _numbered(compiled, digits[:length]), at + length
    if char in _ESCAPES:
        return _ESCAPES[char], at + 1
    if not char or (char.isascii() and char.isalpha()):
        raise _failed(f"bad escape \\{char}" if char else "bad escape (end of pattern)")
    return "\\" + char, at + 1


def _numbered(compiled: Pattern, digits: str) -> int:
    if len(digits) > 9 or int(digits) > compiled.groups:
        raise _failed(f"invalid group reference {digits[:20]}")
    return int(digits)


def escape(m, pattern):
    if type(pattern) is not str:
        raise TypeError(f"escape() needs a str, not {type_name(pattern)}")
    m.need_string(2 * len(pattern), pattern.isascii())
    return pattern.translate(_SPECIAL)


_SPECIAL = {ord(char): "\\" + char for char in "()[]{}?*+-|^$\\.&~# \t\n\r\v\f"}
PATTERN = {
    "match": _one("match"), "search": _one("search"), "fullmatch": _one("fullmatch"), "findall": findall,
    "finditer": finditer, "split": split, "sub": sub, "subn": subn,
}  # fmt: skip


def _of_module(name: str):
    """A pattern method as a module function, which compiles its pattern."""
    method = PATTERN[name]
    most = {"split": 2, "sub": 3, "subn": 3}.get(name, 1)

    @binds_arguments
    def call(m, pattern, *args, flags=0, **kwargs):
        if len(args) > most:
            args, flags = args[:-1], args[-1]
        if len(args) > most or "pos" in kwargs or "endpos" in kwargs:
            raise TypeError(f"{name}() got too many arguments")
        return method(m, compile_(m, pattern, flags), *args, **kwargs)

    return call


FUNCTIONS = {
    "compile": compile_,
    "escape": escape,
    "purge": lambda m: None,
    **{name: _of_module(name) for name in PATTERN},
}
CONSTANTS = {
    **FLAGS,
    "error": ERROR,
    "Pattern": BuiltinType("Pattern", (Pattern,), make_nothing),
    "Match": BuiltinType("Match", (Match,), make_nothing),
}
PATTERN_PROPERTIES = {
    "pattern": lambda m, owner: owner.pattern,
    "flags": lambda m, owner: owner.program.translation.flags,
    "groups": lambda m, owner: owner.groups,
    "groupindex": lambda m, owner: dict(owner.names),
}


def _number(owner: Match, key) -> int:
    """The number of a group given by number or name."""
    if type(key) is str:
        key = owner.pattern.names.get(key, -1)
    if type(key) not in (int, bool) or not 0 <= key < len(owner.spans):
        raise IndexError("no such group")
    return key


def _need_texts(m, owner: Match, numbers):
    """Account for the texts of some groups."""
    length = sum(end - start for start, end in (owner.spans[number] for number in numbers))
    m.allocate(60 * len(numbers) + (length if owner.string.isascii() else 4 * length))


def _group(m, owner, *keys):
    m.charge(len(keys))
    numbers = [_number(owner, key) for key in keys or (0,)]
    _need_texts(m, owner, numbers)
    found = [owner.text(number) for number in numbers]
    return found[0] if len(found) == 1 else tuple(found)


def _groups(m, owner, default=None):
    m.need_items(4 * owner.pattern.groups)
    _need_texts(m, owner, range(1, len(owner.spans)))
    return tuple(owner.text(number, default) for number in range(1, len(owner.spans)))


def _group_dict(m, owner, default=None):
    m.need_entries(4 * owner.pattern.groups)
    _need_texts(m, owner, owner.pattern.names.values())
    return {name: owner.text(number, default) for name, number in owner.pattern.names.items()}


def _expand(m, owner, template):
    pieces = _template(m, owner.pattern, template)
    m.charge(len(pieces))
    texts = [piece if type(piece) is str else owner.text(piece, "") for piece in pieces]
    m.need_string(sum(map(len, texts)), all(map(str.isascii, texts)))
    return "".join(texts)


def _last_index(m, owner):
    """The group closed last: the outermost of those that end furthest."""
    m.charge(len(owner.spans) >> 1)
    closed = [(-end, number) for number, (_, end) in enumerate(owner.spans) if number and end >= 0]
    return min(closed)[1] if closed else None


def _last_group(m, owner):
    number = _last_index(m, owner)
    return next((name for name, index in owner.pattern.names.items() if index == number), None)


def _span(m, owner: Match, key=0) -> tuple[int, int]:
    return owner.spans[_number(owner, key)]


def _start(m, owner: Match, key=0) -> int:
    return _span(m, owner, key)[0]


def _end(m, owner: Match, key=0) -> int:
    return _span(m, owner, key)[1]


MATCH = {
    "group": _group,
    "groups": _groups,
    "groupdict": _group_dict,
    "expand": _expand,
    "start": _start,
    "end": _end,
    "span": _span,
}
MATCH_PROPERTIES = {
    "string": lambda m, owner: owner.string,
    "re": lambda m, owner: owner.pattern,
    "pos": lambda m, owner: owner.pos,
    "endpos": lambda m, owner: owner.end_at,
    "lastindex": _last_index,
    "lastgroup": _last_group,
}
