"""Text from values: `str`, `repr`, f-string fields, `str.format` and `%`.

Format specifications are parsed here, with width and precision bounded, before the host formats a plain number or
string; no field can reach an attribute or an item of a value.
"""

from __future__ import annotations

import re
from collections import deque

from mxjax.script import exceptions
from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import may_raise
from mxjax.script.frames import Invoke
from mxjax.script.values import (
    ELLIPSIS,
    UNBOUND,
    BoundMethod,
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    Function,
    Instance,
    Module,
    Native,
    Set,
    Slice,
    View,
    plain,
    type_name,
)

_SPEC = re.compile(
    r"(?:(?P<fill>.)?(?P<align>[<>=^]))?(?P<sign>[-+ ])?z?#?(?P<zero>0)?(?P<width>\d+)?(?P<group>[,_])?"
    r"(?:\.(?P<precision>\d+))?(?P<type>[A-Za-z%])?",
    re.DOTALL,
)
_PERCENT = re.compile(
    r"%(?:\((?P<key>[^)]*)\))?(?P<flags>[-+ #0]*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d+))?(?P<type>.)?", re.DOTALL
)
_BRACE = re.compile("[{}]")
_FIELD = re.compile(r"(?P<name>[^!:{}\[\].]*)(?P<path>[\[.][^!:{}]*)?(?:!(?P<conversion>[rsa]))?", re.DOTALL)


def to_str(m, value):
    """`str(value)`."""
    kind = type(value)
    if kind is str:
        return value
    if kind is Instance:
        for name in ("__str__", "__repr__"):
            method = value.cls.lookup(name)
            if method is not UNBOUND:
                return _text((yield Invoke(method, (value,))), name)
        return (yield from own_text(m, value))
    return (yield from to_repr(m, value))


def own_text(m, value):
    """`str` of an object whose class defines neither `__str__` nor `__repr__`."""
    if exceptions.is_exception(value):
        return (yield from exception_text(m, value))
    if type(plain(value)) is str:
        return plain(value)
    return (yield from own_repr(m, value))


def _text(value, method: str) -> str:
    if type(value) is not str:
        raise TypeError(f"{method} returned non-string (type {type_name(value)})")
    return value


def exception_text(m, value: Instance):
    """`str` of an exception that defines none itself."""
    args = exceptions.args_of(value)
    while len(args) == 1 and exceptions.is_exception(args[0]) and value.cls.name != "KeyError" and _plain(args[0]):
        m.charge(1)
        value = args[0]
        args = exceptions.args_of(value)
    if len(args) == 1:
        if value.cls.name == "KeyError":
            return (yield from to_repr(m, args[0]))
        return (yield from to_str(m, args[0]))
    return (yield from to_repr(m, args)) if args else ""


def _plain(error: Instance) -> bool:
    """Whether the text of an exception is that of its arguments."""
    return error.cls.lookup("__str__") is error.cls.lookup("__repr__") is UNBOUND


def to_repr(m, value, depth: int = 0, inside: tuple = ()):
    """`repr(value)`; a container inside itself is shown as `[...]`."""
    m.charge(1)
    kind = type(value)
    if kind is str:
        return quoted(m, value)
    if kind is int:
        return int_text(m, value)
    if kind is bytes:
        m.need_string(4 * len(value) + 3)
        return repr(value)
    if value is None or kind is bool or kind is float:
        return repr(value)
    if kind is range:
        parts = [int_text(m, part) for part in (value.start, value.stop, value.step)]
        return f"range({', '.join(parts[: 2 if value.step == 1 else 3])})"
    if kind is Instance:
        method = value.cls.lookup("__repr__")
        if method is not UNBOUND:
            return _text((yield Invoke(method, (value,))), "__repr__")
        return (yield from own_repr(m, value, depth, inside))
    if kind is Slice:
        return "slice" + (yield from to_repr(m, value.parts, depth + 1, inside))
    if kind in (list, tuple, dict, DefaultDict, CounterDict, Set, View, deque):
        return (yield from _container(m, value, kind, depth, inside))
    return _opaque(value, kind)


def own_repr(m, value, depth: int = 0, inside: tuple = ()):
    """`repr` of an object whose class defines none."""
    if type(value) is not Instance:
        return (yield from to_repr(m, value, depth, inside))
    if exceptions.is_exception(value):
        args = yield from to_repr(m, exceptions.args_of(value), depth + 1, inside)
        return value.cls.name + (args[:-2] + ")" if args.endswith(",)") else args)
    if value.data is None:
        return f"<{value.cls.name} object>"
    if depth >= m.limits.nesting:
        raise LimitExceeded("nesting")
    shown = yield from to_repr(m, value.data, depth + 1, inside)
    own = type_name(value.data)
    if own == "set" and not value.data.items:
        return f"{value.cls.name}()"
    if own == "set":
        return f"{value.cls.name}({shown})"
    return value.cls.name + shown.removeprefix(own) if own in _NAMED else shown


_NAMED = ("frozenset", "deque", "defaultdict", "Counter")  # whose `repr` begins with the name of the class


def quoted(m, value: str) -> str:
    """`repr` of a string, which may be ten times as long."""
    m.need_string(len(value) + 2, value.isascii())
    text = repr(value)
    if len(text) > len(value) + 2:
        m.need_string(len(text), text.isascii())
    return text


def _opaque(value, kind) -> str:
    if kind is Function:
        return f"<function {value.code.qualname or value.name}>"
    if kind is Native:
        return f"<built-in function {value.name}>"
    if kind is BoundMethod:
        return f"<bound method {value.name}>"
    if kind is BuiltinType:
        return f"<class '{value.name}'>"
    if kind is Class:
        return f"<class '{'' if value.shared else '__main__.'}{value.qualname}'>"
    if kind is Module:
        return f"<module '{value.name}'>"
    if value is ELLIPSIS:
        return "Ellipsis"
    shown = getattr(value, "shown", None)
    return shown()[:300] if shown else f"<{type_name(value)} object>"


def _container(m, value, kind, depth: int, inside: tuple):
    if any(value is outer for outer in inside):
        return {list: "[...]", tuple: "(...)"}.get(kind, "{...}")
    if depth >= m.limits.nesting:
        raise LimitExceeded("nesting")
    inside = (*inside, value)
    m.charge(len(inside))
    m.allocate(80 * (len(value.owner) if kind is View else len(value)))
    parts: list[str] = []
    total = 0
    is_dict = isinstance(value, dict)
    items = (
        list(value.items())
        if is_dict
        else list(value.host() if kind is View else value.items if kind is Set else value)
    )
    if kind is CounterDict:
        items.sort(key=lambda item: -item[1] if type(item[1]) in (int, float, bool) else 0)
    for item in items:
        if is_dict:
            key = yield from to_repr(m, item[0], depth + 1, inside)
            part = f"{key}: " + (yield from to_repr(m, item[1], depth + 1, inside))
        else:
            part = yield from to_repr(m, item, depth + 1, inside)
        total += len(part) + 2
        if total > m.limits.string_chars:
            raise LimitExceeded("string_chars")
        m.allocate(60 + len(part))
        parts.append(part)
    m.need_string(total, all(map(str.isascii, parts)))
    body = ", ".join(parts)
    if kind is list:
        return f"[{body}]"
    if kind is tuple:
        return f"({body},)" if len(parts) == 1 else f"({body})"
    if kind is Set:
        plain = f"{{{body}}}" if parts else "set()"
        return plain if not value.frozen else f"frozenset({plain if parts else ''})"
    if kind is DefaultDict:
        factory = yield from to_repr(m, value.factory, depth + 1, inside)
        return f"defaultdict({factory}, {{{body}}})"
    if kind is CounterDict:
        return f"Counter({{{body}}})" if parts else "Counter()"
    if kind is View:
        return f"dict_{value.kind}([{body}])"
    if kind is deque:
        limit = "" if value.maxlen is None else f", maxlen={value.maxlen}"
        return f"deque([{body}]{limit})"
    return f"{{{body}}}"


def int_text(m, value: int) -> str:
    """`str` of an int, refused beyond 4300 digits as Python does."""
    bits = value.bit_length()
    if bits > 256:
        m.charge(bits * bits >> 14)
        if bits > 14_285 or abs(value) >= 10**4300:
            raise ValueError("Exceeds the limit (4300 digits) for integer string conversion")
    return str(value)


# Format specifications


@may_raise(ValueError, OverflowError)
def format_spec(m, value, spec: str) -> str:
    """`format(value, spec)` for a plain number or string."""
    match = _SPEC.fullmatch(spec) if len(spec) < 100 else None
    if match is None:
        spec = spec[:100]
        raise ValueError(f"Invalid format specifier '{spec}' for object of type '{type_name(value)}'")
    for name in ("width", "precision"):
        digits = match[name]
        if digits and (len(digits) > 9 or int(digits) > m.limits.format_width):
            raise LimitExceeded("format_width")
    if type(value) is int:
        m.charge(value.bit_length() * value.bit_length() >> 14)
    text = format(value, spec)
    m.need_string(len(text), text.isascii())
    return text


def formatted(m, value, spec: str):
    """`format(value, spec)` for any value."""
    kind = type(value)
    if kind is Instance:
        method = value.cls.lookup("__format__")
        if method is not UNBOUND:
            return _text((yield Invoke(method, (value, spec))), "__format__")
    return (yield from formatted_as(m, value, spec))


def formatted_as(m, value, spec: str):
    """`format(value, spec)` of a value whose class does not define it."""
    kind, spec = type(value), plain(spec)
    if type(spec) is not str:
        raise TypeError(f"a format specification must be str, not {type_name(spec)}")
    if not spec:
        return (yield from to_str(m, value))
    if kind is Instance and type(value.data) in (int, float, str):
        return format_spec(m, value.data, spec)
    if kind is Instance and value.cls.plain is not None and type(plain(value)) is not tuple and value.data is None:
        return format_spec(m, (yield from to_str(m, value)), spec)
    if kind in (int, float, bool, str):
        return format_spec(m, value, spec)
    raise TypeError(f"unsupported format string passed to {type_name(value)}.__format__")


def field(m, value, conversion: str, spec: str):
    """One field of an f-string or of `str.format`."""
    if conversion == "r":
        value = yield from to_repr(m, value)
    elif conversion == "s":
        value = yield from to_str(m, value)
    elif conversion == "a":
        value = ascii_of(m, (yield from to_repr(m, value)))
    return (yield from formatted(m, value, spec))


def ascii_of(m, text: str) -> str:
    """Escape what is not ASCII, as `ascii` does."""
    if not text.isascii():
        m.need_string(10 * len(text))
    return text.encode("ascii", "backslashreplace").decode("ascii")


def str_format(m, template: str, *args, **kwargs):
    """`template.format(...)`, without attribute and item look-ups in fields."""
    m.charge(len(template) >> 4)
    return (yield from _expand(m, template, args, kwargs, counter=[0]))


def format_map(m, template: str, mapping):
    """`template.format_map(mapping)`."""
    if not isinstance(mapping, dict):
        raise TypeError("format_map() argument must be a dict")
    m.charge(len(template) >> 4)
    return (yield from _expand(m, template, (), mapping, counter=[0]))


def _expand(m, template: str, args: tuple, kwargs: dict, counter: list[int], depth: int = 0):
    out: list[str] = []
    at = total = 0
    while at < len(template):
        m.charge(1)
        found = _BRACE.search(template, at)
        brace = found.start() if found else len(template)
        out.append(template[at:brace])
        at = brace
        if at < len(template):
            if template[at : at + 2] in ("{{", "}}"):
                out.append(template[at])
                at += 2
            elif template[at] == "}":
                raise ValueError("Single '}' encountered in format string")
            else:
                text, at = yield from _format_field(m, template, at + 1, args, kwargs, counter=counter, depth=depth)
                out.append(text)
        total += len(out[-1])
        if total > m.limits.string_chars:
            raise LimitExceeded("string_chars")
    m.need_string(sum(map(len, out)), all(map(str.isascii, out)))
    return "".join(out)


def _format_field(m, template: str, at: int, args: tuple, kwargs: dict, counter: list[int], depth: int):
    """The text of the field at `at`, and where it ends."""
    if depth > 1:
        raise ValueError("Max string recursion exceeded")
    match = _FIELD.match(template, at)
    assert match is not None, "a field may be empty"
    if match["path"]:
        raise ValueError("attribute and index fields are not supported in str.format")
    end = match.end()
    spec = ""
    if template[end : end + 1] == ":":
        start, level = end + 1, 1
        for end in range(start, len(template)):
            level += {"{": 1, "}": -1}.get(template[end], 0)
            if not level:
                break
        spec = yield from _expand(m, template[start:end], args, kwargs, counter, depth=depth + 1)
    if template[end : end + 1] != "}":
        raise ValueError("expected '}' before end of string")
    value = _argument(match["name"], args, kwargs, counter)
    return (yield from field(m, value, match["conversion"] or "", spec)), end + 1


@may_raise(KeyError)
def _argument(name: str, args: tuple, kwargs: dict, counter: list[int]):
    if not name or name.isdigit():
        if (counter[0] < 0) != bool(name) and counter[0] != 0:
            raise ValueError("cannot switch between automatic field numbering and manual field specification")
        index = int(name[:9]) if name else counter[0]
        counter[0] = -1 if name else counter[0] + 1
        if index >= len(args):
            raise IndexError(f"Replacement index {index} out of range for positional args tuple")
        return args[index]
    return kwargs[name]


@may_raise(KeyError)
def percent(m, template: str, values):
    """`template % values`."""
    values = plain(values) if type(plain(values)) is tuple else values
    named = values if isinstance(values, dict) else None
    queue = list(values) if type(values) is tuple else [values]
    out: list[str] = []
    at = used = total = 0
    m.charge(len(template) >> 4)

    def take():
        nonlocal used
        if used >= len(queue):
            raise TypeError("not enough arguments for format string")
        used += 1
        return queue[used - 1]

    def take_size():
        size = plain(take())
        if type(size) not in (int, bool):
            raise TypeError("* wants int")
        return int(size)

    while True:
        m.charge(1)
        match = _PERCENT.search(template, at)
        out.append(template[at : match.start() if match else len(template)])
        if match is None:
            break
        at = match.end()
        kind = match["type"]
        if kind is None:
            raise ValueError("incomplete format")
        if kind == "%":
            out.append("%")
            continue
        width, precision = (take_size() if match[part] == "*" else match[part] for part in ("width", "precision"))
        if match["key"] is None:
            value = take()
        elif named is None:
            raise TypeError("format requires a mapping")
        else:
            value = named[match["key"]]
        out.append((yield from _percent_field(m, value, kind, match["flags"], width=width, precision=precision)))
        total += len(out[-1])
        if total > m.limits.string_chars:
            raise LimitExceeded("string_chars")
    if used < len(queue) and named is None:
        raise TypeError("not all arguments converted during string formatting")
    m.need_string(sum(map(len, out)), all(map(str.isascii, out)))
    return "".join(out)


@may_raise(TypeError, ValueError, OverflowError)
def _percent_field(m, value, kind: str, flags: str, width, precision):
    for size in (width, precision):
        if size is not None and (len(str(size)[:20]) > 9 or abs(int(size)) > m.limits.format_width):
            raise LimitExceeded("format_width")
    if kind in "sra":
        value = yield from (to_str(m, value) if kind == "s" else to_repr(m, value))
        kind = "s"
    elif kind in "diouxXeEfFgGc":
        value = plain(value)
        if type(value) is Instance and kind in "eEfFgG" and (method := value.cls.lookup("__float__")) is not UNBOUND:
            value = yield Invoke(method, (value,))
        if type(value) not in (int, float, bool) and not (kind == "c" and type(value) is str):
            wanted = "a real number" if kind in "diueEfFgG" else "an integer"
            raise TypeError(f"%{kind} format: {wanted} is required, not {type_name(value)}")
        if type(value) is int:
            int_text(m, value)
    else:
        raise ValueError(f"unsupported format character '{kind}'")
    spec = f"%{flags}{'' if width is None else width}{'' if precision is None else f'.{precision}'}{kind}"
    m.charge(int(width or 0) + int(precision or 0) >> 6)
    return spec % (value,)
