"""The built-in functions and types of the script language.

Each is a function of the machine and its arguments; those that may have to run script code (a key function,
`__len__`, an iterator) are generators of requests, so that nothing of a script runs outside the machine.
"""

from __future__ import annotations

from mxjax.script import attributes, comparison, exceptions, formatting, keys, operators
from mxjax.script.coroutines import coroutine, next_async
from mxjax.script.exceptions import may_raise
from mxjax.script.frames import Emit, Invoke
from mxjax.script.iteration import (
    SIZED,
    host_iterator,
    iterate,
    lazy,
    members_of,
    pull,
    size,
    stop_iteration,
    take_all,
)
from mxjax.script.sorting import best, sort
from mxjax.script.types import TYPES, small_int
from mxjax.script.values import (
    ELLIPSIS,
    EXHAUSTED,
    NOT_IMPLEMENTED,
    NUMBERS,
    UNBOUND,
    BoundMethod,
    BuiltinType,
    Class,
    Function,
    Generator,
    HostIterator,
    Instance,
    Native,
    Raised,
    Super,
    Wrapper,
    type_name,
)


def print_(m, *values, sep=" ", end="\n", file=None, flush=False):
    parts = []
    for value in values:
        parts.append((yield from formatting.to_str(m, value)))
    sep, end = " " if sep is None else sep, "\n" if end is None else end
    if type(sep) is not str or type(end) is not str:
        name, wrong = ("sep", sep) if type(sep) is not str else ("end", end)
        raise TypeError(f"{name} must be None or a string, not {type_name(wrong)}")
    length = sum(map(len, parts)) + len(sep) * max(0, len(parts) - 1) + len(end)
    if file is not None:
        m.need_string(length, False)
        write = yield Invoke(attributes.LOAD, (file, "write"))
        yield Invoke(write, (sep.join(parts) + end,))
        return
    m.need_printed(length)
    m.printed.append(sep.join(parts) + end)


def len_(m, value):
    kind = type(value)
    if kind in SIZED:
        return size(value)
    if kind is Instance:
        method = value.cls.lookup("__len__")
        if method is not UNBOUND:
            return _invoke(method, value)
        if type(operators.plain(value)) in SIZED:
            return size(operators.plain(value))
    if kind is Class and "__members__" in value.members:
        return len(members_of(value))
    if (method := attributes.of_meta(value, "__len__")) is not UNBOUND:
        return _invoke(method, value)
    raise TypeError(f"object of type '{type_name(value)}' has no len()")


def _invoke(function, *args):
    return (yield Invoke(function, args))


def abs_(m, value):
    if type(value) in NUMBERS:
        return operators.checked(m, abs(value))
    if operators.plain(value) is not value and value.cls.lookup("__abs__") is UNBOUND:
        return abs_(m, operators.plain(value))
    return _dunder(value, "__abs__", f"bad operand type for abs(): '{type_name(value)}'")


def _dunder(value, name: str, message: str, *args):
    method = value.cls.lookup(name) if type(value) is Instance else UNBOUND
    if method is UNBOUND:
        raise TypeError(message)
    return _invoke(method, value, *args)


@may_raise(TypeError, ValueError, OverflowError)
def round_(m, value, ndigits=None):
    ndigits = operators.plain(ndigits)
    if type(value) in NUMBERS and (ndigits is None or type(ndigits) is int):
        if ndigits is not None and abs(ndigits) > 400:
            ndigits = 400 if ndigits > 0 else -400
        operators.checked(m, value)
        return round(value, ndigits)
    if operators.plain(value) is not value and value.cls.lookup("__round__") is UNBOUND:
        return round_(m, operators.plain(value), ndigits)
    message = f"type {type_name(value)} doesn't define __round__ method"
    return _dunder(value, "__round__", message, *(() if ndigits is None else (ndigits,)))


def divmod_(m, a, b):
    if type(a) in NUMBERS and type(b) in NUMBERS:
        return (operators.floor_divide(m, a, b), operators.modulo(m, a, b))
    for owner, other, name in ((a, b, "__divmod__"), (b, a, "__rdivmod__")):
        if type(owner) is Instance and owner.cls.lookup(name) is not UNBOUND:
            return _invoke(owner.cls.lookup(name), owner, other)
    if operators.plain(a) is not a or operators.plain(b) is not b:
        return divmod_(m, operators.plain(a), operators.plain(b))
    raise TypeError(f"unsupported operand type(s) for divmod(): '{type_name(a)}' and '{type_name(b)}'")


@may_raise(ValueError, ZeroDivisionError, OverflowError)
def pow_(m, base, exp, mod=None):
    if mod is None:
        return operators.power(m, base, exp)
    if not all(type(x) in (int, bool) for x in (base, exp, mod)):
        raise TypeError("pow() 3rd argument not allowed unless all arguments are integers")
    bits = max(int(x).bit_length() for x in (base, exp, mod))
    m.charge((bits >> 6) ** 3 + bits)
    return pow(base, exp, mod)


def sum_(m, iterable, start=0):
    if type(start) is str:
        raise TypeError("sum() can't sum strings [use ''.join(seq) instead]")
    iterator = yield from iterate(m, iterable)
    total = start
    floats = _FloatSum()
    while True:
        value = yield from pull(m, iterator)
        if value is EXHAUSTED:
            return floats.result(total) if floats.used else total
        if type(value) is float and type(total) is float:
            floats.add(total if not floats.used else None, value)
            total = floats.total
        else:
            total = operators.add(m, floats.settle(total), value)
            if hasattr(total, "send"):
                total = yield from total


class _FloatSum:
    """Compensated summation, as Python 3.12 adds floats whatever the host's version."""

    holds = ()

    def __init__(self):
        self.used = False
        self.total = self.rest = 0.0

    def add(self, start: float | None, value: float):
        if start is not None:
            self.total, self.used = start, True
        new = self.total + value
        if abs(self.total) >= abs(value):
            self.rest += (self.total - new) + value
        else:
            self.rest += (value - new) + self.total
        self.total = new

    def settle(self, total):
        if self.used:
            total = self.result(total)
            self.used, self.rest = False, 0.0
        return total

    def result(self, total):
        finite = self.rest and abs(self.rest) != float("inf") and self.rest == self.rest
        return total + self.rest if finite else total


def min_(m, *args, key=None, default=UNBOUND):
    return best(m, args, key, default, symbol="<", name="min")


def max_(m, *args, key=None, default=UNBOUND):
    return best(m, args, key, default, symbol=">", name="max")


def sorted_(m, iterable, *, key=None, reverse=False):
    items = yield from take_all(m, iterable)
    return (yield from sort(m, items, key, reverse))


def any_(m, iterable):
    iterator = yield from iterate(m, iterable)
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        if (yield from truth(m, value)):
            return True
    return False


def all_(m, iterable):
    iterator = yield from iterate(m, iterable)
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        if not (yield from truth(m, value)):
            return False
    return True


def truth(m, value):
    """`bool(value)`."""
    if type(value) is Instance:
        for name in ("__bool__", "__len__"):
            method = value.cls.lookup(name)
            if method is not UNBOUND:
                return bool((yield Invoke(method, (value,))))
    return bool(operators.plain(value))


def enumerate_(m, iterable, start=0):
    start = operators.plain(start)
    if type(start) not in (int, bool):
        raise TypeError(f"'{type_name(start)}' object cannot be interpreted as an integer")
    small_int(start)
    if type(iterable) in SIZED:
        return HostIterator(enumerate(host_iterator(iterable), start), "enumerate")
    return lazy(m, _enumerate(m, iterable, start), "enumerate")


def _enumerate(m, iterable, index):
    iterator = yield from iterate(m, iterable)
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        m.allocate(100)
        yield Emit((index, value))
        index += 1


def zip_(m, *iterables, strict=False):
    return lazy(m, _zip(m, iterables, strict), "zip")


def _zip(m, iterables, strict):
    iterators = []
    for iterable in iterables:
        iterators.append((yield from iterate(m, iterable)))
    while iterators:
        row = []
        for index, iterator in enumerate(iterators):
            value = yield from pull(m, iterator)
            if value is EXHAUSTED:
                if strict:
                    yield from _strict(m, index, iterators)
                return
            row.append(value)
        m.allocate(64 + 8 * len(row))
        yield Emit(tuple(row))


def _strict(m, index: int, iterators):
    if index:
        before = "argument 1" if index == 1 else f"arguments 1-{index}"
        raise ValueError(f"zip() argument {index + 1} is shorter than {before}")
    for other, iterator in enumerate(iterators[1:], 2):
        if (yield from pull(m, iterator)) is not EXHAUSTED:
            before = "argument 1" if other == 2 else f"arguments 1-{other - 1}"
            raise ValueError(f"zip() argument {other} is longer than {before}")


def map_(m, function, *iterables):
    return lazy(m, _map(m, function, iterables), "map")


def _map(m, function, iterables):
    iterators = []
    for iterable in iterables:
        iterators.append((yield from iterate(m, iterable)))
    while True:
        args = []
        for iterator in iterators:
            value = yield from pull(m, iterator)
            if value is EXHAUSTED:
                return
            args.append(value)
        yield Emit((yield Invoke(function, tuple(args))))


def filter_(m, function, iterable):
    return lazy(m, _filter(m, function, iterable), "filter")


def _filter(m, function, iterable):
    iterator = yield from iterate(m, iterable)
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        kept = value if function is None else (yield Invoke(function, (value,)))
        if (yield from truth(m, kept)):
            yield Emit(value)


def reversed_(m, value):
    if type(value) is Instance:
        return _reversed(m, value)
    if type(value) in SIZED and type_name(value) != "set":
        m.need_items(size(value))
        if type(value) is str and not value.isascii():
            m.allocate(80 * len(value))
        items = list(host_iterator(value))
        return HostIterator(reversed(items), "reversed")
    raise TypeError(f"'{type_name(value)}' object is not reversible")


def _reversed(m, value):
    method = value.cls.lookup("__reversed__")
    if method is not UNBOUND:
        return (yield Invoke(method, (value,)))
    items = yield from take_all(m, value)
    return HostIterator(reversed(items), "reversed")


def iter_(m, value, sentinel=UNBOUND):
    if sentinel is not UNBOUND:
        return lazy(m, _until(m, value, sentinel), "callable_iterator")
    if type(value) is HostIterator or type(value) is Generator:
        return value
    source = host_iterator(value)
    if source is not None:
        return HostIterator(source, f"{type_name(value)}_iterator")
    return _iterator(m, value)


def _iterator(m, value):
    iterator = yield from iterate(m, value)
    return iterator if type(iterator) is Generator else HostIterator(iterator, f"{type_name(value)}_iterator")


def _until(m, function, sentinel):
    while True:
        value = yield Invoke(function)
        if (yield from comparison.equal(m, value, sentinel)):
            return
        yield Emit(value)


def next_(m, iterator, default=UNBOUND):
    if type(iterator) is Instance:
        method = iterator.cls.lookup("__next__")
        if method is UNBOUND:
            raise TypeError(f"'{type_name(iterator)}' object is not an iterator")
        try:
            return (yield Invoke(method, (iterator,)))
        except Raised as error:
            if default is UNBOUND or exceptions.EXCEPTIONS["StopIteration"] not in error.value.cls.mro:
                raise
            return default
    if type(iterator) not in (HostIterator, Generator):
        raise TypeError(f"'{type_name(iterator)}' object is not an iterator")
    value = yield from pull(m, iterator if type(iterator) is Generator else iterator.source)
    if value is EXHAUSTED:
        if default is UNBOUND:
            raise Raised(stop_iteration(iterator))
        return default
    return value


def repr_(m, value):
    return formatting.to_repr(m, value)


def ascii_(m, value):
    return formatting.ascii_of(m, (yield from formatting.to_repr(m, value)))


def hash_(m, value):
    return keys.hash_(m, value)


def format_(m, value, spec=""):
    return formatting.formatted(m, value, spec)


@may_raise(TypeError)
def ord_(m, char):
    char = operators.plain(char)
    if type(char) is not str:
        raise TypeError(f"ord() expected string of length 1, but {type_name(char)} found")
    return ord(char)


@may_raise(TypeError, ValueError, OverflowError)
def chr_(m, code):
    return chr(operators.plain(code))


def bin_(m, value):
    return _digits(m, value, bin)


def oct_(m, value):
    return _digits(m, value, oct)


def hex_(m, value):
    return _digits(m, value, hex)


def _digits(m, value, host):
    value = operators.plain(value)
    if type(value) not in (int, bool):
        raise TypeError(f"'{type_name(value)}' object cannot be interpreted as an integer")
    m.need_string(value.bit_length() + 4)
    return host(value)


def isinstance_(m, value, wanted):
    return attributes.is_instance(m, value, wanted)


def issubclass_(m, cls, wanted):
    return attributes.is_subclass(m, cls, wanted)


def callable_(m, value):
    if type(value) is Instance:
        return value.cls.lookup("__call__") is not UNBOUND
    return type(value) in (Function, Native, BoundMethod, BuiltinType, Class)


def getattr_(m, owner, name, default=UNBOUND):
    try:
        return (yield Invoke(attributes.LOAD, (owner, name)))
    except Raised as error:
        if default is UNBOUND or exceptions.EXCEPTIONS["AttributeError"] not in error.value.cls.mro:
            raise
        return default


def hasattr_(m, owner, name):
    missing = object()
    return (yield from getattr_(m, owner, name, missing)) is not missing


def setattr_(m, owner, name, value):
    running = attributes.store(m, owner, attributes.dynamic_name(m, name), value)
    if running is not None:
        yield from running


def delattr_(m, owner, name):
    running = attributes.delete(m, owner, attributes.dynamic_name(m, name))
    if running is not None:
        yield from running


def vars_(m, owner):
    if type(owner) not in (Instance, Class):
        raise TypeError("vars() argument must have __dict__ attribute")
    return attributes.load(m, owner, "__dict__")


def anext_(m, iterator, default=UNBOUND):
    """What `await anext(iterator)` waits for: the next value of an asynchronous iterator."""
    return coroutine(m, await_next(m, iterator, default))


def await_next(m, iterator, default):
    value = yield from next_async(m, iterator)
    if value is not EXHAUSTED:
        return value
    if default is UNBOUND:
        raise Raised(exceptions.make("StopAsyncIteration"))
    return default


def super_(m, cls=None, owner=None):
    if type(cls) is not Class or type(owner) not in (Instance, Class):
        raise TypeError("super(): bad arguments")
    return Super(cls, owner)


def property_(m, fget=None, fset=None, fdel=None, doc=None):
    return Wrapper("property", fget, fset, fdel, doc)


def staticmethod_(m, function):
    return Wrapper("staticmethod", function)


def classmethod_(m, function):
    return Wrapper("classmethod", function)


def refuse_(name: str):
    """A built-in that designs cannot have; calling it says so."""

    def refused(m, *args, **kwargs):
        raise Raised(exceptions.make("RuntimeError", f"{name}() is not available to a design"))

    return refused


def exit_(m, code=None):
    raise Raised(exceptions.make("SystemExit", *(() if code is None else (code,))))


# Methods of properties

WRAPPER = {
    "getter": lambda m, owner, fn: Wrapper(owner.kind, fn, owner.setter, owner.deleter, owner.doc),
    "setter": lambda m, owner, fn: Wrapper(owner.kind, owner.function, fn, owner.deleter, owner.doc),
    "deleter": lambda m, owner, fn: Wrapper(owner.kind, owner.function, owner.setter, fn, owner.doc),
}
FUNCTIONS = {
    "print": print_, "len": len_, "abs": abs_, "round": round_, "divmod": divmod_, "pow": pow_, "sum": sum_,
    "min": min_, "max": max_, "sorted": sorted_, "any": any_, "all": all_, "enumerate": enumerate_, "zip": zip_,
    "map": map_,
    "filter": filter_, "reversed": reversed_, "iter": iter_, "next": next_, "repr": repr_, "ascii": ascii_,
    "format": format_, "ord": ord_, "chr": chr_, "bin": bin_, "oct": oct_, "hex": hex_, "isinstance": isinstance_,
    "issubclass": issubclass_, "callable": callable_, "getattr": getattr_, "hasattr": hasattr_, "setattr": setattr_,
    "delattr": delattr_,
    "vars": vars_, "super": super_, "property": property_, "staticmethod": staticmethod_, "classmethod": classmethod_,
    "exit": exit_, "quit": exit_, "hash": hash_, "anext": anext_,
}  # fmt: skip
REFUSED = ["input", "open", "eval", "exec", "compile", "globals", "locals", "dir", "id", "breakpoint", "memoryview"]

BUILTINS = {
    **{name: Native(name, fn) for name, fn in FUNCTIONS.items()},
    **{name: Native(name, refuse_(name)) for name in REFUSED},
    **TYPES,
    **exceptions.EXCEPTIONS,
    "NotImplemented": NOT_IMPLEMENTED,
    "Ellipsis": ELLIPSIS,
}
