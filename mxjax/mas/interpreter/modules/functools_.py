"""`functools`, `copy` and `operator`."""

from __future__ import annotations

from collections import deque

from mxjax.mas.errors import LimitExceeded
from mxjax.mas.interpreter import attributes, operators, subscripts
from mxjax.mas.interpreter.containers import copy_set
from mxjax.mas.interpreter.frames import Invoke
from mxjax.mas.interpreter.iteration import iterate, pull
from mxjax.mas.interpreter.modules.collections_ import record_class
from mxjax.mas.interpreter.values import (
    EXHAUSTED,
    NOT_IMPLEMENTED,
    UNBOUND,
    Class,
    CounterDict,
    DefaultDict,
    Function,
    Instance,
    Native,
    Set,
    Wrapper,
)

CACHE_INFO = record_class("CacheInfo", ("hits", "misses", "maxsize", "currsize"), ())


def partial(m, function, *args, **kwargs):
    def call(m, *more, **extra):
        m.charge(len(args) + len(kwargs) >> 2)
        return (yield Invoke(function, (*args, *more), {**kwargs, **extra}))

    m.allocate(900)
    return Native(getattr(function, "name", "partial"), call)


def reduce(m, function, iterable, initial=UNBOUND):
    iterator = yield from iterate(m, iterable)
    total = initial if initial is not UNBOUND else (yield from pull(m, iterator))
    if total is EXHAUSTED:
        raise TypeError("reduce() of empty iterable with no initial value")
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        total = yield Invoke(function, (total, value))
    return total


def lru_cache(m, maxsize=128, typed=False):
    """Remembers results by arguments; used with and without parentheses."""
    if maxsize is None or type(maxsize) is int:
        return Native("lru_cache", lambda m, function: _cached(m, function, maxsize))
    return _cached(m, maxsize, 128)


def cache(m, function):
    return _cached(m, function, None)


def _cached(m, function, maxsize) -> Native:
    m.allocate(500)
    results: dict = {}
    hits = misses = 0

    def call(m, *args, **kwargs):
        key = (args, tuple(kwargs.items()))
        operators.hashable(m, key)
        nonlocal hits, misses
        hits += key in results
        if key not in results:
            misses += 1
            value = yield Invoke(function, args, kwargs)
            m.allocate(300)
            if len(results) >= m.limits.items:
                raise LimitExceeded("items")
            results[key] = value
        return results[key]

    def info(m):
        return Instance(CACHE_INFO, dict(zip(CACHE_INFO.plain, (hits, misses, maxsize, len(results)))))

    def clear(m):
        nonlocal hits, misses
        hits = misses = 0
        results.clear()

    methods = {"cache_info": Native("cache_info", info), "cache_clear": Native("cache_clear", clear)}
    return Native(getattr(function, "name", "cached"), call, {**methods, **_identity(function)})


def _identity(function) -> dict:
    """What a wrapper takes over of the function that it wraps."""
    if type(function) is not Function:
        return {"__name__": function.name} if type(function) is Native else {}
    names = {"__name__": function.name, "__qualname__": function.code.qualname, "__doc__": function.code.doc}
    return {**names, **(function.fields or {})}


def wraps(m, wrapped, *args, **kwargs):
    def wrap(m, function):
        if type(function) is Function:
            m.need_entries(8 + len(getattr(wrapped, "fields", None) or ()) + len(function.fields or ()))
            function.fields = {**(function.fields or {}), **_identity(wrapped)}
        return function

    return Native("wraps", wrap)


def update_wrapper(m, wrapper, wrapped, *args, **kwargs):
    return wraps(m, wrapped).fn(m, wrapper)


def total_ordering(m, cls):
    """Adds the comparisons that a class does not define, from the one that it does."""
    if type(cls) is not Class or cls.shared:
        raise TypeError("total_ordering() is for classes of the script")
    root = next((name for name in ("__lt__", "__gt__", "__le__", "__ge__") if cls.lookup(name) is not UNBOUND), None)
    if root is None:
        raise ValueError("must define at least one ordering operation: < > <= >=")
    for name in ("__lt__", "__gt__", "__le__", "__ge__"):
        if cls.lookup(name) is UNBOUND:
            m.allocate(500)
            cls.members[name] = Native(name, _from_root(root, name))
    return cls


def _from_root(root: str, name: str):
    """`name` by `root` and equality: the strict ones are of one side, or of the other and not equal."""
    same_side = root[2] == name[2]

    def compare(m, self, other):
        found = yield Invoke(self.cls.lookup(root), (self, other))
        if found is NOT_IMPLEMENTED:
            return found
        if same_side:  # one is strict and the other is not
            equal = yield from operators.equal(m, self, other)
            return bool(found) and not equal if name[3] == "t" else bool(found) or equal
        if root[3] != name[3]:  # the exact opposite
            return not found
        equal = yield from operators.equal(m, self, other)
        return not found and not equal if name[3] == "t" else not found or equal

    return compare


def cached_property(m, function):
    return Wrapper("cached_property", function)


def cmp_to_key(m, function):
    def less(m, a, b):
        return (yield Invoke(function, (a.fields["value"], b.fields["value"]))) < 0

    cls = Class("K", (), {"__lt__": Native("__lt__", less)})
    return Native("K", lambda m, value: Instance(cls, {"value": value}))


FUNCTIONS = {
    "partial": partial, "reduce": reduce, "lru_cache": lru_cache, "cache": cache, "wraps": wraps,
    "cached_property": cached_property, "cmp_to_key": cmp_to_key,
    "update_wrapper": update_wrapper, "total_ordering": total_ordering,
}  # fmt: skip


# copy


def copy(m, value):
    kind = type(value)
    if kind is Instance:
        m.allocate(64 + 100 * len(value.fields))
        return Instance(value.cls, dict(value.fields))
    if kind in (list, dict, deque, DefaultDict, CounterDict, Set):
        m.need_items(len(value))
        return attributes.METHODS[kind]["copy"].fn(m, value)
    return value


def deepcopy(m, value, memo=None):
    return _deep(m, value, {}, 0)


def _deep(m, value, memo: dict, depth: int):
    if depth > m.limits.nesting:
        raise LimitExceeded("nesting")
    if id(value) in memo:
        return memo[id(value)]
    m.charge(1)
    kind = type(value)
    if kind is tuple:
        m.need_items(len(value))
        return tuple(_deep(m, item, memo, depth + 1) for item in value)
    if kind is list or kind is deque:
        m.need_items(len(value))
        made = memo[id(value)] = kind()
        made.extend(_deep(m, item, memo, depth + 1) for item in value)
        return made
    if isinstance(value, dict):
        m.need_entries(len(value))
        operators.hash_again(m, value)
        made = memo[id(value)] = type(value)()
        if kind is DefaultDict:
            made.factory = value.factory
        for key, item in value.items():
            made[key] = _deep(m, item, memo, depth + 1)
        return made
    if kind is Instance:
        m.allocate(64 + 100 * len(value.fields))
        made = memo[id(value)] = Instance(value.cls, {})
        made.fields.update({key: _deep(m, item, memo, depth + 1) for key, item in value.fields.items()})
        return made
    return copy_set(m, value) if kind is Set else value


COPY = {"copy": copy, "deepcopy": deepcopy}


# operator


def itemgetter(m, *keys):
    def call(m, owner):
        items = []
        for key in keys:
            item = subscripts.get_item(m, owner, key)
            items.append((yield from item) if hasattr(item, "send") else item)
        return items[0] if len(items) == 1 else tuple(items)

    return Native("itemgetter", call)


def attrgetter(m, name):
    return Native("attrgetter", lambda m, owner: attributes.LOAD.fn(m, owner, name))


def methodcaller(m, name, *args):
    def call(m, owner):
        return (yield Invoke((yield Invoke(attributes.LOAD, (owner, name))), args))

    return Native("methodcaller", call)


OPERATOR = {
    "itemgetter": itemgetter, "attrgetter": attrgetter, "methodcaller": methodcaller,
    "add": operators.add, "sub": operators.subtract, "mul": operators.multiply, "truediv": operators.divide,
    "floordiv": operators.floor_divide, "mod": operators.modulo, "pow": operators.power, "eq": operators.equals,
    "ne": operators.differs, "lt": operators.ordering("<"), "le": operators.ordering("<="),
    "gt": operators.ordering(">"), "ge": operators.ordering(">="), "neg": operators.negative,
    "and_": operators.and_, "or_": operators.or_, "xor": operators.xor,
    "contains": lambda m, container, item: operators.contains(m, item, container),
    "getitem": subscripts.get_item,
}  # fmt: skip
