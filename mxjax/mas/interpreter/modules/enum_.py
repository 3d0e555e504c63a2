"""`enum` and `typing.NamedTuple`: classes whose making gives their members a meaning."""

from __future__ import annotations

from mxjax.mas.interpreter import operators, text
from mxjax.mas.interpreter.frames import Invoke
from mxjax.mas.interpreter.modules.collections_ import record_class
from mxjax.mas.interpreter.values import (
    UNBOUND,
    Class,
    Function,
    Instance,
    Native,
    Wrapper,
)


class Auto:
    """The value of a member whose number is to be chosen."""

    __slots__ = ()
    type_name = "auto"


def auto(m):
    return Auto()


def made(m, cls: Class):
    """Turns the plain attributes of an enum class into its members."""
    members: dict[str, Instance] = {}
    last = 0
    as_text = STR_ENUM in cls.mro
    for name, value in list(cls.members.items()):
        if name.startswith("_") or type(value) in (Function, Native, Wrapper):
            continue
        if type(value) is Auto:
            value = name.lower() if as_text else last + 1
        last = value if type(value) is int else last
        same = None
        for other in members.values():
            if (yield from operators.equal(m, other.fields["value"], value)):
                same = other
        member = same or Instance(cls, {"name": name, "value": value})
        if same is None and cls.lookup("__init__") is not UNBOUND:
            yield Invoke(cls.lookup("__init__"), (member, *value) if type(value) is tuple else (member, value))
        members[name] = cls.members[name] = member
    if members:
        cls.members["__members__"] = members
    return cls


def by_value(m, cls: Class, value=UNBOUND, *more):
    """`Color(1)`: the member of that value."""
    for member in cls.members.get("__members__", {}).values():
        if member is value or (yield from operators.equal(m, member.fields["value"], value)):
            return member
    raise ValueError(f"{(yield from text.to_repr(m, value))} is not a valid {cls.name}")


def show(m, self):
    value = yield from text.to_repr(m, self.fields.get("value"))
    return f"<{self.cls.name}.{self.fields.get('name')}: {value}>"


def label(m, self):
    return f"{self.cls.name}.{self.fields.get('name')}"


def value_text(m, self):
    return text.to_str(m, self.fields.get("value"))


def _class(name: str, base: Class | None, methods: dict) -> Class:
    return Class(name, (base,) if base else (), {key: Native(key, fn) for key, fn in methods.items()}, shared=True)


ENUM = _class(
    "Enum",
    None,
    {
        "__class_made__": made,
        "__class_call__": by_value,
        "__repr__": show,
        "__str__": label,
    },
)
_AS_VALUE = {
    "__str__": value_text,
    "__format__": lambda m, self, spec: text.formatted(m, self.fields["value"], spec),
}
INT_ENUM = _class("IntEnum", ENUM, _AS_VALUE)
STR_ENUM = _class("StrEnum", ENUM, _AS_VALUE)
for _mixed in (INT_ENUM, STR_ENUM):
    _mixed.plain = _mixed.key = "value"


def unique(m, cls):
    return cls


FUNCTIONS = {"auto": auto, "unique": unique}
CONSTANTS = {"Enum": ENUM, "IntEnum": INT_ENUM, "StrEnum": STR_ENUM}


def made_tuple(m, cls: Class):
    """`class P(NamedTuple)`: a record class with the annotated fields, and the methods of the body."""
    names = tuple(cls.members.get("__annotations__", {}))
    defaults = tuple(cls.members[name] for name in names if name in cls.members)
    record = record_class(cls.name, names, defaults)
    own = {key: value for key, value in cls.members.items() if key not in names and key != "__annotations__"}
    return Class(cls.name, (record,), own)


NAMED_TUPLE = Class("NamedTuple", (), {"__class_made__": Native("__class_made__", made_tuple)}, shared=True)
