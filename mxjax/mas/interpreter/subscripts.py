"""`a[b]`, `a[b] = c` and `del a[b]` for every type that has items."""

from __future__ import annotations

from collections import deque

from mxjax.mas.interpreter.frames import Invoke
from mxjax.mas.interpreter.iteration import take_all
from mxjax.mas.interpreter.operators import DICTS, hashable
from mxjax.mas.interpreter.values import (
    UNBOUND,
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    Instance,
    Slice,
    plain,
    type_name,
)

SEQUENCES = frozenset({list, tuple, str, bytes, range, deque})


def get_item(m, owner, key):
    """`owner[key]`, or a generator where script code has to run."""
    kind = type(owner)
    if kind in DICTS:
        hashable(m, key)
        value = owner.get(key, UNBOUND)
        if value is not UNBOUND:
            return value
        if kind is CounterDict:
            return 0
        if kind is DefaultDict and owner.factory is not None:
            return _default(m, owner, key)
        raise KeyError(key)
    if kind in SEQUENCES:
        if type(key) is Slice:
            return _slice(m, owner, host_slice(key))
        return owner[_index(key, kind)]
    if kind is Instance:
        if owner.cls.plain is not None and owner.cls.lookup("__getitem__") is UNBOUND:
            return get_item(m, plain(owner), key)
        return _dunder(owner, "__getitem__", f"'{owner.cls.name}' object is not subscriptable", key)
    if kind is BuiltinType:
        return owner
    if kind is Class and "__members__" in owner.members:
        hashable(m, key)
        return owner.members["__members__"][key]
    if kind is Class:
        return owner
    getter = getattr(owner, "get_item", None)
    if getter is not None:
        return getter(m, key)
    raise TypeError(f"'{type_name(owner)}' object is not subscriptable")


def _index(key, kind) -> int:
    key = plain(key)
    if type(key) is int or type(key) is bool:
        if not -(1 << 62) < key < 1 << 62:
            raise IndexError("cannot fit 'int' into an index-sized integer")
        return key
    name = "sequence" if kind is deque else {str: "string", range: "range object"}.get(kind, kind.__name__)
    of = f", not '{type_name(key)}'" if kind is str else f" or slices, not {type_name(key)}"
    raise TypeError(f"{name} indices must be integers{of}")


def host_slice(key: Slice) -> slice:
    """The host's slice; TypeError for parts that are no integers."""
    for part in key.parts:
        if part is not None and type(part) not in (int, bool):
            raise TypeError("slice indices must be integers or None or have an __index__ method")
    return slice(*key.parts)


def _slice(m, owner, part: slice):
    if type(owner) is deque:
        raise TypeError("sequence index must be integer, not 'slice'")
    count = len(range(*part.indices(len(owner))))
    if type(owner) is str:
        m.need_string(count, owner.isascii())
    elif type(owner) is not range:
        m.need_items(count)
    return owner[part]


def _default(m, owner: DefaultDict, key):
    value = yield Invoke(owner.factory)
    grow(m, owner, key)
    owner[key] = value
    return value


def _dunder(owner: Instance, name: str, message: str, *args):
    function = owner.cls.lookup(name)
    if function is UNBOUND:
        raise TypeError(message)
    return _invoke(function, owner, *args)


def _invoke(function, *args):
    return (yield Invoke(function, args))


def grow(m, owner: dict, key):
    """Accounts for a new key of a dict."""
    hashable(m, key)
    if key not in owner:
        m.allocate(140)
        if len(owner) >= m.limits.items:
            m.need_items(len(owner) + 1)


def set_item(m, owner, key, value):
    """`owner[key] = value`, or a generator where script code has to run."""
    kind = type(owner)
    if kind in DICTS:
        grow(m, owner, key)
        owner[key] = value
    elif kind is list and type(key) is Slice:
        return _set_slice(m, owner, host_slice(key), value)
    elif kind is list or kind is deque:
        owner[_index(key, kind)] = value
    elif kind is Instance:
        return _set_dunder(owner, key, value)
    else:
        raise TypeError(f"'{type_name(owner)}' object does not support item assignment")
    return None


def _set_dunder(owner: Instance, key, value):
    function = owner.cls.lookup("__setitem__")
    if function is UNBOUND:
        raise TypeError(f"'{owner.cls.name}' object does not support item assignment")
    return _invoke(function, owner, key, value)


def _set_slice(m, owner: list, part: slice, value):
    items = yield from take_all(m, value)
    m.need_items(len(owner) + len(items))
    owner[part] = items


def delete_item(m, owner, key):
    """`del owner[key]`, or a generator where script code has to run."""
    kind = type(owner)
    if kind in DICTS:
        hashable(m, key)
        if kind is CounterDict:
            owner.pop(key, None)
        else:
            del owner[key]
    elif kind is list and type(key) is Slice:
        m.charge(len(owner) >> 4)
        del owner[host_slice(key)]
    elif kind is list or kind is deque:
        m.charge(len(owner) >> 4)
        del owner[_index(key, kind)]
    elif kind is Instance:
        return _dunder(owner, "__delitem__", f"'{owner.cls.name}' object doesn't support item deletion", key)
    else:
        raise TypeError(f"'{type_name(owner)}' object doesn't support item deletion")
    return None
