"""Mixin methods for classes derived from `Mapping`, `Sequence` and their like.

They are built on the few methods that such a class defines.
"""

from __future__ import annotations

from mxjax.script import comparison
from mxjax.script.builtins import len_
from mxjax.script.exceptions import EXCEPTIONS
from mxjax.script.frames import Emit, Invoke
from mxjax.script.iteration import iterate, lazy, pull, take_all
from mxjax.script.types import update_dict
from mxjax.script.values import EXHAUSTED, NOT_IMPLEMENTED, UNBOUND, Class, Instance, Raised, class_methods


def _ask(owner: Instance, name: str, *args):
    """Call a method of the object's own class."""
    method = owner.cls.lookup(name)
    if method is UNBOUND:
        raise AttributeError(f"'{owner.cls.name}' object has no attribute '{name}'")
    return (yield Invoke(method, (owner, *args)))


def _is(error: Raised, name: str) -> bool:
    return EXCEPTIONS[name] in error.value.cls.mro


def _length(m, owner):
    found = len_(m, owner)
    return (yield from found) if hasattr(found, "send") else found


# Mappings


def _get(m, self, key, default=None):
    try:
        return (yield from _ask(self, "__getitem__", key))
    except Raised as error:
        if not _is(error, "KeyError"):
            raise
        return default


def _has_key(m, self, key):
    return (yield from _get(m, self, key, UNBOUND)) is not UNBOUND


def _over(part):
    """A method that yields `part(self, key)` for each key in turn."""

    def method(m, self):
        return lazy(m, _each(m, self, part), "iterator")

    return method


def _each(m, self, part):
    keys = yield from iterate(m, self)
    while (key := (yield from pull(m, keys))) is not EXHAUSTED:
        yield Emit((yield from part(self, key)))


def _key(self, key):
    return key
    yield


def _value(self, key):
    return (yield from _ask(self, "__getitem__", key))


def _pair(self, key):
    return key, (yield from _ask(self, "__getitem__", key))


def _as_dict(m, self):
    made: dict = {}
    pairs = yield from take_all(m, lazy(m, _each(m, self, _pair), "iterator"))
    yield from update_dict(m, made, pairs, {})
    return made


def _equal_mapping(m, self, other):
    if isinstance(other, dict):
        return (yield from comparison.equal(m, (yield from _as_dict(m, self)), other))
    if type(other) is not Instance or MIXINS["Mapping"] not in other.cls.mro:
        return NOT_IMPLEMENTED
    return (yield from comparison.equal(m, (yield from _as_dict(m, self)), (yield from _as_dict(m, other))))


def _pop(m, self, key, default=UNBOUND):
    value = yield from _get(m, self, key, UNBOUND)
    if value is UNBOUND:
        if default is UNBOUND:
            raise KeyError(key)
        return default
    yield from _ask(self, "__delitem__", key)
    return value


def _pop_pair(m, self):
    keys = yield from take_all(m, self)
    if not keys:
        raise KeyError("popitem(): mapping is empty")
    return keys[0], (yield from _pop(m, self, keys[0]))


def _clear(m, self):
    for key in (yield from take_all(m, self)):
        yield from _ask(self, "__delitem__", key)


def _update(m, self, other=(), /, **kwargs):
    made: dict = {}
    yield from update_dict(m, made, other, kwargs)
    for key, value in list(made.items()):
        yield from _ask(self, "__setitem__", key, value)


def _set_default(m, self, key, default=None):
    value = yield from _get(m, self, key, UNBOUND)
    if value is UNBOUND:
        yield from _ask(self, "__setitem__", key, default)
        return default
    return value


# Sequences


def _items(m, self):
    """The items by their index, as long as there is one."""
    index = 0
    while True:
        m.charge(1)
        try:
            item = yield from _ask(self, "__getitem__", index)
        except Raised as error:
            if not _is(error, "IndexError"):
                raise
            return
        yield Emit(item)
        index += 1


def _iterate(m, self):
    return lazy(m, _items(m, self), "iterator")


def _backwards(m, self):
    return lazy(m, _reversed_items(m, self, (yield from _length(m, self))), "iterator")


def _reversed_items(m, self, length):
    for index in range(length - 1, -1, -1):
        m.charge(1)
        yield Emit((yield from _ask(self, "__getitem__", index)))


def _index(m, self, value, start=0, stop=None):
    items = yield from take_all(m, self)
    for index in range(*slice(start, stop).indices(len(items))):
        if (yield from comparison.equal(m, items[index], value)):
            return index
    raise ValueError


def _count(m, self, value):
    total = 0
    for item in (yield from take_all(m, self)):
        total += yield from comparison.equal(m, item, value)
    return total


def _contains(m, self, value):
    return (yield from _count(m, self, value)) > 0


def _append(m, self, value):
    yield from _ask(self, "insert", (yield from _length(m, self)), value)


def _extend(m, self, values):
    for value in (yield from take_all(m, values)):
        yield from _ask(self, "append", value)


def _add_in_place(m, self, values):
    yield from _extend(m, self, values)
    return self


def _pop_at(m, self, index=-1):
    value = yield from _ask(self, "__getitem__", index)
    yield from _ask(self, "__delitem__", index)
    return value


def _remove(m, self, value):
    yield from _ask(self, "__delitem__", (yield from _index(m, self, value)))


def _reverse(m, self):
    items = yield from take_all(m, self)
    for index, item in enumerate(reversed(items)):
        yield from _ask(self, "__setitem__", index, item)


def _clear_sequence(m, self):
    while (yield from _length(m, self)):
        m.charge(1)
        yield from _ask(self, "__delitem__", -1)


_MAPPING = {
    "get": _get,
    "__contains__": _has_key,
    "keys": _over(_key),
    "values": _over(_value),
    "items": _over(_pair),
    "__eq__": _equal_mapping,
}
_CHANGED_MAPPING = {
    "pop": _pop,
    "popitem": _pop_pair,
    "clear": _clear,
    "update": _update,
    "setdefault": _set_default,
}
_SEQUENCE = {
    "__iter__": _iterate,
    "__reversed__": _backwards,
    "index": _index,
    "count": _count,
    "__contains__": _contains,
}
_CHANGED_SEQUENCE = {
    "append": _append,
    "extend": _extend,
    "__iadd__": _add_in_place,
    "pop": _pop_at,
    "remove": _remove,
    "reverse": _reverse,
    "clear": _clear_sequence,
}


def _class(name: str, bases: tuple[Class, ...], methods: dict) -> Class:
    return Class(name, bases, class_methods(methods), shared=True)


MIXINS = {
    "Mapping": _class("Mapping", (), _MAPPING),
    "Sequence": _class("Sequence", (), _SEQUENCE),
    "Iterator": _class("Iterator", (), {"__iter__": lambda m, self: self}),
}
MIXINS["MutableMapping"] = _class("MutableMapping", (MIXINS["Mapping"],), _CHANGED_MAPPING)
MIXINS["MutableSequence"] = _class("MutableSequence", (MIXINS["Sequence"],), _CHANGED_SEQUENCE)
