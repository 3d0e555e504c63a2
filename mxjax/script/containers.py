"""The methods of the container types.

These are list, tuple, dict, set, deque, defaultdict, Counter, range and dict views.
"""

from __future__ import annotations

from collections import deque
from types import GeneratorType

from mxjax.script import comparison, keys, operators
from mxjax.script.exceptions import may_raise
from mxjax.script.formatting import to_repr
from mxjax.script.iteration import take_all
from mxjax.script.keys import by_key, put, stored
from mxjax.script.sorting import sort
from mxjax.script.subscripts import host_slice, room
from mxjax.script.types import update_dict
from mxjax.script.values import (
    UNBOUND,
    CounterDict,
    DefaultDict,
    HostIterator,
    Native,
    Set,
    Slice,
    View,
    need_integer,
    type_name,
)

DEQUE_BYTES = 700  # of an empty one

# Lists, tuples, deques


def append(m, owner, value):
    m.allocate(40)
    if len(owner) >= m.limits.items:
        m.need_items(len(owner) + 1)
    owner.append(value)


def append_left(m, owner, value):
    m.need_items(len(owner) + 1) if len(owner) >= m.limits.items else m.allocate(40)
    owner.appendleft(value)


def extend(m, owner, values):
    items = yield from take_all(m, values)
    m.need_items(len(owner) + len(items))
    owner.extend(items)


def extend_left(m, owner, values):
    items = yield from take_all(m, values)
    m.need_items(len(owner) + len(items))
    owner.extendleft(items)


@may_raise(TypeError, IndexError, OverflowError)
def insert(m, owner, index, value):
    m.charge(len(owner) >> 4)
    m.need_items(len(owner) + 1) if len(owner) >= m.limits.items else m.allocate(40)
    owner.insert(index, value)


@may_raise(TypeError, IndexError, OverflowError)
def pop(m, owner, index=-1):
    m.charge(len(owner) >> 6)
    return owner.pop(index)


@may_raise(TypeError)
def position(m, owner, value, start=0, stop=None):
    """The index of `value`, or -1."""
    stop = len(owner) if stop is None else stop
    for index in range(*slice(start, stop).indices(len(owner))):
        if index < len(owner) and (yield from comparison.equal(m, owner[index], value)):
            return index
    return -1


def index(m, owner, value, start=0, stop=None):
    found = yield from position(m, owner, value, start, stop)
    if found < 0:
        kind = (
            "tuple.index(x): x not in tuple"
            if type(owner) is tuple
            else f"{(yield from to_repr(m, value))} is not in list"
        )
        raise ValueError(kind)
    return found


def remove(m, owner, value):
    found = yield from position(m, owner, value)
    if found < 0:
        raise ValueError(f"{type(owner).__name__}.remove(x): x not in {type(owner).__name__}")
    del owner[found]


def count(m, owner, value):
    total = 0
    m.need_items(len(owner))
    for item in list(owner):
        total += yield from comparison.equal(m, item, value)
    return total


def sort_list(m, owner, *, key=None, reverse=False):
    owner[:] = yield from sort(m, list(owner), key, reverse)


def reverse(m, owner):
    m.charge(len(owner) >> 4)
    owner.reverse()


def copy_sequence(m, owner):
    m.need_items(len(owner))
    m.allocate(DEQUE_BYTES if type(owner) is deque else 0)
    return owner.copy()


@may_raise(TypeError, OverflowError)
def rotate(m, owner, n=1):
    m.charge(len(owner) >> 2)
    owner.rotate(n)


@may_raise(IndexError)
def pop_last(m, owner: deque):
    return owner.pop()


@may_raise(IndexError)
def pop_first(m, owner: deque):
    return owner.popleft()


_SEQUENCE = {"index": index, "count": count}
_MUTABLE = {
    "append": append,
    "extend": extend,
    "remove": remove,
    "reverse": reverse,
    "copy": copy_sequence,
    "clear": lambda m, owner: owner.clear(),
    "insert": insert,
}
TUPLE = _SEQUENCE
LIST = {**_SEQUENCE, **_MUTABLE, "pop": pop, "sort": sort_list}
DEQUE = {
    **_SEQUENCE,
    **_MUTABLE,
    "appendleft": append_left,
    "extendleft": extend_left,
    "rotate": rotate,
    "pop": pop_last,
    "popleft": pop_first,
}


def range_count(m, owner, value):
    if type(value) is float and value.is_integer():
        value = int(value)
    return int(type(value) in (int, bool) and value in owner)


def range_index(m, owner, value):
    if not range_count(m, owner, value):
        raise ValueError(
            "sequence.index(x): x not in sequence" if type(value) not in (int, bool) else f"{value} is not in range"
        )
    return owner.index(int(value))


RANGE = {"index": range_index, "count": range_count}


def slice_indices(m, owner: Slice, length):
    """Start, stop and step of a slice for a given sequence length."""
    if type(length) is not int or length < 0:
        raise ValueError("length should not be negative")
    return host_slice(owner).indices(length)


@may_raise(StopIteration, RuntimeError)
def next_of_host(m, owner: HostIterator):
    if type(owner) is not HostIterator:
        raise TypeError(f"'{type_name(owner)}' object is no such iterator")
    return next(owner.source)


# Dicts


@by_key
def get(m, owner, key, default=None):
    return owner.get(key, default)


@by_key
def set_default(m, owner, key, default=None):
    room(m, owner, key)
    return owner.setdefault(key, default)


@by_key
def pop_key(m, owner, key, default=UNBOUND):
    if key not in owner and default is UNBOUND:
        raise KeyError(key)
    return owner.pop(key, default)


def update(m, owner, source=(), **kwargs):
    yield from update_dict(m, owner, source, kwargs)


def copy_dict(m, owner):
    m.need_entries(len(owner))
    keys.hash_again(m, owner)
    result = type(owner)(owner)
    if type(owner) is DefaultDict:
        result.factory = owner.factory
    return result


@may_raise(KeyError)
def pop_pair(m, owner, last=True):
    if last or not owner:
        return owner.popitem()
    m.charge(len(owner) >> 4)
    key = next(iter(owner))
    return key, owner.pop(key)


def move_to_end(m, owner, key, last=True):
    """Of `OrderedDict`, which is a dict here."""
    return _move(m, owner, key, last)


@by_key
@may_raise(KeyError)
def _move(m, owner, key, last):
    value = owner.pop(key)
    if last:
        owner[key] = value
        return
    m.need_entries(len(owner))
    keys.hash_again(m, owner)
    rest = dict(owner)
    owner.clear()
    owner[key] = value
    owner.update(rest)


DICT = {
    "get": get,
    "setdefault": set_default,
    "pop": pop_key,
    "update": update,
    "copy": copy_dict,
    "keys": lambda m, owner: View("keys", owner),
    "values": lambda m, owner: View("values", owner),
    "items": lambda m, owner: View("items", owner),
    "clear": lambda m, owner: owner.clear(),
    "popitem": pop_pair,
    "move_to_end": move_to_end,
}


def make_default_dict(m, factory=None, source=(), **kwargs):
    """`collections.defaultdict(...)`."""
    result = DefaultDict()
    result.factory = factory
    yield from update_dict(m, result, source, kwargs)
    return result


def make_counter(m, source=(), **kwargs):
    """`collections.Counter(...)`."""
    result = CounterDict()
    yield from count_into(m, result, source, kwargs, 1)
    return result


def count_into(m, target: dict, source, kwargs: dict, sign: int):
    """Add (or subtract) the counts of `source` to `target`."""
    pairs = list(kwargs.items())
    if isinstance(source, dict):
        m.need_items(len(source))
        m.allocate(60 * len(source))
        pairs = [*source.items(), *pairs]
    else:
        items = yield from take_all(m, source)
        m.allocate(70 * len(items))
        pairs = [*((item, 1) for item in items), *pairs]
    for key, amount in pairs:
        if keys.hashable(m, key):
            key = yield from stored(m, target, key)
        room(m, target, key)
        value = (operators.add if sign > 0 else operators.subtract)(m, target.get(key, 0), amount)
        target[key] = (yield from value) if type(value) is GeneratorType else value


def most_common(m, owner, n=None):
    if n is not None and type(n) is not int:
        raise TypeError(f"'{type_name(n)}' object cannot be interpreted as an integer")
    m.need_entries(len(owner))
    items = yield from sort(m, list(owner.items()), _SECOND, True)
    return items if n is None else items[: max(0, n)]


_SECOND = Native("count", lambda m, pair: pair[1])


def elements(m, owner):
    m.charge(len(owner))
    for count in owner.values():
        need_integer(count)
    m.need_items(sum(max(0, count) for count in owner.values()))
    return HostIterator(iter([key for key, count in owner.items() for _ in range(max(0, count))]), "chain")


def total(m, owner):
    result = 0
    m.need_items(len(owner))
    for number in list(owner.values()):
        m.charge(1)
        result = operators.add(m, result, number)
        result = (yield from result) if type(result) is GeneratorType else result
    return result


def _count_method(sign: int):
    def method(m, owner, source=(), **kwargs):
        yield from count_into(m, owner, source, kwargs, sign)

    return method


COUNTER = {
    **DICT,
    "most_common": most_common,
    "elements": elements,
    "total": total,
    "update": _count_method(1),
    "subtract": _count_method(-1),
}

# Sets


@by_key
def add(m, owner, value):
    m.allocate(100)
    if len(owner) >= m.limits.items:
        m.need_items(len(owner) + 1)
    _mutable(owner)[value] = None


def _mutable(owner: Set) -> dict:
    if owner.frozen:
        raise AttributeError("'frozenset' object has no such method")
    return owner.items


@by_key
def discard(m, owner, value):
    _mutable(owner).pop(value, None)


@by_key
def remove_item(m, owner, value):
    if value not in owner.items:
        raise KeyError(value)
    del _mutable(owner)[value]


def pop_item(m, owner):
    items = _mutable(owner)
    if not items:
        raise KeyError("pop from an empty set")
    key = next(iter(items))
    del items[key]
    return key


def _combined(operator, in_place: bool = False):
    """A set method for any iterables, from the operator on two sets."""

    def method(m, owner, *others):
        result = owner
        for other in others:
            result = operator(m, result, (yield from _as_set(m, other)))
            result = (yield from result) if type(result) is GeneratorType else result
        if in_place:
            _mutable(owner)
            owner.items = result.items
            return None
        return result if result is not owner else copy_set(m, owner)

    return method


def copy_set(m, owner):
    m.need_entries(len(owner))
    return Set(owner.items, owner.frozen)


def _as_set(m, other):
    if type(other) is Set:
        return other
    made = Set()
    items = yield from take_all(m, other)
    m.need_entries(len(items))
    yield from put(m, made.items, [(item, None) for item in items])
    return made


def _related(test):
    def method(m, owner, other):
        items = yield from _as_set(m, other)
        m.charge(len(items) + len(owner))
        return (yield from comparison.compared(m, owner, items, test))

    return method


SET = {
    "add": add,
    "discard": discard,
    "remove": remove_item,
    "pop": pop_item,
    "clear": lambda m, owner: _mutable(owner).clear(),
    "copy": copy_set,
    "union": _combined(operators.or_),
    "intersection": _combined(operators.and_),
    "difference": _combined(operators.subtract),
    "symmetric_difference": _combined(operators.xor),
    "update": _combined(operators.or_, True),
    "intersection_update": _combined(operators.and_, True),
    "difference_update": _combined(operators.subtract, True),
    "symmetric_difference_update": _combined(operators.xor, True),
    "issubset": _related(lambda a, b: a <= b),
    "issuperset": _related(lambda a, b: a >= b),
    "isdisjoint": _related(lambda a, b: a.isdisjoint(b)),
}
