"""`json`, with nesting and size bounded before anything is parsed or written."""

from __future__ import annotations

import json
import math

from mxjax.script import exceptions
from mxjax.script.errors import LimitExceeded
from mxjax.script.formatting import int_text
from mxjax.script.frames import Invoke
from mxjax.script.values import UNBOUND, Raised, plain, type_name


def loads(m, text, **kwargs):
    if type(text) is not str:
        raise TypeError(f"the JSON object must be str, bytes or bytearray, not {type_name(text)}")
    return parse(m, text, json.JSONDecoder(strict=kwargs.get("strict", True) is not False).decode)


def decoder(m, **kwargs):
    return Decoder(kwargs.get("strict", True) is not False)


class Decoder:
    """`json.JSONDecoder`, of which a script can only choose whether it is strict."""

    __slots__ = ("strict",)
    holds = ()
    type_name = "JSONDecoder"

    def __init__(self, strict: bool):
        self.strict = strict


def raw_decode(m, owner, s, idx=0):
    """The value that begins at `idx`, and where it ends."""
    if type(idx) is not int or idx < 0 or type(s) is not str:
        raise TypeError("raw_decode() needs a text and where to begin")
    m.allocate(len(s) if s.isascii() else 4 * len(s))
    made = json.JSONDecoder(strict=owner.strict)
    return parse(m, s[idx:], lambda text: (lambda found: (found[0], found[1] + idx))(made.raw_decode(text)))


DECODER = {"decode": lambda m, owner, s: loads(m, s, strict=owner.strict), "raw_decode": raw_decode}


def parse(m, text: str, decode=json.loads):
    """The value of a JSON text; raises the script's JSONDecodeError."""
    m.charge(len(text) >> 2)
    m.allocate(32 * len(text) if text.isascii() else 100 * len(text))
    depth = deepest = 0
    inside = False
    for at, char in enumerate(text):
        if char == '"' and not (inside and _escaped(text, at)):
            inside = not inside
        elif not inside and char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif not inside and char in "]}":
            depth -= 1
    if deepest > m.limits.nesting:
        raise LimitExceeded("nesting")
    if text.count(",") >= m.limits.items:
        raise LimitExceeded("items")
    try:
        return decode(text)
    except json.JSONDecodeError as error:
        made = exceptions.make("JSONDecodeError", str(error))
        made.fields.update(msg=error.msg, pos=error.pos, lineno=error.lineno, colno=error.colno, doc=text)
        raise Raised(made) from None


def _escaped(text: str, at: int) -> bool:
    slashes = 0
    while at > slashes and text[at - slashes - 1] == "\\":
        slashes += 1
    return slashes % 2 == 1


def _separators(m, given) -> tuple[str, str] | None:
    if given is None:
        return None
    if type(given) not in (list, tuple) or len(given) != 2 or not all(type(part) is str for part in given):
        raise TypeError("separators must be a pair of texts")
    for part in given:
        m.need_string(len(part), part.isascii())
    return tuple(given)


def dumps(m, value, *, indent=None, ensure_ascii=True, sort_keys=False, separators=None, default=None, **kwargs):
    if indent is not None and type(indent) not in (int, bool, str):
        raise TypeError(f"indent must be a number or a text, not {type_name(indent)}")
    if (len(indent) if type(indent) is str else indent or 0) > 100:
        raise LimitExceeded("format_width")
    step = indent if type(indent) is str or indent is None else " " * indent
    comma, colon = _separators(m, separators) or ((", ", ": ") if step is None else (",", ": "))
    writer = _Writer(m, step, ensure_ascii, sort_keys, comma, colon, default)
    yield from writer.write(value, 0)
    return "".join(writer.out)


class _Writer:
    """A JSON text under way."""

    __slots__ = ("ascii", "colon", "comma", "default", "m", "out", "sort", "step", "total")
    holds = ("comma", "colon", "default", "out", "step")

    def __init__(self, m, step, ensure_ascii, sort_keys, comma, colon, default):
        self.m, self.step, self.ascii, self.sort = m, step, ensure_ascii, sort_keys
        self.comma, self.colon, self.default = comma, colon, default
        self.out: list[str] = []
        self.total = 0

    def put(self, text: str):
        self.total += len(text)
        if self.total > self.m.limits.string_chars:
            raise LimitExceeded("string_chars")
        self.m.allocate((2 if text.isascii() else 8) * len(text) + 64)
        self.out.append(text)

    def write(self, value, depth: int):
        if depth > self.m.limits.nesting:
            raise LimitExceeded("nesting")
        self.m.charge(2 + (depth >> 3))
        kind = type(value)
        if kind is list or kind is tuple:
            yield from self.sequence(value, depth)
        elif isinstance(value, dict):
            yield from self.mapping(value, depth)
        elif value is None or kind is bool:
            self.put({None: "null", True: "true", False: "false"}[value])
        elif kind is str:
            self.put(json.dumps(value, ensure_ascii=self.ascii))
        elif kind is int:
            self.put(int_text(self.m, value))
        elif kind is float:
            self.put(repr(value) if math.isfinite(value) else json.dumps(value))
        elif plain(value) is not value:
            yield from self.write(plain(value), depth)
        elif self.default is not None:
            yield from self.write((yield Invoke(self.default, (value,))), depth + 1)
        else:
            raise TypeError(f"Object of type {type_name(value)} is not JSON serializable")

    def line(self, depth: int) -> str:
        return "" if self.step is None else "\n" + self.step * depth

    def sequence(self, value, depth: int):
        if not value:
            self.put("[]")
            return
        for index, item in enumerate(value):
            self.put(("," if self.step is not None else self.comma) if index else "[")
            self.put(self.line(depth + 1))
            yield from self.write(item, depth + 1)
        self.put(self.line(depth) + "]")

    def mapping(self, value, depth: int):
        if not value:
            self.put("{}")
            return
        self.m.need_items(len(value))
        keys = list(value)
        if self.sort and all(type(key) is str for key in keys):
            keys.sort()
        for index, key in enumerate(keys):
            self.put((self.comma.rstrip() if self.step is not None else self.comma) if index else "{")
            self.put(self.line(depth + 1))
            self.put(json.dumps(self.key(key), ensure_ascii=self.ascii) + self.colon)
            yield from self.write(value.get(key, UNBOUND), depth + 1)
        self.put(self.line(depth) + "}")

    def key(self, key) -> str:
        key = plain(key)
        if type(key) is str:
            return key
        if key is None or type(key) is bool:
            return {None: "null", True: "true", False: "false"}[key]
        if type(key) in (int, float):
            return repr(key)
        raise TypeError(f"keys must be str, int, float, bool or None, not {type_name(key)}")


FUNCTIONS = {"loads": loads, "dumps": dumps, "JSONDecoder": decoder}
CONSTANTS = {"JSONDecodeError": exceptions.EXCEPTIONS["JSONDecodeError"]}
