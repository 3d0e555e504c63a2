"""Operators and subscripts: what they mean for every pair of types, and what they cost.

Plain values are worked on by the host after the size of the result has been accounted for. Where script code may have
to run (dunder methods, a default factory) or where nesting must be bounded, the function returns a generator of
requests.
"""

from __future__ import annotations

from collections import deque
from types import GeneratorType

from mxjax.mas.errors import LimitExceeded
from mxjax.mas.interpreter.frames import Invoke
from mxjax.mas.interpreter.iteration import SIZED, host_iterator, iterate, pull, take_all
from mxjax.mas.interpreter.values import (
    EXHAUSTED,
    NOT_IMPLEMENTED,
    SCALARS,
    UNBOUND,
    Class,
    CounterDict,
    DefaultDict,
    Generator,
    Instance,
    Set,
    Slice,
    Union,
    View,
    is_type,
    plain,
    type_name,
)

NUMBERS = frozenset({int, float, bool})
DICTS = frozenset({dict, DefaultDict, CounterDict})
_SMALL = 1 << 62


def _checked(m, value):
    """An int result, accounted for where it is large."""
    if type(value) is int and not -_SMALL < value < _SMALL:
        m.need_int(value.bit_length())
    return value


def _both_numbers(a, b) -> bool:
    return type(a) in NUMBERS and type(b) in NUMBERS


def _unsupported(symbol: str, a, b) -> TypeError:
    return TypeError(f"unsupported operand type(s) for {symbol}: '{type_name(a)}' and '{type_name(b)}'")


def _dispatch(m, symbol: str, a, b):
    """An operator that script classes may define, or TypeError."""
    if type(a) is Instance or type(b) is Instance:
        return _dunder(m, symbol, a, b)
    raise _unsupported(symbol, a, b)


_DUNDER = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "** or pow()": "pow",
    "@": "matmul", "&": "and", "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift",
}  # fmt: skip


def _dunder(m, symbol: str, a, b):
    name = _DUNDER[symbol]
    for owner, other, method in ((a, b, f"__{name}__"), (b, a, f"__r{name}__")):
        function = owner.cls.lookup(method) if type(owner) is Instance else UNBOUND
        if function is not UNBOUND:
            result = yield Invoke(function, (owner, other))
            if result is not NOT_IMPLEMENTED:
                return result
    left, right = plain(a), plain(b)
    if left is a and right is b:
        raise _unsupported(symbol, a, b)
    result = _OPERATORS[symbol](m, left, right)
    return (yield from result) if type(result) is GeneratorType else result


def add(m, a, b):
    kind = type(a)
    if kind in NUMBERS and type(b) in NUMBERS:
        return _checked(m, a + b)
    if kind is type(b):
        if kind is str:
            m.need_string(len(a) + len(b), a.isascii() and b.isascii())
            return a + b
        if kind is list or kind is tuple:
            m.need_items(len(a) + len(b))
            return a + b
        if kind is CounterDict:
            return _counter(m, a, b, lambda x, y: x + y)
    if kind in (str, list, tuple) and type(b) is not Instance:
        raise TypeError(f'can only concatenate {kind.__name__} (not "{type_name(b)}") to {kind.__name__}')
    return _dispatch(m, "+", a, b)


def subtract(m, a, b):
    if _both_numbers(a, b):
        return _checked(m, a - b)
    if _both_sets(a, b):
        mine, other = _keys(m, a), _keys(m, b)
        return _set(m, a, [item for item in mine if item not in other])
    if type(a) is CounterDict and type(b) is CounterDict:
        return _counter(m, a, b, lambda x, y: x - y)
    return _dispatch(m, "-", a, b)


def multiply(m, a, b):
    if _both_numbers(a, b):
        if type(a) is int and type(b) is int and not (-_SMALL < a < _SMALL and -_SMALL < b < _SMALL):
            m.need_int(a.bit_length() + b.bit_length())
        return _checked(m, a * b)
    if type(b) in (str, list, tuple) and type(a) in (int, bool):
        a, b = b, a
    if type(a) in (str, list, tuple):
        if type(b) not in (int, bool):
            if type(b) is Instance:
                return _dispatch(m, "*", a, b)
            raise TypeError(f"can't multiply sequence by non-int of type '{type_name(b)}'")
        if type(a) is str:
            m.need_string(len(a) * max(0, b), a.isascii())
        else:
            m.need_items(len(a) * max(0, b))
        return a * b
    return _dispatch(m, "*", a, b)


def divide(m, a, b):
    if _both_numbers(a, b):
        return a / b
    return _dispatch(m, "/", a, b)


def floor_divide(m, a, b):
    if _both_numbers(a, b):
        _need_division(m, a, b)
        return a // b
    return _dispatch(m, "//", a, b)


def modulo(m, a, b):
    if _both_numbers(a, b):
        _need_division(m, a, b)
        return a % b
    if type(a) is str:
        from mxjax.mas.interpreter.text import percent

        return percent(m, a, b)
    return _dispatch(m, "%", a, b)


def _need_division(m, a, b):
    if type(a) is int and not -_SMALL < a < _SMALL:
        m.need_int(a.bit_length())


def power(m, a, b):
    if not _both_numbers(a, b):
        return _dispatch(m, "** or pow()", a, b)
    if type(a) is not float and type(b) is not float:
        if b > 0 and abs(a) > 1:
            m.need_int(a.bit_length() * b)
        return a**b
    if a < 0 and b != int(b):
        raise ValueError("a negative number has no real power with a fraction as exponent")
    return a**b


def matrix_multiply(m, a, b):
    return _dispatch(m, "@", a, b)


def left_shift(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        if b > 0 and a:
            m.need_int(int(a).bit_length() + b)
        return a << b
    return _dispatch(m, "<<", a, b)


def right_shift(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return _checked(m, a >> b)
    return _dispatch(m, ">>", a, b)


def and_(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return _checked(m, a & b)
    if _both_sets(a, b):
        mine, other = _keys(m, a), _keys(m, b)
        return _set(m, a, [item for item in mine if item in other])
    if type(a) is CounterDict and type(b) is CounterDict:
        return _counter(m, a, b, min)
    return _dispatch(m, "&", a, b)


def or_(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return _checked(m, a | b)
    if _both_sets(a, b):
        return _set(m, a, [*_keys(m, a), *_keys(m, b)])
    if type(a) is CounterDict and type(b) is CounterDict:
        return _counter(m, a, b, max)
    if type(a) in DICTS and type(b) in DICTS:
        m.need_entries(len(a) + len(b))
        return {**a, **b}
    if (a is None or is_type(a)) and (b is None or is_type(b)) and not a is b is None:
        options = [option for side in (a, b) for option in (side.options if type(side) is Union else (side,))]
        m.need_items(len(options))
        options = list(dict.fromkeys(options))
        return Union(tuple(options)) if len(options) > 1 else options[0]
    return _dispatch(m, "|", a, b)


def xor(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return _checked(m, a ^ b)
    if _both_sets(a, b):
        mine, other = _keys(m, a), _keys(m, b)
        return _set(m, a, [x for x in mine if x not in other] + [x for x in other if x not in mine])
    return _dispatch(m, "^", a, b)


def _both_sets(a, b) -> bool:
    return all(type(x) is Set or (type(x) is View and x.kind != "values") for x in (a, b))


def _keys(m, value) -> dict:
    """The items of a set or view as the keys of a dict, with looking all of them up accounted for."""
    items = value.items if type(value) is Set else list(value.host())
    m.charge(len(items) >> 1)
    if type(value) is View:
        m.need_entries(len(items))
    for item in items:
        if type(item) is not int:
            hashable(m, item)
    return items if type(value) is Set else dict.fromkeys(items)


def _set(m, like, items: list) -> Set:
    m.need_entries(len(items))
    return Set(items, frozen=type(like) is Set and like.frozen)


def _counter(m, a: dict, b: dict, combine) -> CounterDict:
    m.need_entries(len(a) + len(b))
    hash_again(m, a)
    hash_again(m, b)
    if not all(type(count) in NUMBERS for counts in (a, b) for count in counts.values()):
        raise TypeError("a Counter must hold numbers to be combined with another")
    counts = {key: combine(a.get(key, 0), b.get(key, 0)) for key in (*a, *b)}
    return CounterDict((key, count) for key, count in counts.items() if count > 0)


_OPERATORS = {
    "+": add, "-": subtract, "*": multiply, "/": divide, "//": floor_divide, "%": modulo, "** or pow()": power,
    "@": matrix_multiply, "&": and_, "|": or_, "^": xor, "<<": left_shift, ">>": right_shift,
}  # fmt: skip


# In place


def in_place(operator, method: str):
    """The augmented form of `operator`: what changes in place does so, everything else is computed anew."""

    def apply(m, a, b):
        if type(a) is Instance:
            function = a.cls.lookup(method)
            if function is not UNBOUND:
                return _invoke(function, a, b)
        if type(a) is list and operator is add:
            return _extend(m, a, b)
        if type(a) is list and operator is multiply and type(b) in (int, bool):
            m.need_items(len(a) * max(0, b))
            a *= b
            return a
        if type(a) is deque and operator is add:
            return _extend(m, a, b)
        if type(a) in DICTS and type(b) in DICTS and operator is or_ and type(a) is not CounterDict:
            m.need_entries(len(a) + len(b))
            a.update(b)
            return a
        if type(a) is Set and not a.frozen and type(b) is Set and operator in (or_, and_, subtract, xor):
            a.items = operator(m, a, b).items
            return a
        return operator(m, a, b)

    return apply


def _invoke(function, *args):
    return (yield Invoke(function, args))


def _extend(m, target, values):
    items = yield from take_all(m, values)
    m.need_items(len(target) + len(items))
    target.extend(items)
    return target


# Unary


def negative(m, a):
    if type(a) in NUMBERS:
        return _checked(m, -a)
    if type(a) is CounterDict:
        m.need_entries(len(a))
        hash_again(m, a)
        return CounterDict((key, -count) for key, count in a.items() if count < 0)
    return _unary(m, "-", "__neg__", a)


def positive(m, a):
    if type(a) in NUMBERS:
        return +a
    if type(a) is CounterDict:
        m.need_entries(len(a))
        hash_again(m, a)
        return CounterDict((key, count) for key, count in a.items() if count > 0)
    return _unary(m, "+", "__pos__", a)


def invert(m, a):
    if type(a) is int or type(a) is bool:
        return _checked(m, ~int(a))
    return _unary(m, "~", "__invert__", a)


def _unary(m, symbol: str, method: str, a):
    function = a.cls.lookup(method) if type(a) is Instance else UNBOUND
    if function is UNBOUND:
        if plain(a) is not a:
            return {"-": negative, "+": positive, "~": invert}[symbol](m, plain(a))
        raise TypeError(f"bad operand type for unary {symbol}: '{type_name(a)}'")
    return _invoke(function, a)


# Comparison


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
        for key, value in list(a.items()):
            hashable(m, key)
            if key not in b or not (yield from equal(m, value, b[key], depth + 1)):
                return False
        return True
    if left is right and left in (list, tuple, deque):
        if len(a) != len(b):
            return False
        for x, y in zip(list(a), list(b)):
            if not (yield from equal(m, x, y, depth + 1)):
                return False
        return True
    if _both_sets(a, b):
        return _keys(m, a).keys() == _keys(m, b).keys()
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
    """`a symbol b` for any two values; TypeError where they have no order."""
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
        for x, y in zip(list(a), list(b)):
            if not (yield from equal(m, x, y, depth + 1)):
                return (yield from ordered(m, symbol, x, y, depth + 1))
        return host(len(a), len(b))
    if _both_sets(a, b):
        return host(_keys(m, a).keys(), _keys(m, b).keys())
    left, right = plain(a), plain(b)
    if left is not a or right is not b:
        if depth >= m.limits.nesting:
            raise LimitExceeded("nesting")
        return (yield from ordered(m, symbol, left, right, depth + 1))
    raise TypeError(f"'{symbol}' not supported between instances of '{type_name(a)}' and '{type_name(b)}'")


def contains(m, item, container):
    kind = type(container)
    if kind is str:
        item = plain(item)
        if type(item) is not str:
            raise TypeError(f"'in <string>' requires string as left operand, not {type_name(item)}")
        m.charge(len(container) >> 4)
        return item in container
    if kind in DICTS:
        hashable(m, item)
        return item in container
    if kind is Set:
        hashable(m, item)
        return item in container.items
    if kind is View and container.kind == "keys":
        hashable(m, item)
        return item in container.owner
    if kind is range and type(item) in (int, bool):
        return item in container
    if kind in (list, tuple) and type(item) in SCALARS:
        m.charge(len(container) * (1 + (len(item) >> 8 if type(item) is str else 0)) >> 2)
        return item in container
    return _contains(m, item, container)


def _contains(m, item, container):
    if type(container) is Instance:
        function = container.cls.lookup("__contains__")
        if function is not UNBOUND:
            return bool((yield Invoke(function, (container, item))))
        if type(plain(container)) is str:
            return contains(m, item, plain(container))
    if type(container) is Class and "__members__" in container.members:
        container = list(container.members["__members__"].values())
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


UNHASHABLE = frozenset({list, dict, deque, DefaultDict, CounterDict, View, Slice})


def hashable(m, key):
    """Accounts for hashing `key` and comparing it with its like; TypeError where it cannot be a key.

    What is nested in tuples and frozen sets is walked as often as the host would walk it.
    """
    kind = type(key)
    if kind is str or kind is bytes:
        m.charge(len(key) >> 6)
    elif kind is tuple or kind is Set or kind in UNHASHABLE or kind is Instance:
        stack = [(key, 0)]
        while stack:
            value, depth = stack.pop()
            kind = type(value)
            if kind is str or kind is bytes:
                m.charge(len(value) >> 6)
            elif kind is tuple or (kind is Set and value.frozen):
                if depth >= m.limits.nesting:
                    raise LimitExceeded("nesting")
                m.charge(len(value) + 1)
                stack.extend((item, depth + 1) for item in (value if kind is tuple else value.items))
            elif kind in UNHASHABLE or kind is Set or (kind is Instance and not has_identity(value.cls)):
                raise TypeError(f"unhashable type: '{type_name(value)}'")
            elif kind is Instance and value.cls.key is not None:
                if depth >= m.limits.nesting:
                    raise LimitExceeded("nesting")
                stack.append((value.part(value.cls.key), depth + 1))


def hash_again(m, mapping):
    """Accounts for hashing keys that are in a dict already."""
    for key in mapping:
        if type(key) is tuple or type(key) is Set or type(key) is Instance:
            hashable(m, key)


def has_identity(cls: Class) -> bool:
    """Whether objects of a class can be keys: it does not say what is equal, or also how to hash."""
    return cls.lookup("__eq__") is UNBOUND or cls.lookup("__hash__") not in (UNBOUND, None)
