"""Values of a script: plain Python values and the interpreter's own types.

None, bool, int, float, str, list, tuple, dict, range and deque are the host's own. Everything else is one of the
classes below, so that no attribute of a host object can ever be reached from a script.
"""

from __future__ import annotations

from collections import deque
from typing import Any


class Sentinel:
    """A named marker that no script can hold."""

    __slots__ = ("name",)
    holds = ()

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


UNBOUND = Sentinel("UNBOUND")
EXHAUSTED = Sentinel("EXHAUSTED")
PENDING = Sentinel("PENDING")
NOTHING = Sentinel("NOTHING")
DATA = Sentinel("DATA")  # names the `data` of an instance, where the name of a field may stand


class Raised(Exception):
    """Carries a script exception, an `Instance`, through the interpreter's own code."""

    def __init__(self, value: Instance):
        super().__init__()
        self.value = value


class Cell:
    """A variable shared by a function and the functions in it."""

    __slots__ = ("value",)
    holds = ("value",)

    def __init__(self, value=UNBOUND):
        self.value = value


class Function:
    """A function written in the script."""

    __slots__ = ("closure", "code", "defaults", "fields", "kw_defaults")
    holds = ("defaults", "kw_defaults", "closure", "fields")
    own_bytes = 130

    def __init__(self, code, defaults: tuple, kw_defaults: dict, closure: tuple):
        self.code = code
        self.defaults = defaults
        self.kw_defaults = kw_defaults
        self.closure = closure
        self.fields: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return self.code.name


class Native:
    """A function of ours, called as `fn(machine, *args, **kwargs)`.

    It returns a value, or a generator of requests (see `frames`). What it keeps alive of the script it holds in its
    closure, where it is counted. One that is a `method` of a class needs an object of that class as the first of its
    arguments.
    """

    __slots__ = ("fields", "fn", "method", "name")
    holds = ("fn", "fields")
    own_bytes = 400

    def __init__(self, name: str, fn, fields: dict[str, Any] | None = None, method: bool = False):
        self.name = name
        self.fn = fn
        self.fields = fields
        self.method = method


def class_methods(table: dict[str, Any]) -> dict[str, Native]:
    """Functions `fn(machine, self, ...)` as members of a class."""
    return {name: Native(name, fn, method=True) for name, fn in table.items()}


class BoundMethod:
    """A function together with the object that it was looked up on."""

    __slots__ = ("function", "owner")
    holds = ("function", "owner")

    def __init__(self, function, owner):
        self.function = function
        self.owner = owner

    @property
    def name(self) -> str:
        return self.function.name


class BuiltinType:
    """`int`, `str`, `list` and so on.

    Callable through `make`, and known to `isinstance` through `hosts`.
    """

    __slots__ = ("hosts", "make", "members", "name")
    holds = ()

    def __init__(self, name: str, hosts: tuple[type, ...], make, members: dict[str, Any] | None = None):
        self.name = name
        self.hosts = hosts
        self.make = make
        self.members = members or {}


class Class:
    """A class of the script or of ours.

    `members` are its own attributes, `mro` the classes looked through.

    A `shared` class serves every execution and can therefore not be changed by a script. `plain` says what its objects
    stand for where a plain value is needed: the field of that name (members of an enum of text or numbers), a tuple
    of the fields of these names (named tuples), or `DATA` (classes derived from the built-in type `base`). Objects are
    keys by what `key` names, by `__hash__` and `__eq__` of the script (see `keys`), or by identity.

    Attributes:
      abstract: names that a derived class must define before it can have objects; None if no parent is abstract.
      base: the built-in type that the class derives from.
      constructed: an object is not just made and given to `__init__` (see `classes.construct`).
      managed: some attribute is a descriptor that comes before the fields of an object.
      meta: the class that the script made for this one to be an object of.
      protocol: names that any object must have to count as one of this class.
    """

    __slots__ = (
        "abstract",
        "base",
        "bases",
        "constructed",
        "key",
        "managed",
        "members",
        "meta",
        "mro",
        "name",
        "plain",
        "protocol",
        "qualname",
        "shared",
    )
    holds = ("members", "bases", "meta")
    own_bytes = 1200

    def __init__(self, name: str, bases: tuple[Class, ...], members: dict[str, Any], shared: bool = False):
        self.name = self.qualname = name
        self.bases = bases
        self.members = members
        self.mro = _linearise(self)
        self.shared = shared
        self.abstract: tuple[str, ...] | None = None
        self.protocol: tuple[str, ...] | None = None
        self.base: BuiltinType | None = next((c.base for c in self.mro[1:] if c.base is not None), None)
        self.meta: Class | None = next((c.meta for c in self.mro[1:] if c.meta is not None), None)
        self.managed: bool = any(c.managed for c in self.mro[1:])
        self.constructed: bool = "__new__" in members or any(c.constructed for c in self.mro[1:])
        self.plain: str | tuple[str, ...] | Sentinel | None = next(
            (c.plain for c in self.mro[1:] if c.plain is not None), None
        )
        own = "__eq__" in members or "__hash__" in members
        self.key: str | tuple[str, ...] | Sentinel | None = (
            None if own else next((c.key for c in self.mro[1:] if c.key is not None), None)
        )

    def lookup(self, name: str):
        """The attribute `name` along the method resolution order, or UNBOUND."""
        for cls in self.mro:
            value = cls.members.get(name, UNBOUND)
            if value is not UNBOUND:
                return value
        return UNBOUND


def _linearise(cls: Class) -> tuple[Class, ...]:
    """C3, as Python orders base classes."""
    sequences = [list(base.mro) for base in cls.bases] + [list(cls.bases)]
    order = [cls]
    while any(sequences):
        sequences = [sequence for sequence in sequences if sequence]
        head = next((s[0] for s in sequences if not any(s[0] in other[1:] for other in sequences)), None)
        if head is None:
            raise TypeError("Cannot create a consistent method resolution order (MRO) for bases")
        order.append(head)
        for sequence in sequences:
            if sequence[0] is head:
                del sequence[0]
    return tuple(order)


OBJECT = Class("object", (), {}, shared=True)


class Instance:
    """An object of a `Class`.

    `data` is its value as one of the built-in type that the class derives from. `hashed` is the hash that the script's
    own `__hash__` gave last (see `keys`).
    """

    __slots__ = ("cls", "data", "fields", "hashed")
    holds = ("cls", "fields", "data")
    own_bytes = 150

    def __init__(self, cls: Class, fields: dict[str, Any], data=None):
        self.cls = cls
        self.fields = fields
        self.data = data
        self.hashed: int | None = None

    def __hash__(self) -> int:
        if self.cls.key is not None:
            return hash(self.part(self.cls.key))
        return object.__hash__(self) if self.hashed is None else self.hashed

    def __eq__(self, other) -> bool:
        """Equality of keys, which runs no code of the script.

        The meaning of `==` is up to `comparison.equal`.
        """
        cls = self.cls
        if self is other:
            return True
        if type(other) is Probe:
            return NotImplemented
        if cls.key is None:
            return False
        if cls.plain is not None:
            return self.part(cls.plain) == plain(other)
        return type(other) is Instance and other.cls is cls and self.part(cls.key) == other.part(cls.key)

    def part(self, names: str | tuple[str, ...] | Sentinel):
        """One field, a tuple of some, or the data."""
        if isinstance(names, Sentinel):
            return self.data
        return self.fields.get(names) if isinstance(names, str) else tuple(map(self.fields.get, names))


class Probe:
    """A key equal to none; notes dict keys with its hash."""

    __slots__ = ("found", "hashed")
    holds = ("found",)

    def __init__(self, hashed: int):
        self.hashed = hashed
        self.found: list[Any] = []

    def __hash__(self) -> int:
        return self.hashed

    def __eq__(self, other) -> bool:
        self.found.append(other)
        return False


def plain(value):
    """The object's plain value (see `Class`), or the value itself."""
    return value.part(value.cls.plain) if type(value) is Instance and value.cls.plain is not None else value


class Wrapper:
    """A class attribute with special look-up: kind "property", "staticmethod" or "classmethod"."""

    __slots__ = ("deleter", "doc", "function", "kind", "name", "setter")
    holds = ("function", "setter", "deleter", "doc")

    def __init__(self, kind: str, function, setter=None, deleter=None, doc=None):
        self.kind = kind
        self.function = function
        self.setter = setter
        self.deleter = deleter
        self.doc = doc
        self.name = getattr(function, "name", "")


class Super:
    """The result of `super()`.

    Attribute look-up starts after `cls` in the order of `owner`.
    """

    __slots__ = ("cls", "owner")
    holds = ("cls", "owner")

    def __init__(self, cls: Class, owner):
        self.cls = cls
        self.owner = owner


class Union:
    """`X | Y` of types: `isinstance` holds for any of them.

    A None among them stands for its type.
    """

    __slots__ = ("options",)
    holds = ("options",)
    type_name = "UnionType"

    def __init__(self, options: tuple):
        self.options = options

    def shown(self) -> str:
        return " | ".join("None" if option is None else getattr(option, "name", "...") for option in self.options)


def is_type(value) -> bool:
    """Whether `value` may stand in a union."""
    return type(value) in (BuiltinType, Class, Union) or getattr(value, "ignored_base", False)


class Module:
    """An importable module: a name and its members."""

    __slots__ = ("_public", "members", "name")
    holds = ("members",)

    def __init__(self, name: str, members: dict[str, Any]):
        self.name = name
        self.members = members
        self._public: dict[str, Any] | None = None

    @property
    def public(self) -> dict[str, Any]:
        """What `from name import *` imports."""
        if self._public is None:
            self._public = {key: value for key, value in self.members.items() if not key.startswith("_")}
        return self._public


class Set:
    """A set in insertion order, so that hash seeds never matter."""

    __slots__ = ("frozen", "items")
    holds = ("items",)

    def __init__(self, items=(), frozen: bool = False):
        self.items = dict.fromkeys(items)
        self.frozen = frozen

    def __hash__(self) -> int:
        if not self.frozen:
            raise TypeError("unhashable type: 'set'")
        return hash(frozenset(self.items))

    def __eq__(self, other) -> bool:
        return isinstance(other, Set) and self.items.keys() == other.items.keys()

    def __len__(self) -> int:
        return len(self.items)


class DefaultDict(dict):
    """`collections.defaultdict`; the factory runs in the machine."""

    __slots__ = ("factory",)
    holds = ("factory",)

    factory: Any


class CounterDict(dict):
    """`collections.Counter`."""

    __slots__ = ()
    holds = ()


class Generator:
    """A suspended computation that yields values.

    It is a script generator, or one of our own lazy iterators.
    """

    __slots__ = ("awaitable", "frame", "name", "returned", "running")
    holds = ("frame", "returned")

    def __init__(self, frame, name: str, awaitable: bool = False):
        self.frame = frame
        self.name = name
        self.running = False
        self.awaitable = awaitable
        self.returned = None


class Slice:
    """`a[b:c:d]`, with its parts."""

    __slots__ = ("parts",)
    holds = ("parts",)

    def __init__(self, parts: tuple):
        self.parts = parts


class HostIterator:
    """A host iterator over plain values; `bounded` when it must end."""

    __slots__ = ("name", "source")
    holds = ("source",)

    def __init__(self, source, name: str):
        self.source = source
        self.name = name


class View:
    """`d.keys()`, `d.values()` or `d.items()`: a live view of a dict."""

    __slots__ = ("kind", "owner")
    holds = ("owner",)

    def __init__(self, kind: str, owner: dict):
        self.kind = kind
        self.owner = owner

    def host(self):
        """The host's view of the same dict."""
        return getattr(self.owner, self.kind)()


class Ellipsis_:
    """The value of `...`."""

    __slots__ = ()
    holds = ()


ELLIPSIS = Ellipsis_()
NOT_IMPLEMENTED = Sentinel("NotImplemented")

SCALARS = frozenset({type(None), bool, int, float, str})
NUMBERS = frozenset({int, float, bool})
DICTS = frozenset({dict, DefaultDict, CounterDict})
_NAMES = {
    type(None): "NoneType",
    Set: "set",
    Function: "function",
    Native: "builtin_function_or_method",
    BoundMethod: "method",
    BuiltinType: "type",
    Class: "type",
    Module: "module",
    DefaultDict: "defaultdict",
    CounterDict: "Counter",
    deque: "deque",
    Generator: "generator",
    Slice: "slice",
    Ellipsis_: "ellipsis",
    Super: "super",
    Wrapper: "property",
}


def need_integer(value) -> int:
    """An int or a bool, as it is; TypeError for anything else."""
    if type(value) not in (int, bool):
        raise TypeError(f"'{type_name(value)}' object cannot be interpreted as an integer")
    return value


def brief(value) -> str:
    """A short form of a value for our messages.

    Short text stays as it is; anything else is shown by its type, so that none of its code is run.
    """
    if type(value) is str or (type(value) is int and value.bit_length() < 999):
        return str(value)[:200]
    return f"a {type_name(value)}"


def type_name(value) -> str:
    """The name of the type of `value`, as the script sees it."""
    kind = type(value)
    if kind is Instance:
        return value.cls.name
    if kind is Set:
        return "frozenset" if value.frozen else "set"
    if kind is View:
        return f"dict_{value.kind}"
    if kind is Generator or kind is HostIterator:
        return value.name
    return _NAMES.get(kind) or getattr(value, "type_name", None) or kind.__name__
