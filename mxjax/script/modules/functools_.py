"""What `functools` and `operator` have of ours, and `copy`."""

from __future__ import annotations

from collections import deque

from mxjax.script import attributes, comparison, keys, operators, subscripts
from mxjax.script.containers import DEQUE_BYTES, copy_set
from mxjax.script.errors import LimitExceeded
from mxjax.script.frames import Invoke
from mxjax.script.modules.collections_ import record_class
from mxjax.script.values import (
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

_COUNTS = ("hits", "misses", "maxsize", "currsize")
CACHE_INFO = record_class("CacheInfo", _COUNTS, ())


def cache_info(m, *values):
    return Instance(CACHE_INFO, dict(zip(_COUNTS, values)))


def update_wrapper(m, wrapper, wrapped, *args, **kwargs):
    if type(wrapper) in (Function, Instance):
        m.need_entries(8 + len(getattr(wrapped, "fields", None) or ()) + len(wrapper.fields or ()))
        wrapper.fields = {**(wrapper.fields or {}), **_identity(wrapped)}
    return wrapper


def _identity(function) -> dict:
    """What a wrapper takes over of the function that it wraps."""
    if type(function) is not Function:
        return {"__name__": function.name, "__wrapped__": function} if type(function) is Native else {}
    names = {"__name__": function.name, "__qualname__": function.code.qualname, "__doc__": function.code.doc}
    return {**names, **(function.fields or {}), "__wrapped__": function}


def annotated(m, function: Function):
    """The type in the annotation of a function's first parameter, by name."""
    name = function.code.annotation
    found = m.globals.get(name, m.builtins.get(name))
    if type(found) not in (Class, BuiltinType):
        raise TypeError("Invalid first argument to `register()`: use a class or annotate the first argument with one")
    return found


def total_ordering(m, cls):
    """Add the comparisons that a class lacks, from the one defined."""
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
    """`name` in terms of `root` and equality.

    In the same direction, equality is added or excluded. In the opposite one, `root` is negated, and equality is added
    or excluded where both are strict or neither is.
    """
    same_side = root[2] == name[2]

    def compare(m, self, other):
        found = yield Invoke(self.cls.lookup(root), (self, other))
        if found is NOT_IMPLEMENTED:
            return found
        if same_side:  # one is strict and the other is not
            equal = yield from comparison.equal(m, self, other)
            return bool(found) and not equal if name[3] == "t" else bool(found) or equal
        if root[3] != name[3]:  # the exact opposite
            return not found
        equal = yield from comparison.equal(m, self, other)
        return not found and not equal if name[3] == "t" else not found or equal

    return compare


def cached_property(m, function):
    m.allocate(100)
    return Wrapper("cached_property", function)


FUNCTIONS = {
    "cached_property": cached_property,
    "total_ordering": total_ordering,
    "update_wrapper": update_wrapper,
}
HELPERS = {"annotated": annotated, "cache_info": cache_info, "update_wrapper": update_wrapper}


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
    """The objects that a deep copy has already made.

    They are kept by the identity of the original; scripts only pass a memo on.
    """

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
        keys.hash_again(m, value)
        made = _remember(m, memo, value, kind())
        if isinstance(made, DefaultDict) and isinstance(value, DefaultDict):
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


OPERATOR = {
    "add": operators.add,
    "sub": operators.subtract,
    "mul": operators.multiply,
    "truediv": operators.divide,
    "floordiv": operators.floor_divide,
    "mod": operators.modulo,
    "pow": operators.power,
    "eq": comparison.equals,
    "ne": comparison.differs,
    "lt": comparison.ordering("<"),
    "le": comparison.ordering("<="),
    "gt": comparison.ordering(">"),
    "ge": comparison.ordering(">="),
    "neg": operators.negative,
    "and_": operators.and_,
    "or_": operators.or_,
    "xor": operators.xor,
    "matmul": operators.matrix_multiply,
    "lshift": operators.left_shift,
    "rshift": operators.right_shift,
    "contains": lambda m, container, item: comparison.contains(m, item, container),
    "getitem": subscripts.get_item,
}
