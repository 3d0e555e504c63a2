"""Plain Python values as JSON lines, without loss.

JSON alone has no tuples, sets, bytes or big integers. Decoding builds values of built-in types only, whatever the bytes
say, so the receiver runs none of the sender's code. A value that is not plain travels as a handle: a number, or the
name of a builtin, for `handle` to make sense of.
"""

import base64
import json

MAX_LINE = 16_000_000
_MAX_DIGITS = 4000  # json writes integers in decimal, which Python refuses beyond 4,300 digits


class NotPlain(TypeError):
    """A value without an encoding, or bytes that encode none."""


def dumps(value, handle=None) -> bytes:
    """`value` as one line of JSON.

    `handle(object)` names what is not plain; without it NotPlain is raised.
    """
    try:
        return json.dumps(_pack(value, handle)).encode() + b"\n"
    except RecursionError:
        raise NotPlain("a value that is nested too deeply, or contains itself") from None


class Unbuilt:
    """A set or dict that was not built.

    Hashing what a hostile sender has chosen may take quadratic time. `kind` is "set", "frozenset" or "dict"; `items`
    are its items, or its pairs of key and value.
    """

    def __init__(self, kind, items):
        self.kind, self.items = kind, items


def loads(line, handle=None, hashed=True):
    """The value of a line made by `dumps`.

    With `hashed` False, sets and dicts in it are `Unbuilt`.

    Raises NotPlain for anything else, and for handles without `handle`.
    """
    try:
        return _unpack(json.loads(str(line, "utf-8")), handle, hashed)
    except NotPlain:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, MemoryError) as error:
        raise NotPlain(f"not an encoded value: {type(error).__name__}") from None


def message(line, handle=None, hashed=True):
    """(kind, content) of a line between two jobs.

    "value", "error" [type, text], or "ask" [what, of what, ...]. Tests also say "end", and "apart" with what keeps them
    from running apart from the program.

    Raises NotPlain for anything else.
    """
    whole = loads(line, handle, hashed)
    pairs = whole.items if type(whole) is Unbuilt and whole.kind == "dict" else whole
    pairs = list(pairs.items()) if type(pairs) is dict else pairs
    if type(pairs) is not list or len(pairs) != 1 or type(pairs[0]) is not tuple or type(pairs[0][0]) is not str:
        raise NotPlain("not a message")
    ((kind, content),) = pairs
    is_list = type(content) is list
    fits = {
        "value": True,
        "end": content is None,
        "apart": type(content) is str,
        "error": is_list and [type(part) for part in content] == [str, str],
        "ask": is_list and len(content) >= 2 and type(content[0]) is str and _ASKS.get(content[0]) == len(content),
    }
    if not fits.get(kind):
        raise NotPlain("not a message")
    return kind, content


def kind_of(line) -> str:
    """The kind of a message of one's own side, from its beginning.

    Returns "" if it is none.
    """
    head = bytes(line[:40]).split(b'"')
    return head[3].decode(errors="replace") if len(head) > 4 and head[1] == b"dict" else ""


def _pack(value, handle):
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if value.bit_length() < 3 * _MAX_DIGITS else {"int": hex(value)}
    if kind is float:
        return value if value - value == 0 else {"float": repr(value)}
    if kind in _SEQUENCES:
        return {kind.__name__: [_pack(item, handle) for item in value]}
    if kind is complex:
        return {"complex": [_pack(value.real, None), _pack(value.imag, None)]}
    if kind in (bytes, bytearray):
        return {"bytes": base64.b64encode(value).decode()}
    if kind is range:
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, dict):  # a Counter or defaultdict equals the dict that it is
        return {"dict": [[_pack(key, handle), _pack(item, handle)] for key, item in value.items()]}
    for base in _BASES:
        if isinstance(value, base):  # named tuples, enumerations and other subclasses: as what they are
            return _pack(base(value), handle)
    if str(kind.__module__).partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return _pack(value.tolist(), handle)
    if handle is None:
        raise NotPlain(f"a value of type {kind.__name__}")
    return {"handle": handle(value)}


def _unpack(data, handle, hashed, key=False):
    """The value of `data`.

    With `key`, one that Python could hash: nothing comes out that no program could hold.
    """
    if data is None or type(data) in (bool, int, float, str):
        return data
    if type(data) is not dict or len(data) != 1:
        raise NotPlain("not an encoded value")
    ((kind, content),) = data.items()
    if kind == "handle" and handle is not None and type(content) in (int, str):
        return handle(content)
    if key and kind in ("list", "dict", "set"):
        raise NotPlain(f"a {kind} as a key")
    if kind == "dict":
        pairs = [(_unpack(name, handle, hashed, True), _unpack(item, handle, hashed)) for name, item in content]
        return dict(pairs) if hashed else Unbuilt(kind, pairs)
    for sequence in _SEQUENCES:
        if kind == sequence.__name__:
            is_set = sequence in (set, frozenset)
            if type(content) is not list:
                raise NotPlain("not an encoded value")
            items = [_unpack(item, handle, hashed, key or is_set) for item in content]
            return sequence(items) if hashed or not is_set else Unbuilt(kind, items)
    if kind == "int":
        return int(content, 16)
    if kind == "float":
        return float(content)
    if kind == "complex":
        return complex(*(_unpack(part, None, hashed) for part in content))
    if kind == "bytes":
        return base64.b64decode(content, validate=True)
    if kind == "range":
        return range(*content)
    raise NotPlain(f"an unknown kind of value {kind!r:.40}")


_SEQUENCES: tuple[type, ...] = (list, tuple, set, frozenset)
_BASES: tuple[type, ...] = (bool, int, float, str, tuple, list, set, frozenset)
_ASKS = {"global": 2, "items": 2, "get": 3, "set": 4, "call": 4}  # what may be asked, and the length of the request
