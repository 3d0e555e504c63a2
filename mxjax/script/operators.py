"""Operators: what they mean for every pair of types, and what they cost.

Plain values are worked on by the host after the size of the result has been accounted for. Where script code may have
to run (dunder methods) or where nesting must be bounded, the function returns a generator of
requests.
"""

from __future__ import annotations

from collections import deque
from types import GeneratorType

from mxjax.script import keys
from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import may_raise
from mxjax.script.frames import Invoke
from mxjax.script.iteration import SIZED, host_iterator, iterate, members_of, pull, take_all
from mxjax.script.values import (
    DATA,
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


def checked(m, value):
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


@may_raise(OverflowError)
def add(m, a, b):
    kind = type(a)
    if kind in NUMBERS and type(b) in NUMBERS:
        return checked(m, a + b)
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


@may_raise(OverflowError)
def subtract(m, a, b):
    if _both_numbers(a, b):
        return checked(m, a - b)
    if _both_sets(a, b):
        return _combined(m, a, b, lambda mine, other: [item for item in mine if item not in other])
    if type(a) is CounterDict and type(b) is CounterDict:
        return _counter(m, a, b, lambda x, y: x - y)
    return _dispatch(m, "-", a, b)


@may_raise(OverflowError)
def multiply(m, a, b):
    if _both_numbers(a, b):
        if type(a) is int and type(b) is int and not (-_SMALL < a < _SMALL and -_SMALL < b < _SMALL):
            m.need_int(a.bit_length() + b.bit_length())
        return checked(m, a * b)
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


@may_raise(ZeroDivisionError, OverflowError)
def divide(m, a, b):
    if _both_numbers(a, b):
        return a / b
    return _dispatch(m, "/", a, b)


@may_raise(ZeroDivisionError, OverflowError)
def floor_divide(m, a, b):
    if _both_numbers(a, b):
        _need_division(m, a, b)
        return a // b
    return _dispatch(m, "//", a, b)


@may_raise(ZeroDivisionError, OverflowError)
def modulo(m, a, b):
    if _both_numbers(a, b):
        _need_division(m, a, b)
        return checked(m, a % b)
    if type(a) is str:
        from mxjax.script.formatting import percent

        return percent(m, a, b)
    return _dispatch(m, "%", a, b)


def _need_division(m, a, b):
    if type(a) is int and not -_SMALL < a < _SMALL:
        m.need_int(a.bit_length())


@may_raise(ZeroDivisionError, OverflowError)
def power(m, a, b):
    if not _both_numbers(a, b):
        return _dispatch(m, "** or pow()", a, b)
    if type(a) is not float and type(b) is not float:
        if b > 0 and abs(a) > 1:
            m.need_int(a.bit_length() * b)
        m.charge(b.bit_length() >> 3)  # as often the host squares, even if it is nothing
        return a**b
    if a < 0 and b - b == 0 and b != int(b):  # a finite fraction
        raise ValueError("a negative number has no real power with a fraction as exponent")
    return a**b


def matrix_multiply(m, a, b):
    return _dispatch(m, "@", a, b)


@may_raise(ValueError, OverflowError)
def left_shift(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        if b > 0 and a:
            m.need_int(int(a).bit_length() + b)
        return checked(m, a << b)
    return _dispatch(m, "<<", a, b)


@may_raise(ValueError, OverflowError)
def right_shift(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return checked(m, a >> b)
    return _dispatch(m, ">>", a, b)


def and_(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return checked(m, a & b)
    if _both_sets(a, b):
        return _combined(m, a, b, lambda mine, other: [item for item in mine if item in other])
    if type(a) is CounterDict and type(b) is CounterDict:
        return _counter(m, a, b, min)
    return _dispatch(m, "&", a, b)


def or_(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return checked(m, a | b)
    if _both_sets(a, b):
        return _combined(m, a, b, lambda mine, other: [*mine, *other])
    if type(a) is CounterDict and type(b) is CounterDict:
        return _counter(m, a, b, max)
    if type(a) in DICTS and type(b) in DICTS:
        m.need_entries(len(a) + len(b))
        return _merged(m, dict(a), b) if hash_again(m, b) else {**a, **b}
    if (a is None or is_type(a)) and (b is None or is_type(b)) and not a is b is None:
        options = [option for side in (a, b) for option in (side.options if type(side) is Union else (side,))]
        m.need_items(len(options))
        options = list(dict.fromkeys(options))
        return Union(tuple(options)) if len(options) > 1 else options[0]
    return _dispatch(m, "|", a, b)


def xor(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return checked(m, a ^ b)
    if _both_sets(a, b):
        return _combined(
            m, a, b, lambda mine, other: [x for x in mine if x not in other] + [x for x in other if x not in mine]
        )
    return _dispatch(m, "^", a, b)


def _both_sets(a, b) -> bool:
    return all(type(x) is Set or (type(x) is View and x.kind != "values") for x in (a, b))


def _keys(m, value) -> tuple[dict, bool]:
    """The items of a set or view as the keys of a dict, looking all of them up accounted for; see `hashable`."""
    items = value.items if type(value) is Set else list(value.host())
    m.charge(len(items) >> 1)
    if type(value) is View:
        m.need_entries(len(items))
    own = False
    for item in items:
        if type(item) is not int:
            own = hashable(m, item) or own
    if own and type(value) is View:
        need_comparisons(m, items)
    return (items if type(value) is Set else dict.fromkeys(items)), own


def _combined(m, a, b, combine):
    """A set of what `combine` picks from the items of `a` and `b`."""
    (mine, own), (other, others_own) = _keys(m, a), _keys(m, b)
    if own or others_own:
        need_comparisons(m, (*mine, *other))
        return _combined_keys(m, a, mine, other, combine)
    return _set(m, a, combine(mine, other))


def _combined_keys(m, a, mine: dict, other: dict, combine):
    return _set(m, a, combine(mine, (yield from _as_keys_of(m, mine, other))))


def _as_keys_of(m, table: dict, other: dict):
    """The entries of `other`, each under the key of `table` that equals its own, if there is one."""
    m.need_entries(len(other))
    found = {}
    for key, value in list(other.items()):
        found[(yield from keys.stored(m, table, key)) if hashable(m, key) else key] = value
    return found


def compared(m, a, b, test):
    """`test(keys, keys)` of what is in two sets or views."""
    (mine, own), (other, others_own) = _keys(m, a), _keys(m, b)
    if own or others_own:
        need_comparisons(m, (*mine, *other))
        other = yield from _as_keys_of(m, mine, other)
    return test(mine.keys(), other.keys())


def _set(m, like, items: list) -> Set:
    m.need_entries(len(items))
    return Set(items, frozen=type(like) is Set and like.frozen)


def _counter(m, a: dict, b: dict, combine):
    m.need_entries(len(a) + len(b))
    own = hash_again(m, a)
    if hash_again(m, b) or own:
        return _counter_of_keys(m, a, b, combine)
    return _counted(a, b, combine)


def _counter_of_keys(m, a: dict, b: dict, combine):
    return _counted(a, (yield from _as_keys_of(m, a, b)), combine)


@may_raise(OverflowError)
def _counted(a: dict, b: dict, combine) -> CounterDict:
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
            if hash_again(m, b):
                return _merged(m, a, b)
            a.update(b)
            return a
        if type(a) is Set and not a.frozen and type(b) is Set and operator in (or_, and_, subtract, xor):
            return _changed_set(m, a, operator(m, a, b))
        if type(a) is Instance and type(a.data) in CHANGED_IN_PLACE:
            return _changed(m, apply, a, b)
        return operator(m, a, b)

    return apply


CHANGED_IN_PLACE = DICTS | {list, deque, Set}


def _changed(m, apply, a: Instance, b):
    """`a += b` for an object whose class derives from a built-in type that changes in place."""
    result = apply(m, a.data, plain(b))
    result = (yield from result) if type(result) is GeneratorType else result
    return a if result is a.data else result


def _merged(m, a: dict, b: dict):
    yield from keys.put(m, a, list(b.items()))
    return a


def _changed_set(m, a: Set, result):
    if type(result) is GeneratorType:
        return _changed_set_later(a, result)
    a.items = result.items
    return a


def _changed_set_later(a: Set, result):
    a.items = (yield from result).items
    return a


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
        return checked(m, -a)
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
        return checked(m, ~int(a))
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
        m.charge(len(a) >> 3)
        for key, value in list(a.items()):
            m.charge(1)
            if hashable(m, key):
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
    if _both_sets(a, b):
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
        m.charge(len(a) + len(b) >> 5)
        for x, y in zip(list(a), list(b)):
            m.charge(1)
            if x is not y and not (yield from equal(m, x, y, depth + 1)):
                return (yield from ordered(m, symbol, x, y, depth + 1))
        return host(len(a), len(b))
    if _both_sets(a, b):
        return (yield from compared(m, a, b, host))
    left, right = plain(a), plain(b)
    if left is not a or right is not b:
        if depth >= m.limits.nesting:
            raise LimitExceeded("nesting")
        return (yield from ordered(m, symbol, left, right, depth + 1))
    raise TypeError(f"'{symbol}' not supported between instances of '{type_name(a)}' and '{type_name(b)}'")


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
        return _contains_key(m, item, table) if hashable(m, item) else item in table
    if kind is range and type(item) in (int, bool):
        return item in container
    if kind in (list, tuple) and type(item) in SCALARS:
        m.charge(len(container) * (1 + (len(item) >> 8 if type(item) is str else 0)) >> 2)
        return item in container
    return _contains(m, item, container)


def _table(container, kind) -> dict | None:
    """The dict in which the items of a set or of a dict's keys are looked up."""
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


UNHASHABLE = frozenset({list, dict, deque, DefaultDict, CounterDict, View, Slice})
_COMPOUND = UNHASHABLE | {tuple, Set, Instance}
_WALKED = _COMPOUND | {str, bytes}


def hashable(m, key) -> bool:
    """Accounts for hashing `key` and comparing it with its like; whether it must be `stored` before it is looked up.

    TypeError where it cannot be a key. What is nested in tuples and frozen sets is walked as often as the host would.
    """
    kind = type(key)
    if kind is str or kind is bytes:
        m.charge(len(key) >> 6)
        return False
    if kind not in _COMPOUND:
        return False
    own = False
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
            inner = [(item, depth + 1) for item in (value if kind is tuple else value.items) if type(item) in _WALKED]
            m.allocate(80 * len(inner))
            stack += inner
        elif kind in UNHASHABLE or kind is Set or (kind is Instance and not has_identity(value.cls)):
            raise TypeError(f"unhashable type: '{type_name(value)}'")
        elif kind is Instance and value.cls.key is not None:
            if depth >= m.limits.nesting:
                raise LimitExceeded("nesting")
            stack.append((value.part(value.cls.key), depth + 1))
        elif kind is Instance and value.cls.lookup("__eq__") is not UNBOUND:
            own = True
    return own


def hash_again(m, mapping) -> bool:
    """Accounts for hashing keys that are in a dict already; whether one of them must be `stored` elsewhere."""
    own = False
    for key in mapping:
        if type(key) in _COMPOUND:
            own = hashable(m, key) or own
    if own:
        need_comparisons(m, mapping)
    return own


def need_comparisons(m, keys_):
    """Accounts for what the host compares when keys of which some have one hash are put into another table."""
    counts: dict[int, int] = {}
    for key in keys_:
        found = hash(key)
        counts[found] = counts.get(found, 0) + 1
    m.charge(len(counts) + (sum(count * count for count in counts.values()) >> 4))


def has_identity(cls: Class) -> bool:
    """Whether objects of a class can be keys: it does not say what is equal, or also how to hash."""
    changes = cls.plain is DATA and cls.key is None  # derived from a type that is no key, unless the script says how
    if cls.lookup("__eq__") is UNBOUND and not changes:
        return True
    return cls.lookup("__hash__") not in (UNBOUND, None)
