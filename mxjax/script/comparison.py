"""Equality, order and membership for every pair of types, with their cost.

Values that the host can compare by itself are compared by the host. Otherwise the function returns a generator of
requests, since script code may have to run, with the nesting bounded.
"""

from __future__ import annotations

from collections import deque
from types import GeneratorType

from mxjax.script import keys
from mxjax.script.errors import LimitExceeded
from mxjax.script.frames import Invoke
from mxjax.script.iteration import SIZED, host_iterator, iterate, members_of, pull, take_all
from mxjax.script.values import (
    DICTS,
    EXHAUSTED,
    NOT_IMPLEMENTED,
    NUMBERS,
    SCALARS,
    UNBOUND,
    Class,
    Generator,
    Instance,
    Set,
    View,
    plain,
    type_name,
)


def equals(m, a, b):
    if type(a) in SCALARS and type(b) in SCALARS:
        if type(a) is str:
            m.charge(len(a) >> 8)
        return a == b
    if type(a) is Instance or type(b) is Instance:
        return _equal_instances(m, a, b)
    return equal(m, a, b)


def differs(m, a, b):
    if type(a) in SCALARS and type(b) in SCALARS:
        if type(a) is str:
            m.charge(len(a) >> 8)
        return a != b
    return _differs(m, a, b)


def _differs(m, a, b):
    if type(a) is Instance:
        function = a.cls.lookup("__ne__")
        if function is not UNBOUND:
            result = yield Invoke(function, (a, b))
            if result is not NOT_IMPLEMENTED:
                return result
    return not (yield from equal(m, a, b))


def _equal_instances(m, a, b, depth: int = 0):
    for owner, other in ((a, b), (b, a)):
        function = owner.cls.lookup("__eq__") if type(owner) is Instance else UNBOUND
        if function is not UNBOUND:
            result = yield Invoke(function, (owner, other))
            if result is not NOT_IMPLEMENTED:
                return result
    left, right = plain(a), plain(b)
    if left is a and right is b:
        return a is b
    return (yield from equal(m, left, right, depth))


def equal(m, a, b, depth: int = 0):
    """Whether two values are equal, as a bool, with the nesting bounded."""
    if a is b:
        return True
    left, right = type(a), type(b)
    m.charge(1)
    if left in SCALARS and right in SCALARS:
        if left is str and right is str:
            m.charge(len(a) >> 6)
        return a == b
    if left is Instance or right is Instance:
        return bool((yield from _equal_instances(m, a, b, depth + 1)))
    if depth >= m.limits.nesting:
        raise LimitExceeded("nesting")
    if left in DICTS and right in DICTS:
        if len(a) != len(b):
            return False
        m.charge(len(a) >> 3)
        for key, value in list(a.items()):
            m.charge(1)
            if keys.hashable(m, key):
                key = yield from keys.stored(m, b, key)
            if key not in b or not (yield from equal(m, value, b[key], depth + 1)):
                return False
        return True
    if left is right and left in (list, tuple, deque):
        if len(a) != len(b):
            return False
        m.charge(len(a) >> 4)
        for x, y in zip(list(a), list(b)):
            m.charge(1)
            if x is not y and not (yield from equal(m, x, y, depth + 1)):
                return False
        return True
    if both_sets(a, b):
        return (yield from compared(m, a, b, lambda mine, other: mine == other))
    if left is right is bytes:
        m.charge(len(a) >> 6)
        return a == b
    return left is right is range and a == b


_ORDER = {
    "<": ("__lt__", "__gt__", lambda a, b: a < b),
    "<=": ("__le__", "__ge__", lambda a, b: a <= b),
    ">": ("__gt__", "__lt__", lambda a, b: a > b),
    ">=": ("__ge__", "__le__", lambda a, b: a >= b),
}


def ordering(symbol: str):
    """The comparison `symbol` as an operator."""
    host = _ORDER[symbol][2]

    def apply(m, a, b):
        if type(a) in NUMBERS and type(b) in NUMBERS:
            return host(a, b)
        if type(a) is str and type(b) is str:
            m.charge(len(a) >> 8)
            return host(a, b)
        return ordered(m, symbol, a, b)

    return apply


def ordered(m, symbol: str, a, b, depth: int = 0):
    """`a symbol b` for any two values; TypeError if they are unordered."""
    method, mirrored, host = _ORDER[symbol]
    m.charge(1)
    if type(a) is str and type(b) is str:
        m.charge(len(a) >> 8)
        return host(a, b)
    if type(a) in NUMBERS and type(b) in NUMBERS:
        return host(a, b)
    for owner, other, name in ((a, b, method), (b, a, mirrored)):
        function = owner.cls.lookup(name) if type(owner) is Instance else UNBOUND
        if function is not UNBOUND:
            result = yield Invoke(function, (owner, other))
            if result is not NOT_IMPLEMENTED:
                return result
    if type(a) is type(b) and type(a) in (list, tuple, deque):
        if depth >= m.limits.nesting:
            raise LimitExceeded("nesting")
        m.charge(len(a) + len(b) >> 5)
        for x, y in zip(list(a), list(b)):
            m.charge(1)
            if x is not y and not (yield from equal(m, x, y, depth + 1)):
                return (yield from ordered(m, symbol, x, y, depth + 1))
        return host(len(a), len(b))
    if both_sets(a, b):
        return (yield from compared(m, a, b, host))
    left, right = plain(a), plain(b)
    if left is not a or right is not b:
        if depth >= m.limits.nesting:
            raise LimitExceeded("nesting")
        return (yield from ordered(m, symbol, left, right, depth + 1))
    raise TypeError(f"'{symbol}' not supported between instances of '{type_name(a)}' and '{type_name(b)}'")


def both_sets(a, b) -> bool:
    return all(type(x) is Set or (type(x) is View and x.kind != "values") for x in (a, b))


def keys_of(m, value: Set | View) -> tuple[dict, bool]:
    """The items of a set or view as keys of a dict.

    The look-up of all of them is accounted for; see `hashable`.
    """
    items = value.items if isinstance(value, Set) else list(value.host())
    m.charge(len(items) >> 1)
    if isinstance(value, View):
        m.need_entries(len(items))
    own = False
    for item in items:
        if type(item) is not int:
            own = keys.hashable(m, item) or own
    if own and isinstance(value, View):
        keys.need_comparisons(m, items)
    return (items if isinstance(items, dict) else dict.fromkeys(items)), own


def as_keys_of(m, table: dict, other: dict):
    """The entries of `other`, under equal keys of `table` where they exist."""
    m.need_entries(len(other))
    found = {}
    for key, value in list(other.items()):
        found[(yield from keys.stored(m, table, key)) if keys.hashable(m, key) else key] = value
    return found


def compared(m, a, b, test):
    """`test(keys, keys)` of what is in two sets or views."""
    (mine, own), (other, others_own) = keys_of(m, a), keys_of(m, b)
    if own or others_own:
        keys.need_comparisons(m, (*mine, *other))
        other = yield from as_keys_of(m, mine, other)
    return test(mine.keys(), other.keys())


HELD = DICTS | {str, list, tuple, deque, Set}


def contains(m, item, container):
    kind = type(container)
    if kind is str:
        item = plain(item)
        if type(item) is not str:
            raise TypeError(f"'in <string>' requires string as left operand, not {type_name(item)}")
        m.charge(len(container) >> 4)
        return item in container
    table = container if kind in DICTS else _table(container, kind)
    if table is not None:
        return _contains_key(m, item, table) if keys.hashable(m, item) else item in table
    if kind is range and type(item) in (int, bool):
        return item in container
    if kind in (list, tuple) and type(item) in SCALARS:
        m.charge(len(container) * (1 + (len(item) >> 8 if type(item) is str else 0)) >> 2)
        return item in container
    return _contains(m, item, container)


def _table(container, kind) -> dict | None:
    """The dict that holds the items of a set or dict view."""
    if kind is Set:
        return container.items
    return container.owner if kind is View and container.kind == "keys" else None


def _contains_key(m, item, table: dict):
    return (yield from keys.stored(m, table, item)) in table


def _contains(m, item, container):
    if type(container) is Instance:
        function = container.cls.lookup("__contains__")
        if function is not UNBOUND:
            return bool((yield Invoke(function, (container, item))))
        if type(plain(container)) in HELD and container.cls.lookup("__iter__") is UNBOUND:
            found = contains(m, item, plain(container))
            return (yield from found) if type(found) is GeneratorType else found
    if type(container) is Class and container.meta is not None:
        function = container.meta.lookup("__contains__")
        if function is not UNBOUND:
            return bool((yield Invoke(function, (container, item))))
        if container.meta.lookup("__iter__") is not UNBOUND:
            container = yield from take_all(m, container)
    if type(container) is Class and "__members__" in container.members:
        container = members_of(container)
    if (
        type(container) not in SIZED
        and type(container) not in (Generator, Instance)
        and host_iterator(container) is None
    ):
        raise TypeError(f"argument of type '{type_name(container)}' is not iterable")
    iterator = yield from iterate(m, container)
    while True:
        value = yield from pull(m, iterator)
        if value is EXHAUSTED:
            return False
        if (yield from equal(m, item, value)):
            return True
