"""`enum` and `typing.NamedTuple`: classes whose making gives their members a meaning."""

from __future__ import annotations

from mxjax.script import comparison, formatting, operators
from mxjax.script.classes import Draft, finish_class
from mxjax.script.exceptions import binds_arguments
from mxjax.script.frames import Invoke
from mxjax.script.iteration import take_all
from mxjax.script.modules.collections_ import record_class
from mxjax.script.values import (
    NOT_IMPLEMENTED,
    UNBOUND,
    Class,
    Function,
    HostIterator,
    Instance,
    Native,
    Wrapper,
    brief,
    class_methods,
    type_name,
)


def auto(m):
    m.allocate(200)
    return Instance(AUTO, {})


def _either(operator):
    """`A | B` in a flag class body, before numbers are assigned."""
    return lambda m, self, other: Instance(AUTO, {"parts": (operator, self, other)})


AUTO = Class(
    "auto",
    (),
    {
        f"__{name}__": Native(name, _either(function))
        for name, function in (("or", operators.or_), ("and", operators.and_))
    },
    shared=True,
)


def made(m, cls: Class):
    """Turn the plain attributes of an enum class into its members."""
    members: dict[str, Instance] = {}
    numbers: dict[int, object] = {}  # those chosen for `auto()`, by its identity
    values: list = []
    for name, value in list(cls.members.items()):
        if name.startswith("_") or type(value) in (Function, Native, Wrapper):
            continue
        if type(value) is Instance and value.cls is AUTO:
            key, value = id(value), (yield from _number(m, cls, name, value, values, numbers))
            numbers[key] = value
        values.append(value)
        same = None
        m.allocate(400)
        m.charge(len(members))
        for other in members.values():
            if (yield from comparison.equal(m, other.fields["value"], value)):
                same = other
        member = same or Instance(cls, {"name": name, "value": value})
        if same is None and cls.lookup("__init__") is not UNBOUND:
            yield Invoke(cls.lookup("__init__"), (member, *value) if type(value) is tuple else (member, value))
        members[name] = cls.members[name] = member
    if members:
        cls.members["__members__"] = members
    return cls


def _number(m, cls: Class, name: str, value: Instance, values: list, numbers: dict):
    """The value of a member that is or combines `auto()`."""
    if "parts" in value.fields:
        operator, *parts = value.fields["parts"]
        found = []
        for part in parts:
            is_auto = type(part) is Instance and part.cls is AUTO
            if is_auto and id(part) not in numbers:
                part = yield from _number(m, cls, name, part, values, numbers)
            found.append(numbers[id(part)] if is_auto and id(part) in numbers else part)
        return operator(m, *found)
    own = cls.lookup("_generate_next_value_")
    if own is not UNBOUND:
        own = own.function if type(own) is Wrapper else own
        return (yield Invoke(own, (name, 1, len(values), list(values))))
    if STR_ENUM in cls.mro:
        return name.lower()
    last = max((number for number in values if type(number) is int), default=0)
    if FLAG in cls.mro:
        m.need_int(last.bit_length() + 1)
        return 1 << last.bit_length()
    return last + 1


@binds_arguments
def by_value(m, cls: Class, value=UNBOUND, *more, **options):
    """`Color(1)`: the member of that value."""
    if cls.shared:
        return (yield from _from_names(m, cls, value, *more, **options))
    found = yield from _member(m, cls, value)
    if found is None and (hook := cls.lookup("_missing_")) is not UNBOUND:
        found = yield Invoke(hook.function if type(hook) is Wrapper else hook, (cls, value))
    if found is None:
        raise ValueError(f"{(yield from formatting.to_repr(m, value))} is not a valid {cls.qualname}")
    return found


def _member(m, cls: Class, value):
    for member in cls.members.get("__members__", {}).values():
        if member is value or (yield from comparison.equal(m, member.fields["value"], value)):
            return member
    if FLAG in cls.mro and type(value) in (int, bool) and 0 <= value <= _mask(m, cls):
        return flags_of(m, cls, int(value))
    return None


def _from_names(m, cls: Class, name=UNBOUND, names=(), **options):
    """`Enum("Color", "RED GREEN")`: a new class with these members."""
    if type(name) is not str:
        raise TypeError(f"{cls.name} needs the name of a new class")
    if type(names) is str:
        m.need_items(len(names) // 2 + 1)
        names = names.replace(",", " ").split()
    if isinstance(names, dict):
        m.need_entries(len(names))
    pairs = list(names.items()) if isinstance(names, dict) else (yield from take_all(m, names))
    body: dict = {}
    m.need_entries(len(pairs))
    for index, pair in enumerate(pairs):
        if FLAG in cls.mro:
            m.need_int(index + 1)
        key, value = pair if type(pair) is tuple and len(pair) == 2 else (pair, UNBOUND)
        m.charge(len(key) >> 4 if type(key) is str else 0)
        if type(key) is not str or not key.isidentifier() or key.startswith("__"):
            raise ValueError(f"not the name of a member: {brief(key)}")
        start = 1 << index if FLAG in cls.mro else index + 1
        body[key] = (key.lower() if STR_ENUM in cls.mro else start) if value is UNBOUND else value
    return (yield from finish_class(m, Draft(name, name, [cls], body, {})))


# Flags


def _mask(m, cls: Class) -> int:
    """All the bits that the members of a class of flags have."""
    mask = 0
    m.charge(len(cls.members))
    for member in cls.members.get("__members__", {}).values():
        if type(member.fields["value"]) is int:
            mask |= member.fields["value"]
    return mask


def flags_of(m, cls: Class, value: int) -> Instance:
    """The member of a flag class with exactly these bits.

    A combination of several is made at its first use.
    """
    m.charge(len(cls.members))
    for member in cls.members.get("__members__", {}).values():
        if member.fields["value"] == value:
            return member
    made = cls.members.setdefault(_COMBINED, {})
    if value not in made:
        m.allocate(400)
        m.need_items(len(made) + 1) if len(made) >= m.limits.items else None
        names = [single.fields["name"] for single in _singles(m, cls, value)]
        made[value] = Instance(cls, {"name": "|".join(names) or None, "value": value})
    return made[value]


_COMBINED = "(combined)"


def _singles(m, cls: Class, value: int) -> list[Instance]:
    """The members of one bit each that a value has."""
    members = cls.members.get("__members__", {})
    m.charge(len(members))
    bits = [(member, member.fields["value"]) for member in dict.fromkeys(members.values())]
    return [member for member, bit in bits if type(bit) is int and bit.bit_count() == 1 and bit & value]


def _combine(operator, symbol: str):
    def combined(m, self, other):
        theirs = other.fields.get("value") if type(other) is Instance and other.cls is self.cls else other
        mine = self.fields.get("value")
        if type(mine) is not int or type(theirs) is not int or (theirs is other and INT_FLAG not in self.cls.mro):
            return NOT_IMPLEMENTED
        value = operator(mine, theirs)
        return flags_of(m, self.cls, value) if 0 <= value <= _mask(m, self.cls) else value

    return Native(symbol, combined, method=True)


def _rest(m, self):
    return flags_of(m, self.cls, _mask(m, self.cls) & ~self.fields["value"])


def _has_flags(m, self, other):
    if type(other) is not Instance or other.cls is not self.cls:
        raise TypeError(f"unsupported operand type(s) for 'in': '{type_name(other)}' and '{self.cls.name}'")
    return self.fields["value"] & other.fields["value"] == other.fields["value"]


def _show_flags(m, self):
    name, value = self.fields.get("name"), self.fields.get("value")
    return f"<{self.cls.name}.{name}: {value}>" if name else f"<{self.cls.name}: {value}>"


def _flag_label(m, self):
    name = self.fields.get("name")
    return f"{self.cls.name}.{name}" if name else f"{self.cls.name}({self.fields.get('value')})"


def show(m, self):
    value = yield from formatting.to_repr(m, self.fields.get("value"))
    return f"<{self.cls.name}.{self.fields.get('name')}: {value}>"


def label(m, self):
    return f"{self.cls.name}.{self.fields.get('name')}"


def value_text(m, self):
    return formatting.to_str(m, self.fields.get("value"))


def _class(name: str, base: Class | None, methods: dict) -> Class:
    return Class(name, (base,) if base else (), class_methods(methods), shared=True)


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
    "__format__": lambda m, self, spec: formatting.formatted(m, self.fields["value"], spec),
}
INT_ENUM = _class("IntEnum", ENUM, _AS_VALUE)
STR_ENUM = _class("StrEnum", ENUM, _AS_VALUE)
FLAG = _class(
    "Flag",
    ENUM,
    {
        "__invert__": _rest,
        "__contains__": _has_flags,
        "__iter__": lambda m, self: HostIterator(iter(_singles(m, self.cls, self.fields["value"])), "iterator"),
        "__len__": lambda m, self: self.fields["value"].bit_count(),
        "__bool__": lambda m, self: bool(self.fields["value"]),
        "__repr__": _show_flags,
        "__str__": _flag_label,
    },
)
for _name, _operator in (("or", int.__or__), ("and", int.__and__), ("xor", int.__xor__)):
    FLAG.members[f"__{_name}__"] = FLAG.members[f"__r{_name}__"] = _combine(_operator, _name)
INT_FLAG = _class("IntFlag", FLAG, _AS_VALUE)
for _mixed in (INT_ENUM, STR_ENUM, INT_FLAG):
    _mixed.plain = _mixed.key = "value"


def unique(m, cls):
    """Refuse an enum in which two names have one value."""
    members = cls.members.get("__members__", {}) if type(cls) is Class else {}
    m.charge(len(members))
    double = [f"{name} -> {member.fields['name']}" for name, member in members.items() if member.fields["name"] != name]
    if double:
        raise ValueError(f"duplicate values found in <enum '{cls.name}'>: {', '.join(double)[:300]}")
    return cls


FUNCTIONS = {"auto": auto, "unique": unique}
CONSTANTS = {"Enum": ENUM, "IntEnum": INT_ENUM, "StrEnum": STR_ENUM, "Flag": FLAG, "IntFlag": INT_FLAG}


def made_tuple(m, cls: Class):
    """`class P(NamedTuple)`: a record class.

    It has the annotated fields, and the methods of the body.
    """
    names = tuple(cls.members.get("__annotations__", {}))
    defaults = tuple(cls.members[name] for name in names if name in cls.members)
    record = record_class(cls.name, names, defaults)
    own = {key: value for key, value in cls.members.items() if key not in names and key != "__annotations__"}
    return Class(cls.name, (record,), own)


NAMED_TUPLE = Class("NamedTuple", (), {"__class_made__": Native("__class_made__", made_tuple)}, shared=True)
