"""Operators: their meaning for every pair of types, and their cost.

Plain values are worked on by the host after the size of the result has been accounted for. Where script code may have
to run (dunder methods), the function returns a generator of requests. Comparisons are in `comparison`.
"""

from __future__ import annotations

from collections import deque
from types import GeneratorType

from mxjax.script import comparison, keys
from mxjax.script.exceptions import may_raise
from mxjax.script.frames import Invoke
from mxjax.script.iteration import take_all
from mxjax.script.values import (
    DICTS,
    NOT_IMPLEMENTED,
    NUMBERS,
    UNBOUND,
    CounterDict,
    Instance,
    Set,
    Union,
    is_type,
    plain,
    type_name,
)

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
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "truediv",
    "//": "floordiv",
    "%": "mod",
    "** or pow()": "pow",
    "@": "matmul",
    "&": "and",
    "|": "or",
    "^": "xor",
    "<<": "lshift",
    ">>": "rshift",
}


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
    if comparison.both_sets(a, b):
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
    if comparison.both_sets(a, b):
        return _combined(m, a, b, lambda mine, other: [item for item in mine if item in other])
    if type(a) is CounterDict and type(b) is CounterDict:
        return _counter(m, a, b, min)
    return _dispatch(m, "&", a, b)


def or_(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return checked(m, a | b)
    if comparison.both_sets(a, b):
        return _combined(m, a, b, lambda mine, other: [*mine, *other])
    if type(a) is CounterDict and type(b) is CounterDict:
        return _counter(m, a, b, max)
    if type(a) in DICTS and type(b) in DICTS:
        m.need_entries(len(a) + len(b))
        return _merged(m, dict(a), b) if keys.hash_again(m, b) else {**a, **b}
    if (a is None or is_type(a)) and (b is None or is_type(b)) and not a is b is None:
        options = [option for side in (a, b) for option in (side.options if type(side) is Union else (side,))]
        m.need_items(len(options))
        options = list(dict.fromkeys(options))
        return Union(tuple(options)) if len(options) > 1 else options[0]
    return _dispatch(m, "|", a, b)


def xor(m, a, b):
    if type(a) in (int, bool) and type(b) in (int, bool):
        return checked(m, a ^ b)
    if comparison.both_sets(a, b):
        return _combined(
            m, a, b, lambda mine, other: [x for x in mine if x not in other] + [x for x in other if x not in mine]
        )
    return _dispatch(m, "^", a, b)


def _combined(m, a, b, combine):
    """A set of what `combine` picks from the items of both."""
    (mine, own), (other, others_own) = comparison.keys_of(m, a), comparison.keys_of(m, b)
    if own or others_own:
        keys.need_comparisons(m, (*mine, *other))
        return _combined_keys(m, a, mine, other, combine)
    return _set(m, a, combine(mine, other))


def _combined_keys(m, a, mine: dict, other: dict, combine):
    return _set(m, a, combine(mine, (yield from comparison.as_keys_of(m, mine, other))))


def _set(m, like, items: list) -> Set:
    m.need_entries(len(items))
    return Set(items, frozen=type(like) is Set and like.frozen)


def _counter(m, a: dict, b: dict, combine):
    m.need_entries(len(a) + len(b))
    own = keys.hash_again(m, a)
    if keys.hash_again(m, b) or own:
        return _counter_of_keys(m, a, b, combine)
    return _counted(a, b, combine)


def _counter_of_keys(m, a: dict, b: dict, combine):
    return _counted(a, (yield from comparison.as_keys_of(m, a, b)), combine)


@may_raise(OverflowError)
def _counted(a: dict, b: dict, combine) -> CounterDict:
    if not all(type(count) in NUMBERS for counts in (a, b) for count in counts.values()):
        raise TypeError("a Counter must hold numbers to be combined with another")
    counts = {key: combine(a.get(key, 0), b.get(key, 0)) for key in (*a, *b)}
    return CounterDict((key, count) for key, count in counts.items() if count > 0)


_OPERATORS = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "//": floor_divide,
    "%": modulo,
    "** or pow()": power,
    "@": matrix_multiply,
    "&": and_,
    "|": or_,
    "^": xor,
    "<<": left_shift,
    ">>": right_shift,
}


# In place


def in_place(operator, method: str):
    """The augmented form of `operator`.

    What changes in place does so; everything else is computed anew.
    """

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
            if keys.hash_again(m, b):
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
    """`a += b` for an object whose built-in base changes in place."""
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
        keys.hash_again(m, a)
        return CounterDict((key, -count) for key, count in a.items() if count < 0)
    return _unary(m, "-", "__neg__", a)


def positive(m, a):
    if type(a) in NUMBERS:
        return +a
    if type(a) is CounterDict:
        m.need_entries(len(a))
        keys.hash_again(m, a)
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
