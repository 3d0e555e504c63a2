"""The built-in types, as constructors and for `isinstance`.

These are `int`, `str`, `list` and so on.
"""

from __future__ import annotations

from collections import deque

from mxjax.script import classes, formatting, keys
from mxjax.script.exceptions import binds_arguments, may_raise
from mxjax.script.frames import Invoke
from mxjax.script.iteration import iterate, pull, take_all
from mxjax.script.values import (
    EXHAUSTED,
    OBJECT,
    UNBOUND,
    BoundMethod,
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    Function,
    Instance,
    Module,
    Native,
    Set,
    Slice,
    View,
    plain,
    type_name,
)


@may_raise(TypeError, ValueError, OverflowError)
def make_int(m, value=0, base=UNBOUND):
    kind = type(value)
    if kind is int or kind is bool or kind is float:
        if base is not UNBOUND:
            raise TypeError("int() can't convert non-string with explicit base")
        return int(value)
    if kind is str:
        base = 10 if base is UNBOUND else base
        digits = len(value.strip())
        if base not in (2, 4, 8, 16, 32):
            m.charge(digits * digits >> 12)
            if digits > 4300 and sum(char.isdigit() for char in value) > 4300:
                raise ValueError("Exceeds the limit (4300 digits) for integer string conversion")
        m.need_int(digits * 5 if digits > 12 else 64)
        return int(value, base)
    if kind is Instance:
        if plain(value) is not value:
            return make_int(m, plain(value), base)
        return _converted(value, ("__int__", "__index__"), "int() argument must be a string or a real number")
    raise TypeError(f"int() argument must be a string, a bytes-like object or a real number, not '{type_name(value)}'")


def _converted(value: Instance, names, message: str):
    for name in names:
        method = value.cls.lookup(name)
        if method is not UNBOUND:
            return (yield Invoke(method, (value,)))
    raise TypeError(f"{message}, not '{value.cls.name}'")


@may_raise(ValueError, OverflowError)
def make_float(m, value=0.0):
    kind = type(value)
    if kind in (int, bool, float):
        return float(value)
    if kind is str:
        m.charge(len(value) >> 4)
        return float(value)
    if kind is Instance:
        if plain(value) is not value:
            return make_float(m, plain(value))
        return _converted(value, ("__float__",), "float() argument must be a string or a real number")
    raise TypeError(f"float() argument must be a string or a real number, not '{type_name(value)}'")


def make_str(m, value=""):
    return value if type(value) is str else formatting.to_str(m, value)


def make_bool(m, value=False):
    if type(value) is not Instance:
        return bool(value)
    return _truth(value)


def _truth(value: Instance):
    for name in ("__bool__", "__len__"):
        method = value.cls.lookup(name)
        if method is not UNBOUND:
            return bool((yield Invoke(method, (value,))))
    return bool(plain(value))


def make_list(m, iterable=()):
    return take_all(m, iterable)


def make_tuple(m, iterable=()):
    return tuple((yield from take_all(m, iterable)))


def make_set(m, iterable=()):
    return _set(m, iterable, False)


def make_frozenset(m, iterable=()):
    return _set(m, iterable, True)


def _set(m, iterable, frozen: bool):
    items = yield from take_all(m, iterable)
    m.allocate(100 * len(items))
    made = Set((), frozen)
    yield from keys.put(m, made.items, [(item, None) for item in items])
    return made


def make_dict(m, source=(), **kwargs):
    result: dict = {}
    yield from update_dict(m, result, source, kwargs)
    return result


def update_dict(m, target: dict, source, kwargs: dict):
    """`target.update(source, **kwargs)`."""
    source = plain(source) if isinstance(plain(source), dict) else source
    if isinstance(source, dict):
        m.need_entries(len(target) + len(source))
        if keys.hash_again(m, source):
            yield from keys.put(m, target, list(source.items()))
        else:
            target.update(source)
    elif type(source) is Instance and source.cls.lookup("keys") is not UNBOUND:
        names = yield Invoke(source.cls.lookup("keys"), (source,))
        for key in (yield from take_all(m, names)):
            value = yield Invoke(source.cls.lookup("__getitem__"), (source, key))
            m.allocate(140)
            yield from keys.put(m, target, ((key, value),))
    else:
        iterator = yield from iterate(m, source)
        while (pair := (yield from pull(m, iterator))) is not EXHAUSTED:
            items = yield from take_all(m, pair)
            if len(items) != 2:
                raise ValueError(f"dictionary update sequence element has length {len(items)}; 2 is required")
            m.allocate(140)
            yield from keys.put(m, target, (items,))
    target.update(kwargs)


@may_raise(TypeError, ValueError)
def make_range(m, *args):
    bounds = tuple(map(plain, args))
    for value in bounds:
        if type(value) not in (int, bool):
            raise TypeError(f"'{type_name(value)}' object cannot be interpreted as an integer")
        small_int(value)
    return range(*bounds)


def small_int(value: int):
    """Refuse numbers that are too large to count with.

    The host makes each next number without accounting for it.
    """
    if value.bit_length() > COUNTED_BITS:
        raise OverflowError(f"counting with integers of more than {COUNTED_BITS} bits is not available to a design")


@may_raise(TypeError)
def make_slice(m, *args):
    parts = slice(*args)
    return Slice((parts.start, parts.stop, parts.step))


@binds_arguments
def make_type(m, value, *more):
    if more:
        return classes.make_type(m, value, *more)
    if type(value) is Instance:
        return value.cls
    if type(value) is Class and value.meta is not None:
        return value.meta
    name = type_name(value)
    if name in TYPES:
        return TYPES[name]
    return m.imported.setdefault(f"type {name}", BuiltinType(name, (type(value),), make_nothing))


def make_object(m):
    return Instance(OBJECT, {})


def make_nothing(m, *args, **kwargs):
    raise TypeError("this type makes no instances")


def fromkeys(m, iterable, value=None):
    """`dict.fromkeys`."""
    items = yield from take_all(m, iterable)
    m.allocate(100 * len(items))
    made: dict = {}
    yield from keys.put(m, made, [(item, value) for item in items])
    return made


@may_raise(TypeError, ValueError)
def maketrans(m, source, target=None, drop=""):
    """`str.maketrans`."""
    m.need_entries(len(source) + (len(drop) if type(drop) is str else 0))
    if target is None:
        return str.maketrans(source)
    return str.maketrans(source, target, drop)


COUNTED_BITS = 256
TYPES: dict[str, BuiltinType | Class] = {
    kind.name: kind
    for kind in (
        BuiltinType("int", (int,), make_int),
        BuiltinType("float", (float,), make_float),
        BuiltinType("str", (str,), make_str, {"maketrans": Native("maketrans", maketrans)}),
        BuiltinType("bool", (bool,), make_bool),
        BuiltinType("list", (list,), make_list),
        BuiltinType("tuple", (tuple,), make_tuple),
        BuiltinType("set", (Set,), make_set),
        BuiltinType("frozenset", (Set,), make_frozenset),
        BuiltinType("dict", (dict,), make_dict, {"fromkeys": Native("fromkeys", fromkeys)}),
        BuiltinType("range", (range,), make_range),
        BuiltinType("slice", (Slice,), make_slice),
        BuiltinType("type", (BuiltinType, Class), make_type),
        BuiltinType("NoneType", (type(None),), make_nothing),
        BuiltinType("function", (Function,), make_nothing),
        BuiltinType("method", (BoundMethod,), make_nothing),
        BuiltinType("module", (Module,), make_nothing),
        BuiltinType("deque", (deque,), make_nothing),
        BuiltinType("defaultdict", (DefaultDict,), make_nothing),
        BuiltinType("Counter", (CounterDict,), make_nothing),
        BuiltinType("dict_keys", (View,), make_nothing),
        BuiltinType("bytes", (bytes,), make_nothing),  # see `modules.hashlib_`
        BuiltinType("complex", (), make_nothing),
    )
}
TYPES["object"] = OBJECT
