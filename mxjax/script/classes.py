"""Creation of classes and objects.

Covers class statements, `type(name, bases, body)`, `__new__` and `__init__`.

A class may derive from a built-in type. Its objects then hold a value of that type, their `data`, on which the methods
of the type work; everything else is as for any class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import GeneratorType
from typing import ClassVar

from mxjax.script import attributes, comparison, exceptions, formatting, keys
from mxjax.script.errors import LimitExceeded
from mxjax.script.frames import Frame, Invoke
from mxjax.script.names import ALLOWED_DUNDERS
from mxjax.script.values import (
    DATA,
    NOT_IMPLEMENTED,
    OBJECT,
    PENDING,
    UNBOUND,
    BuiltinType,
    Cell,
    Class,
    Function,
    Instance,
    Native,
    Wrapper,
    brief,
    type_name,
)

EMPTY = {"list", "dict", "set", "deque", "defaultdict", "Counter"}  # filled by `__init__`
FINAL = {"int", "float", "str", "tuple", "frozenset"}  # made by `__new__`
_ABSTRACT = "__isabstractmethod__"
_IMPLICIT = {"__new__": "staticmethod", "__init_subclass__": "classmethod", "__class_getitem__": "classmethod"}

# Classes


@dataclasses.dataclass(slots=True)
class Draft:
    """A class under construction; its methods find it in `cells` (`__class__`)."""

    holds: ClassVar[tuple[str, ...]] = ("parents", "members", "keywords", "cells")

    name: str
    qualname: str
    parents: list
    members: dict
    keywords: dict
    cells: Sequence[Cell] = ()


def make_class(m, name: str, qualname: str, parents: list, body: Frame, keywords: dict):
    """Run a class body and make its class."""
    _check_parents(parents)
    yield Invoke(Native(name, lambda machine: _run_body(machine, body)))
    given = keywords.pop("metaclass", None)
    if type(given) is Class and (given.base is None or given.base.name != "type"):
        raise TypeError(f"the metaclass {given.name} does not derive from type")
    bases = tuple(parent for parent in parents if type(parent) is Class)
    meta = given if type(given) is Class else next((base.meta for base in bases if base.meta is not None), None)
    abstract = given is not None and meta is None
    assert body.namespace is not None, "the body of a class has a namespace"
    members = body.namespace
    cells = [body.slots[index] for index in body.code.cells]
    draft = Draft(name, qualname, parents=parents, members=members, keywords=keywords, cells=cells)
    if meta is None:
        return (yield from finish_class(m, draft, abstract=abstract))
    return (yield from _through_meta(m, meta, draft))


def _run_body(m, body: Frame):
    body.back = m.task.frame
    m.enter(body)
    return PENDING


def _check_parents(parents: list):
    enums = any(type(parent) is Class and parent.lookup("__class_call__") is not UNBOUND for parent in parents)
    held = set()
    for parent in parents:
        kind = type(parent)
        base = parent.base if kind is Class else parent
        held |= {base} if type(base) is BuiltinType and not enums else set()
        if kind is BuiltinType and not enums and parent.name not in EMPTY | FINAL | {"type"}:
            raise TypeError(f"type '{parent.name}' is not an acceptable base type")
        if kind not in (Class, BuiltinType) and not getattr(parent, "ignored_base", False):
            raise TypeError(f"a class of a design cannot derive from a '{type_name(parent)}' object")
    if len(held) > 1:
        raise TypeError("multiple bases have instance lay-out conflict")


def finish_class(m, draft: Draft, meta: Class | None = None, abstract: bool = False):
    """A class from its parents and members, after all hooks have run."""
    parents, members = draft.parents, draft.members
    bases = tuple(b for b in (getattr(p, "mixin", None) or p for p in parents) if type(b) is Class)
    orders = sum(len(base.mro) for base in bases)
    m.charge(len(bases) ** 2 * orders >> 2)
    for special, kind in _IMPLICIT.items():
        if type(members.get(special)) is Function:
            members[special] = Wrapper(kind, members[special])
    cls = Class(draft.name, bases, members)
    cls.qualname = draft.qualname
    if len(cls.mro) > m.limits.nesting:
        raise LimitExceeded("nesting")
    m.allocate(400 + 8 * len(cls.mro) + 100 * len(members))
    cls.meta = meta or cls.meta
    _derive(cls, parents)
    for cell in draft.cells:
        cell.value = cls
    for key, value in list(members.items()):
        attributes.note_special(cls, value)
        if type(value) is Instance and (hook := value.cls.lookup("__set_name__")) is not UNBOUND:
            yield Invoke(hook, (value, cls, key))
    m.charge(len(members) * len(cls.mro) >> 2)
    _note_abstract(cls, parents, abstract)
    for parent in cls.mro[1:]:
        made = parent.members.get("__class_made__")
        if made is not None:
            cls = (yield Invoke(made, (cls,))) or cls
            break
    yield from _announce(cls, draft.keywords, parents)
    return cls


def _derive(cls: Class, parents: list):
    """What a class takes over from the built-in types among its parents."""
    held = next((parent for parent in parents if type(parent) is BuiltinType), None)
    if held is None:
        return
    if cls.lookup("__class_call__") is not UNBOUND:  # an enum of text or numbers
        cls.plain = cls.key = "value"
        return
    cls.base = held
    cls.constructed = True
    if held.name == "type":
        return
    cls.plain = DATA
    own = cls.lookup("__eq__") is not UNBOUND or cls.lookup("__hash__") is not UNBOUND
    cls.key = DATA if held.name in FINAL and not own else None


def _note_abstract(cls: Class, parents: list, abstract: bool):
    """Note a class's open abstract methods and the names its protocol requires."""
    if abstract or any(type(parent) is not Class and type(parent) is not BuiltinType for parent in parents):
        cls.abstract = ()
    if cls.abstract is not None or any(base.abstract is not None for base in cls.bases):
        names = {name: None for base in cls.bases for name in base.abstract or ()}
        names.update({name: None for name, value in cls.members.items() if _is_abstract(value)})
        cls.abstract = tuple(sorted(name for name in names if _is_abstract(cls.lookup(name))))
    if any(getattr(parent, "name", "") == "Protocol" and type(parent) is not Class for parent in parents):
        inherited = [name for base in cls.mro[1:] for name in base.protocol or ()]
        own = [*cls.members, *cls.members.get("__annotations__", ())]
        named = [name for name in own if not name.startswith("__") or name in _PROTOCOLS]
        cls.protocol = tuple(dict.fromkeys((*inherited, *named)))


_PROTOCOLS = ALLOWED_DUNDERS - {"__init__", "__doc__", "__module__", "__slots__", "__new__", "__match_args__"}


def _is_abstract(value) -> bool:
    if type(value) is Wrapper:
        return any(map(_is_abstract, (value.function, value.setter, value.deleter)))
    return type(value) is Function and value.fields is not None and value.fields.get(_ABSTRACT) is True


def abstractmethod(m, function):
    """`abc.abstractmethod`: marks a function that derived classes must define."""
    for part in (function.function, function.setter) if type(function) is Wrapper else (function,):
        if type(part) is Function:
            m.allocate(100)
            part.fields = {**(part.fields or {}), _ABSTRACT: True}
    return function


def runtime_checkable(m, cls):
    """`typing.runtime_checkable`: lets `isinstance` be asked about a protocol."""
    if type(cls) is Class and cls.protocol is not None:
        cls.members[attributes.RUNTIME] = True
    return cls


def _announce(cls: Class, keywords: dict, parents: list):
    """Call `__init_subclass__` of the parents, as `super(cls, cls).__init_subclass__(**keywords)`."""
    for parent in cls.mro[1:]:
        hook = parent.members.get("__init_subclass__", UNBOUND)
        if hook is not UNBOUND:
            yield Invoke(hook.function if type(hook) is Wrapper else hook, (cls,), keywords)
            return
    plain_parents = all(type(parent) is Class and not parent.shared for parent in parents)
    if keywords and plain_parents and cls.meta is None:
        raise TypeError(f"{cls.name}.__init_subclass__() takes no keyword arguments")


# Metaclasses


def _through_meta(m, meta: Class, draft: Draft):
    """A class made by the `__new__` and `__init__` of its metaclass.

    The metaclass is a class of the script.
    """
    arguments = (draft.name, tuple(draft.parents), draft.members)
    new = meta.lookup("__new__")
    if new is UNBOUND:
        cls = yield from finish_class(m, draft, meta)
    else:
        cls = yield Invoke(new.function if type(new) is Wrapper else new, (meta, *arguments), draft.keywords)
        for cell in draft.cells:
            cell.value = cls
    init = meta.lookup("__init__")
    if init is not UNBOUND and type(cls) is Class:
        yield Invoke(init, (cls, *arguments), draft.keywords)
    return cls


def _called_meta(m, meta: Class, name, bases, body, **keywords):
    """`Meta(name, bases, body)`."""
    check_body(m, name, bases, body)
    return (yield from _through_meta(m, meta, Draft(name, name, list(bases), dict(body), keywords)))


def make_type(m, name, bases, body, meta: Class | None = None, keywords: dict | None = None):
    """`type(name, bases, body)`."""
    check_body(m, name, bases, body)
    parents = [parent for parent in bases if parent is not OBJECT]
    _check_parents(parents)
    return (yield from finish_class(m, Draft(name, name, parents, dict(body), keywords or {}), meta))


def check_body(m, name, bases, body):
    """Refuse what no class statement could have made."""
    if type(name) is not str or type(bases) is not tuple or not isinstance(body, dict):
        raise TypeError("type() needs a name, a tuple of classes and a dict")
    m.need_entries(len(body))
    for key in body:
        if type(key) is not str or (key.startswith("__") and key.endswith("__") and key not in ALLOWED_DUNDERS):
            if key != "__annotations__":
                raise TypeError(f"a class cannot have the attribute {brief(key)[:80]!r}")


def call_class(m, cls: Class, *args, **kwargs):
    """What `cls(...)` does where its metaclass does not define otherwise."""
    return construct(m, cls, args, kwargs)


OF_METACLASSES = {
    "__call__": Native("__call__", call_class),
    "__init__": Native("__init__", lambda m, cls, *args, **kwargs: None),
}

# Objects


@exceptions.binds_arguments
def construct(m, cls: Class, args: tuple, kwargs: dict | None):
    """A new object of a class with its own way of construction."""
    if cls.base is not None and cls.base.name == "type":
        return (yield from _called_meta(m, cls, *args, **(kwargs or {})))
    new = cls.lookup("__new__")
    if new is UNBOUND:
        made = yield from allocate(m, cls, args, kwargs)
    else:
        made = yield Invoke(new.function if type(new) is Wrapper else new, (cls, *args), kwargs)
    if type(made) is not Instance or cls not in made.cls.mro:
        return made
    init = made.cls.lookup("__init__")
    if init is not UNBOUND:
        if (result := (yield Invoke(init, (made, *args), kwargs))) is not None:
            raise TypeError(f"__init__() should return None, not '{type_name(result)}'")
    elif made.data is not None:
        yield from fill(m, made, args, kwargs)
    elif new is UNBOUND and (args or kwargs) and "args" not in made.fields:
        raise TypeError(f"{cls.name}() takes no arguments")
    return made


def allocate(m, cls: Class, args: tuple = (), kwargs: dict | None = None):
    """The result of `object.__new__`: an object without fields.

    It has the data of a built-in type where its class derives from one.
    """
    if cls.abstract:
        listed = ", ".join(f"'{name}'" for name in cls.abstract)
        methods = f"method{'s' if len(cls.abstract) > 1 else ''} {listed}"
        raise TypeError(f"Can't instantiate abstract class {cls.name} without an implementation for abstract {methods}")
    m.allocate(160)
    made = m.new_instance(cls)
    if exceptions.BASE in cls.mro:
        m.allocate(200)
        made.fields["args"] = args
    base = cls.base
    if base is not None and base.name != "type":
        given = ((), None) if base.name in EMPTY else (args, kwargs)
        made.data = yield from _made(m, base, *given)
    return made


@exceptions.binds_arguments
def _made(m, base: BuiltinType, args: tuple, kwargs: dict | None):
    value = base.make(m, *args, **(kwargs or {}))
    return (yield from value) if type(value) is GeneratorType else value


def fill(m, owner: Instance, args: tuple, kwargs: dict | None):
    """`__init__` of the built-in type that the class of `owner` derives from."""
    base = owner.cls.base
    if base is None or base.name not in EMPTY:
        return
    value = yield from _made(m, base, args, kwargs)
    if isinstance(value, dict):
        owner.data.update(value)
        if hasattr(value, "factory"):
            owner.data.factory = value.factory
    else:
        owner.data = value


def _constructor(owner, target: Instance | None) -> Native:
    """`__new__` of a class or built-in type; takes the class to instantiate."""

    @exceptions.binds_arguments
    def new(m, cls, *args, **kwargs):
        if type(cls) is BuiltinType:
            return cls.make(m, *args, **kwargs)
        if type(cls) is not Class:
            raise TypeError(f"{owner.name}.__new__(X): X is not a type object ({type_name(cls)})")
        if cls.base is not None and cls.base.name == "type":
            if len(args) != 3:
                raise TypeError(f"type.__new__() takes exactly 3 arguments ({len(args)} given)")
            name, bases, body = args
            return make_type(m, name, bases, body, meta=cls, keywords=kwargs)
        return allocate(m, cls, args, kwargs)

    return Native("__new__", new)


def _initialiser(owner, target: Instance | None) -> Native:
    """`__init__` of a class that defines none, or of a built-in type."""

    def init(m, *args, **kwargs):
        made, given = (target, args) if target is not None else (args[0], args[1:]) if args else (None, ())
        if type(made) is not Instance:
            return None
        if made.data is not None:
            return fill(m, made, given, kwargs)
        if exceptions.BASE in made.cls.mro:
            made.fields["args"] = given
        return None

    return Native("__init__", init)


CONSTRUCTORS = {
    "__new__": _constructor,
    "__init__": _initialiser,
    "__init_subclass__": lambda owner, target: Native("__init_subclass__", _nothing),
}


def _nothing(m, *args, **kwargs):
    if kwargs:
        raise TypeError("__init_subclass__() takes no keyword arguments")


# What every object can do


def _set_attribute(m, owner, name, value):
    _need_object(owner)
    return attributes.store_own(m, owner, attributes.dynamic_name(m, name), value)


def _delete_attribute(m, owner, name):
    _need_object(owner)
    return attributes.delete_own(owner, attributes.dynamic_name(m, name))


def _need_object(owner):
    if type(owner) is not Instance:
        raise TypeError(f"can't change an attribute of a '{type_name(owner)}' object")


def _same(m, owner, other):
    return True if owner is other else NOT_IMPLEMENTED


def _differs(m, owner, other):
    equal = yield from comparison.equal(m, owner, other)
    return not equal


def _text(m, owner):
    if type(owner) is Instance and owner.cls.lookup("__repr__") is not UNBOUND and not exceptions.is_exception(owner):
        return formatting.to_repr(m, owner)
    return formatting.own_text(m, owner)


OF_OBJECTS = {
    "__setattr__": _set_attribute,
    "__delattr__": _delete_attribute,
    "__eq__": _same,
    "__ne__": _differs,
    "__repr__": lambda m, owner: formatting.own_repr(m, owner),
    "__str__": _text,
    "__format__": lambda m, owner, spec: formatting.formatted_as(m, owner, spec),
    "__hash__": lambda m, owner: keys.hash_(m, owner),
}
