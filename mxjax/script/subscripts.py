"""`a[b]`, `a[b] = c` and `del a[b]` for all subscriptable types."""

from __future__ import annotations

from collections import deque
from types import GeneratorType

from mxjax.script import keys
from mxjax.script.exceptions import may_raise
from mxjax.script.frames import Invoke
from mxjax.script.iteration import take_all
from mxjax.script.keys import hashable
from mxjax.script.values import (
    DICTS,
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


@may_raise(KeyError, IndexError)
def get_item(m, owner, key):
    """`owner[key]`, or a generator where script code has to run."""
    kind = type(owner)
    if kind in DICTS:
        return _get_stored(m, owner, key) if hashable(m, key) else _get(m, owner, key)
    if kind in SEQUENCES:
        if type(key) is Slice:
            return _slice(m, owner, host_slice(key))
        if type(key) is Instance and key.cls.lookup("__index__") is not UNBOUND:
            return _at_index_of(m, owner, key)
        return owner[_index(key, kind)]
    if kind is Instance:
        if owner.cls.plain is not None and owner.cls.lookup("__getitem__") is UNBOUND:
            return get_held(m, owner, key)
        return _dunder(owner, "__getitem__", f"'{owner.cls.name}' object is not subscriptable", key)
    if kind is BuiltinType:
        return owner
    if kind is Class and "__members__" in owner.members:
        hashable(m, key)
        return owner.members["__members__"][key]
    if kind is Class:
        if owner.meta is not None and (getter := owner.meta.lookup("__getitem__")) is not UNBOUND:
            return _invoke(getter, owner, key)
        own = owner.lookup("__class_getitem__")
        return owner if own is UNBOUND else _invoke(own.function, owner, key)
    getter = getattr(owner, "get_item", None)
    if getter is not None:
        return getter(m, key)
    raise TypeError(f"'{type_name(owner)}' object is not subscriptable")


def _get(m, owner, key):
    value = owner.get(key, UNBOUND)
    if value is not UNBOUND:
        return value
    if type(owner) is CounterDict:
        return 0
    if type(owner) is DefaultDict and owner.factory is not None:
        return _default(m, owner, key)
    raise KeyError(key)


def _get_stored(m, owner, key):
    found = _get(m, owner, (yield from keys.stored(m, owner, key)))
    return (yield from found) if type(found) is GeneratorType else found


def get_held(m, owner: Instance, key):
    """An item of the data of `owner`.

    `__missing__` answers for a key that is not in a dict.
    """
    data = plain(owner)
    hook = owner.cls.lookup("__missing__") if type(data) in DICTS else UNBOUND
    return get_item(m, data, key) if hook is UNBOUND else _get_or_ask(m, owner, data, key, hook)


def _get_or_ask(m, owner: Instance, data: dict, key, hook):
    if hashable(m, key):
        key = yield from keys.stored(m, data, key)
    return data[key] if key in data else (yield Invoke(hook, (owner, key)))


@may_raise(IndexError)
def _at_index_of(m, owner, key: Instance):
    return owner[_index((yield Invoke(key.cls.lookup("__index__"), (key,))), type(owner))]


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
    parts = tuple(map(plain, key.parts))
    for part in parts:
        if part is not None and type(part) not in (int, bool):
            raise TypeError("slice indices must be integers or None or have an __index__ method")
    return slice(*parts)


@may_raise(ValueError)
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
    room(m, owner, key)
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
    """Account for a dict key, and for its entry if new."""
    hashable(m, key)
    room(m, owner, key)


def room(m, owner: dict, key):
    """Account for a key of a dict that may be new."""
    if key not in owner:
        m.allocate(140)
        if len(owner) >= m.limits.items:
            m.need_items(len(owner) + 1)


@may_raise(IndexError)
def set_item(m, owner, key, value):
    """`owner[key] = value`, or a generator where script code has to run."""
    kind = type(owner)
    if kind in DICTS:
        return put_item(m, owner, key, value)
    elif kind is list and type(key) is Slice:
        return _set_slice(m, owner, host_slice(key), value)
    elif kind is list or kind is deque:
        owner[_index(key, kind)] = value
    elif kind is Instance:
        return _set_dunder(m, owner, key, value)
    else:
        raise TypeError(f"'{type_name(owner)}' object does not support item assignment")
    return None


@keys.by_key
def put_item(m, owner: dict, key, value):
    """`owner[key] = value`."""
    room(m, owner, key)
    owner[key] = value


def _set_dunder(m, owner: Instance, key, value):
    function = owner.cls.lookup("__setitem__")
    if function is UNBOUND:
        if owner.data is not None:
            return set_item(m, owner.data, key, value)
        raise TypeError(f"'{owner.cls.name}' object does not support item assignment")
    return _invoke(function, owner, key, value)


@may_raise(ValueError)
def _set_slice(m, owner: list, part: slice, value):
    items = yield from take_all(m, value)
    m.need_items(len(owner) + len(items))
    owner[part] = items


@may_raise(IndexError, ValueError)
def delete_item(m, owner, key):
    """`del owner[key]`, or a generator where script code has to run."""
    kind = type(owner)
    if kind in DICTS:
        return _delete_key(m, owner, key)
    elif kind is list and type(key) is Slice:
        m.charge(len(owner) >> 4)
        del owner[host_slice(key)]
    elif kind is list or kind is deque:
        m.charge(len(owner) >> 4)
        del owner[_index(key, kind)]
    elif kind is Instance and owner.data is not None and owner.cls.lookup("__delitem__") is UNBOUND:
        return delete_item(m, owner.data, key)
    elif kind is Instance:
        return _dunder(owner, "__delitem__", f"'{owner.cls.name}' object doesn't support item deletion", key)
    else:
        raise TypeError(f"'{type_name(owner)}' object doesn't support item deletion")
    return None


@keys.by_key
@may_raise(KeyError)
def _delete_key(m, owner: dict, key):
    if type(owner) is CounterDict:
        owner.pop(key, None)
    else:
        del owner[key]
