"""`functools`, `copy` and `operator`."""

from __future__ import annotations

from collections import deque

from mxjax.script import attributes, operators, subscripts
from mxjax.script.containers import DEQUE_BYTES, copy_set
from mxjax.script.errors import LimitExceeded
from mxjax.script.frames import Invoke
from mxjax.script.iteration import iterate, pull
from mxjax.script.keys import stored
from mxjax.script.modules.collections_ import record_class
from mxjax.script.values import (
    EXHAUSTED,
    NOT_IMPLEMENTED,
    UNBOUND,
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    Function,
    Instance,
    Native,
    Set,
    Wrapper,
)

NATIVE_BYTES = 400  # of a function of ours that is made for a script, with what it closes over
CLASS_BYTES = 1200
CACHE_INFO = record_class("CacheInfo", ("hits", "misses", "maxsize", "currsize"), ())


def partial(m, function, *args, **kwargs):
    def call(m, *more, **extra):
        m.charge(len(args) + len(kwargs) >> 2)
        return (yield Invoke(function, (*args, *more), {**kwargs, **extra}))

    m.allocate(1200)
    return Native("partial", call, {"func": function, "args": args, "keywords": kwargs})


def partialmethod(m, function, *args, **kwargs):
    """A method that calls another with some arguments given."""
    m.allocate(1200)

    def call(m, owner, *more, **extra):
        m.charge(len(args) + len(kwargs) >> 2)
        return (yield Invoke(function, (owner, *args, *more), {**kwargs, **extra}))

    return Native(getattr(function, "name", "partialmethod"), call)


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
        m.allocate(NATIVE_BYTES)
        return Native("lru_cache", lambda m, function: _cached(m, function, maxsize))
    return _cached(m, maxsize, 128)


def cache(m, function):
    return _cached(m, function, None)


def _cached(m, function, maxsize) -> Native:
    m.allocate(1300)
    results: dict = {}
    hits = misses = 0

    def call(m, *args, **kwargs):
        key = (args, tuple(kwargs.items()))
        if operators.hashable(m, key):
            key = yield from stored(m, results, key)
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
        return {"__name__": function.name, "__wrapped__": function} if type(function) is Native else {}
    names = {"__name__": function.name, "__qualname__": function.code.qualname, "__doc__": function.code.doc}
    return {**names, **(function.fields or {}), "__wrapped__": function}


def wraps(m, wrapped, *args, **kwargs):
    m.allocate(NATIVE_BYTES)

    def wrap(m, function):
        if type(function) in (Function, Instance):
            m.need_entries(8 + len(getattr(wrapped, "fields", None) or ()) + len(function.fields or ()))
            function.fields = {**(function.fields or {}), **_identity(wrapped)}
        return function

    return Native("wraps", wrap)


def singledispatch(m, function):
    """A function that picks, by the type of its first argument, among those `register`ed with it."""
    choices: list[tuple] = []
    m.allocate(1200)

    def call(m, *args, **kwargs):
        if not args:
            raise TypeError(f"{getattr(function, 'name', 'function')} requires at least 1 positional argument")
        chosen, best = function, None
        for kind, choice in choices:
            m.charge(1)
            if attributes.is_instance(m, args[0], kind) and (best is None or attributes.is_subclass(m, kind, best)):
                chosen, best = choice, kind
        return (yield Invoke(chosen, args, kwargs))

    def register(m, kind, chosen=None):
        if chosen is not None:
            return add(m, kind, chosen)
        if type(kind) is Function:
            return add(m, _first_annotation(m, kind), kind)
        return Native("register", lambda m, chosen: add(m, kind, chosen))

    def add(m, kind, chosen):
        m.need_items(len(choices) + 1)
        choices.append((kind, chosen))
        return chosen

    methods = {"register": Native("register", register)}
    return Native(getattr(function, "name", "singledispatch"), call, {**methods, **_identity(function)})


def _first_annotation(m, function: Function):
    """The type that the first parameter of a function is annotated with, by its name."""
    name = function.code.annotation
    found = m.globals.get(name, m.builtins.get(name))
    if type(found) not in (Class, BuiltinType):
        raise TypeError("Invalid first argument to `register()`: use a class or annotate the first argument with one")
    return found


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
            cls.members[name] = Native(name, _from_root(root, name), method=True)
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
    m.allocate(100)
    return Wrapper("cached_property", function)


def cmp_to_key(m, function):
    m.allocate(CLASS_BYTES + 2 * NATIVE_BYTES)

    def less(m, a, b):
        if type(b) is not Instance or b.cls is not cls:
            raise TypeError("other argument must be K instance")
        order = yield Invoke(function, (a.fields.get("value"), b.fields.get("value")))
        return (yield from operators.ordered(m, "<", order, 0))

    cls = Class("K", (), {"__lt__": Native("__lt__", less, method=True)})

    def made(m, value):
        m.allocate(300)
        return Instance(cls, {"value": value})

    return Native("K", made)


FUNCTIONS = {
    "partial": partial, "reduce": reduce, "lru_cache": lru_cache, "cache": cache, "wraps": wraps,
    "cached_property": cached_property, "cmp_to_key": cmp_to_key, "singledispatch": singledispatch,
    "partialmethod": partialmethod, "update_wrapper": update_wrapper, "total_ordering": total_ordering,
}  # fmt: skip


# copy


def copy(m, value):
    kind = type(value)
    m.allocate(DEQUE_BYTES if kind is deque else 0)
    if kind is Instance:
        own = value.cls.lookup("__copy__")
        return _asked(own, value) if own is not UNBOUND else _shallow(m, value)
    if kind in _COPIED:
        m.need_items(len(value))
        return attributes.METHODS[kind]["copy"].fn(m, value)
    return value


_COPIED = (list, dict, deque, DefaultDict, CounterDict, Set)


def _asked(function, *args):
    return (yield Invoke(function, args))


def _shallow(m, value: Instance) -> Instance:
    m.allocate(64 + 100 * len(value.fields))
    return Instance(value.cls, dict(value.fields), copy(m, value.data))


def deepcopy(m, value, memo=None):
    return _deep(m, value, Memo() if type(memo) is not Memo else memo, 0)


class Memo:
    """What a deep copy has made already, by the identity of what it was made of; scripts only hand it on."""

    __slots__ = ("made",)
    holds = ("made",)
    type_name = "dict"

    def __init__(self):
        self.made: dict[int, tuple] = {}


def _deep(m, value, memo: Memo, depth: int):
    if depth > m.limits.nesting:
        raise LimitExceeded("nesting")
    if id(value) in memo.made:
        return memo.made[id(value)][0]
    m.charge(1)
    kind = type(value)
    if kind is tuple:
        m.need_items(len(value))
        return tuple((yield from _deep_all(m, value, memo, depth)))
    if kind is list or kind is deque:
        m.need_items(len(value))
        m.allocate(DEQUE_BYTES if kind is deque else 0)
        made = _remember(m, memo, value, kind() if kind is list else deque(maxlen=value.maxlen))
        made.extend((yield from _deep_all(m, value, memo, depth)))
        return made
    if isinstance(value, dict):
        m.need_entries(len(value))
        operators.hash_again(m, value)
        made = _remember(m, memo, value, kind())
        if kind is DefaultDict:
            made.factory = value.factory
        for key, item in list(value.items()):
            made[key] = yield from _deep(m, item, memo, depth + 1)
        return made
    if kind is Instance:
        own = value.cls.lookup("__deepcopy__")
        if own is not UNBOUND:
            return _remember(m, memo, value, (yield Invoke(own, (value, memo))))
        m.allocate(64 + 100 * len(value.fields))
        made = _remember(m, memo, value, Instance(value.cls, {}))
        made.data = yield from _deep(m, value.data, memo, depth + 1)
        for key, item in list(value.fields.items()):
            made.fields[key] = yield from _deep(m, item, memo, depth + 1)
        return made
    return copy_set(m, value) if kind is Set else value


def _deep_all(m, values, memo: Memo, depth: int):
    made = []
    m.need_items(len(values))
    for item in list(values):
        made.append((yield from _deep(m, item, memo, depth + 1)))
    return made


def _remember(m, memo: Memo, value, made):
    m.allocate(180)
    memo.made[id(value)] = (made, value)  # with the value, so that its identity stays its own
    return made


COPY = {"copy": copy, "deepcopy": deepcopy}


# operator


def itemgetter(m, *keys):
    m.allocate(NATIVE_BYTES)

    def call(m, owner):
        items = []
        for key in keys:
            m.charge(1)
            m.allocate(16)
            item = subscripts.get_item(m, owner, key)
            items.append((yield from item) if hasattr(item, "send") else item)
        return items[0] if len(items) == 1 else tuple(items)

    return Native("itemgetter", call)


def attrgetter(m, name):
    m.allocate(NATIVE_BYTES)
    return Native("attrgetter", lambda m, owner: attributes.LOAD.fn(m, owner, name))


def methodcaller(m, name, *args):
    m.allocate(NATIVE_BYTES)

    def call(m, owner):
        return (yield Invoke((yield Invoke(attributes.LOAD, (owner, name))), args))

    return Native("methodcaller", call)


OPERATOR = {
    "itemgetter": itemgetter, "attrgetter": attrgetter, "methodcaller": methodcaller,
    "add": operators.add, "sub": operators.subtract, "mul": operators.multiply, "truediv": operators.divide,
    "floordiv": operators.floor_divide, "mod": operators.modulo, "pow": operators.power, "eq": operators.equals,
    "ne": operators.differs, "lt": operators.ordering("<"), "le": operators.ordering("<="),
    "gt": operators.ordering(">"), "ge": operators.ordering(">="), "neg": operators.negative,
    "and_": operators.and_, "or_": operators.or_, "xor": operators.xor, "matmul": operators.matrix_multiply,
    "lshift": operators.left_shift, "rshift": operators.right_shift,
    "contains": lambda m, container, item: operators.contains(m, item, container),
    "getitem": subscripts.get_item,
}  # fmt: skip
