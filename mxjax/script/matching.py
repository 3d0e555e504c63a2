"""The instructions of `match`.

Each takes the subject off the stack and leaves its parts as a tuple, or None.
"""

from __future__ import annotations

from collections import deque

from mxjax.script import attributes, keys
from mxjax.script.builtins import getattr_
from mxjax.script.values import (
    UNBOUND,
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    Set,
    Union,
    brief,
    plain,
    type_name,
)

_SELF = (bool, bytes, dict, float, frozenset, int, list, str, tuple, Set, CounterDict, DefaultDict)
_SEQUENCES = (list, tuple, range, deque)
_MISSING = object()


def match_sequence(m, frame, shape):
    """`[a, *b, c]`: a sequence pattern.

    `shape` gives the number of items before a starred name, whether there is one, and the number after it.
    """
    before, starred, after = shape
    value = plain(frame.stack.pop())
    count = len(value) if type(value) in _SEQUENCES else -1
    if count < before + after or (count > before + after and not starred):
        frame.stack.append(None)
        return
    m.charge(count)
    if starred:
        m.need_items(count)
    value = list(value)
    middle = (value[before : count - after],) if starred else ()
    frame.stack.append((*value[:before], *middle, *value[count - after :]))


def match_mapping(m, frame, argument):
    """`{key: a, **rest}`: a mapping pattern.

    The argument gives the number of keys on top of the subject, and whether there is a rest.
    """
    count, rest = argument
    stack = frame.stack
    pattern_keys = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    value = plain(stack.pop())
    stack.append(None)
    if not isinstance(value, dict) or len(value) < count:
        return
    for index, key in enumerate(pattern_keys):
        keys.hashable(m, key)
        m.charge(index)
        if key in pattern_keys[:index]:
            raise ValueError(f"mapping pattern checks duplicate key ({brief(key)})")
        if key not in value:
            return
    if rest:
        m.need_entries(len(value))
        keys.hash_again(m, value)
    taken = dict.fromkeys(pattern_keys)
    left = ({key: item for key, item in value.items() if key not in taken},) if rest else ()
    stack[-1] = (*(value[key] for key in pattern_keys), *left)


def match_class(m, frame, argument):
    """`C(a, name=b)`: a class pattern.

    The argument gives the number of positional parts and the names; the class is on top of the subject.
    """
    count, names = argument
    cls = frame.stack.pop()
    value = frame.stack.pop()
    if type(cls) in (tuple, Union) or not _is_type(cls):
        raise TypeError("called match pattern must be a type")
    if not attributes.is_instance(m, value, cls):
        frame.stack.append(None)
    elif not count and not names:
        frame.stack.append(())
    else:
        m.start(_parts_of(m, value, cls, count, names))
        return True


def _is_type(cls) -> bool:
    return type(cls) in (Class, BuiltinType) or getattr(cls, "admits", None) is not None


def _parts_of(m, value, cls, count: int, names: tuple[str, ...]):
    """The attributes named by a class pattern; None if any is missing."""
    known = cls.lookup("__match_args__") if type(cls) is Class else UNBOUND
    itself = known is UNBOUND and _matches_itself(cls)
    known = () if known is UNBOUND else known
    if type(known) is not tuple:
        raise TypeError(f"{cls.name}.__match_args__ must be a tuple (got {type_name(known)})")
    allowed = 1 if itself else len(known)
    if count > allowed:
        plural = "" if allowed == 1 else "s"
        raise TypeError(f"{cls.name}() accepts {allowed} positional sub-pattern{plural} ({count} given)")
    parts = [value] if itself and count else []
    wanted: dict[str, None] = {}
    for name in (*known[: count - len(parts)], *names):
        if type(name) is not str:
            raise TypeError(f"__match_args__ elements must be strings (got {type_name(name)})")
        if name in wanted:
            raise TypeError(f"{cls.name}() got multiple sub-patterns for attribute {name!r}")
        wanted[name] = None
        part = yield from getattr_(m, value, name, _MISSING)
        if part is _MISSING:
            return None
        parts.append(part)
    return tuple(parts)


def _matches_itself(cls) -> bool:
    """Whether a class pattern's one positional part is the object itself.

    So it is for built-in types and classes derived from them.
    """
    base = cls.base if type(cls) is Class else cls
    return type(base) is BuiltinType and any(host in _SELF for host in base.hosts[:1])


def jump_if_unmatched(m, frame, target):
    """Push the parts of a subject, the first topmost, or jump.

    It jumps where there are none.
    """
    parts = frame.stack.pop()
    if parts is None:
        frame.ip = target
    else:
        frame.stack.extend(reversed(parts))
