"""`collections`: Counter, defaultdict, deque, OrderedDict and namedtuple."""

from __future__ import annotations

import sys
from collections import deque

from mxjax.script.attributes import dynamic_name, store_plain
from mxjax.script.containers import DEQUE_BYTES, make_counter, make_default_dict
from mxjax.script.formatting import to_repr
from mxjax.script.frames import Invoke
from mxjax.script.iteration import take_all
from mxjax.script.types import TYPES as BUILTIN
from mxjax.script.values import (
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    HostIterator,
    Native,
    Wrapper,
    brief,
    class_methods,
)

MOST_FIELDS = 255  # so that what is done with a whole record counts as one step


def make_deque(m, iterable=(), maxlen=None):
    if maxlen is not None and (type(maxlen) is not int or maxlen < 0):
        raise (ValueError if type(maxlen) is int else TypeError)("maxlen must be a non-negative integer")
    m.allocate(DEQUE_BYTES)
    items = yield from take_all(m, iterable)
    return deque(items, maxlen if maxlen is None else min(maxlen, sys.maxsize))


def namedtuple(m, name, fields, *, defaults=()):
    """A class of tuples with the given field names."""
    if type(fields) is str:
        m.need_items(len(fields) // 2 + 1)
        fields = fields.replace(",", " ").split()
    names = yield from take_all(m, fields)
    if len(names) > MOST_FIELDS:
        raise ValueError(f"a namedtuple has at most {MOST_FIELDS} fields here, not {len(names)}")
    for field in (name, *names):
        m.charge(1)
        valid = type(field) is str and len(field) <= 200 and field.isidentifier()
        if not valid or (field.startswith("_") and field is not name):
            raise ValueError(f"Type names and field names must be valid identifiers: '{brief(field)}'")
    if len(set(names)) != len(names):
        raise ValueError("Encountered duplicate field name")
    defaults = tuple((yield from take_all(m, defaults)))
    m.allocate(4000)
    return record_class(name, tuple(names), defaults)


def record_class(name: str, names: tuple[str, ...], defaults: tuple) -> Class:
    """The class that `namedtuple` returns."""
    spare = dict(zip(names[len(names) - len(defaults) :], defaults))

    def init(m, owner, *args, **kwargs):
        if len(args) > len(names):
            raise TypeError(f"{name}() takes {len(names)} positional arguments but {len(args)} were given")
        m.allocate(100 * len(names))
        values = dict(zip(names, args)) | kwargs
        for field in names:
            if field not in values and field not in spare:
                raise TypeError(f"{name}() missing required argument: '{field}'")
            owner.fields[field] = values.pop(field, spare.get(field))
        if values:
            raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(values))}'")

    def show(m, owner):
        parts = []
        for field in names:
            parts.append(f"{field}={(yield from to_repr(m, owner.fields[field]))}")
        m.need_string(sum(map(len, parts)) + 2 * len(parts), all(map(str.isascii, parts)))
        return f"{owner.cls.name}({', '.join(parts)})"

    def as_dict(m, owner):
        m.need_entries(len(names))
        return dict(zip(names, owner.part(names)))

    def replaced(m, owner, **kwargs):
        m.need_entries(len(names))
        return (yield Invoke(owner.cls, (), {**dict(zip(names, owner.part(names))), **kwargs}))

    def of_iterable(m, owner, iterable):
        return (yield Invoke(owner, tuple((yield from take_all(m, iterable)))))

    def store(m, owner, field, value):
        field = dynamic_name(m, field)
        if field in names:
            raise AttributeError("can't set attribute")
        store_plain(m, owner, field, value)

    methods = {
        "__init__": init,
        "__setattr__": store,
        "__iter__": lambda m, owner: HostIterator(iter(owner.part(names)), "tuple_iterator"),
        "__len__": lambda m, owner: len(names),
        "__repr__": show,
        "_asdict": as_dict,
        "_replace": replaced,
    }
    cls = Class(
        name,
        (),
        {
            **class_methods(methods),
            "_fields": names,
            "_field_defaults": spare,
            "_make": Wrapper("classmethod", Native("_make", of_iterable)),
            "__match_args__": names,
        },
    )
    cls.plain = cls.key = names
    return cls


FUNCTIONS = {"namedtuple": namedtuple}
TYPES = {
    "Counter": BuiltinType("Counter", (CounterDict,), make_counter),
    "defaultdict": BuiltinType("defaultdict", (DefaultDict,), make_default_dict),
    "deque": BuiltinType("deque", (deque,), make_deque),
    "OrderedDict": BUILTIN["dict"],
}
BUILTIN.update({name: TYPES[name] for name in ("Counter", "defaultdict", "deque")})
