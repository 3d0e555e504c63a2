"""Attribute look-up: an allow-list per type for host values, Python's own rules for classes of the script.

No host attribute is ever read by name. `METHODS` is filled by the modules that define the methods of each type.
"""

from __future__ import annotations

from mxjax.mas.errors import LimitExceeded
from mxjax.mas.interpreter import exceptions, text
from mxjax.mas.interpreter.frames import Frame, Invoke
from mxjax.mas.interpreter.values import (
    PENDING,
    UNBOUND,
    BoundMethod,
    BuiltinType,
    Class,
    Function,
    Instance,
    Module,
    Native,
    Super,
    Union,
    Wrapper,
    plain,
    type_name,
)

METHODS: dict[type, dict[str, Native]] = {}
PROPERTIES: dict[type, dict] = {}


def methods(kind: type, table: dict):
    """Registers functions `fn(machine, owner, *args)` as methods of host type `kind`."""
    METHODS.setdefault(kind, {}).update({name: Native(name, fn) for name, fn in table.items()})


def missing(owner, name: str) -> AttributeError:
    """The error for an attribute that is not there."""
    if type(owner) is Module:
        return AttributeError(f"module '{owner.name}' has no attribute '{name}'")
    if type(owner) in (Class, BuiltinType):
        return AttributeError(f"type object '{owner.name}' has no attribute '{name}'")
    return AttributeError(f"'{type_name(owner)}' object has no attribute '{name}'")


def load(m, owner, name: str):
    """`owner.name`, or PENDING when a property or `__getattr__` has to run for it."""
    value, bound = method(m, owner, name)
    if type(value) is Invoke:
        return m.call(value.fn, value.args)
    return BoundMethod(value, owner) if bound else value


def dynamic_name(m, name) -> str:
    """An attribute's name that a script computed, accounted for; names with two underscores are out of reach."""
    if type(name) is not str:
        raise TypeError(f"attribute name must be string, not '{type_name(name)}'")
    m.charge(len(name) >> 6)
    if name.startswith("__"):
        raise AttributeError(f"the attribute {name[:80]!r} is not available")
    return name


LOAD = Native("getattr", lambda m, owner, name: load(m, owner, dynamic_name(m, name)))


def method(m, owner, name: str):
    """What `owner.name` is, and whether it is a function still to be bound to `owner`.

    The value is an `Invoke` where a property or `__getattr__` has to run to tell.
    """
    kind = type(owner)
    if kind is Instance:
        return _instance(m, owner, name)
    table = METHODS.get(kind)
    if table is not None and name in table:
        return table[name], True
    if kind is Module:
        value = owner.members.get(name, UNBOUND)
        if value is UNBOUND:
            raise missing(owner, name)
        return value, False
    if kind is Class:
        return _class(owner, name), False
    if kind is Super:
        return _super(m, owner, name)
    if name == "__class__":
        return m.builtins["type"].make(m, owner), False
    if kind in PROPERTIES and name in PROPERTIES[kind]:
        return PROPERTIES[kind][name](m, owner), False
    if kind is BuiltinType:
        if name in ("__name__", "__qualname__"):
            return owner.name, False
        if name in owner.members:
            return owner.members[name], False
        for host in owner.hosts[:1]:
            if name in METHODS.get(host, ()):
                return _unbound(owner, METHODS[host][name]), False
    if kind in (Function, Native, BoundMethod):
        return _function(owner, name), False
    raise missing(owner, name)


def _unbound(owner: BuiltinType, function: Native) -> Native:
    """A method looked up on a built-in type, which works on objects of that type alone."""

    def call(m, *args, **kwargs):
        if not args or not isinstance(args[0], owner.hosts):
            given = f"a '{type_name(args[0])}' object" if args else "nothing"
            raise TypeError(f"descriptor '{function.name}' for '{owner.name}' objects doesn't apply to {given}")
        return function.fn(m, *args, **kwargs)

    return Native(function.name, call)


def _function(owner, name: str):
    fields = None if type(owner) is BoundMethod else owner.fields
    if fields and name in fields:
        return fields[name]
    if name in ("__name__", "__qualname__"):
        return owner.name
    if name == "__doc__":
        return owner.code.doc if type(owner) is Function else None
    raise missing(owner, name)


def _instance(m, owner: Instance, name: str):
    value = owner.fields.get(name, UNBOUND)
    if value is not UNBOUND:
        return value, False
    value = owner.cls.lookup(name)
    if value is not UNBOUND:
        kind = type(value)
        if kind is Function or kind is Native:
            return value, True
        if kind is Wrapper:
            return _wrapped(value, owner, owner.cls), False
        return value, False
    if name == "__class__":
        return owner.cls, False
    if name == "value" and exceptions.is_exception(owner) and owner.cls.name == "StopIteration":
        args = exceptions.args_of(owner)
        return (args[0] if args else None), False
    if name == "__dict__":
        return owner.fields, False
    if name == "__cause__" and exceptions.is_exception(owner):
        return None, False
    if owner.cls.plain is not None:
        found = METHODS.get(type(plain(owner)), {}).get(name)
        if found is not None:
            return BoundMethod(found, plain(owner)), False
    hook = owner.cls.lookup("__getattr__")
    if hook is not UNBOUND:
        return Invoke(hook, (owner, name)), False
    raise missing(owner, name)


def _wrapped(wrapper: Wrapper, owner, cls: Class):
    if wrapper.kind == "staticmethod":
        return wrapper.function
    if wrapper.kind == "classmethod":
        return BoundMethod(wrapper.function, cls)
    if wrapper.kind == "property":
        return Invoke(wrapper.function, (owner,))
    return Invoke(_CACHED, (wrapper, owner))


def _cached(m, wrapper: Wrapper, owner: Instance):
    value = yield Invoke(wrapper.function, (owner,))
    store_plain(m, owner, wrapper.name, value)
    return value


_CACHED = Native("cached_property", _cached)


def _class(owner: Class, name: str):
    value = owner.lookup(name)
    if value is UNBOUND:
        if name in ("__name__", "__qualname__"):
            return owner.name
        if name == "__mro__":
            return owner.mro
        if name == "__bases__":
            return owner.bases
        if name == "__doc__":
            return None
        if name == "__init__":
            return Native("__init__", lambda m, *args, **kwargs: None)
        if name == "__setattr__":
            return Native("__setattr__", _set_plain)
        raise missing(owner, name)
    if type(value) is Wrapper:
        if value.kind == "classmethod":
            return BoundMethod(value.function, owner)
        if value.kind == "staticmethod":
            return value.function
    return value


def _super(m, owner: Super, name: str):
    target = owner.owner
    cls = target if type(target) is Class else target.cls
    after = cls.mro[cls.mro.index(owner.cls) + 1 :]
    for parent in after:
        value = parent.members.get(name, UNBOUND)
        if value is UNBOUND:
            continue
        if type(value) is Wrapper:
            return _wrapped(value, target, cls), False
        if type(value) in (Function, Native) and type(target) is Instance:
            return BoundMethod(value, target), False
        return value, False
    if name == "__init__":
        if exceptions.BASE in cls.mro:
            return Native("__init__", lambda m, *args: target.fields.__setitem__("args", args)), False
        return Native("__init__", lambda m, *args, **kwargs: None), False
    if name == "__setattr__":
        return Native("__setattr__", lambda m, name, value: store_plain(m, target, name, value)), False
    if name == "__str__" and exceptions.BASE in cls.mro:
        return Native("__str__", lambda m: text.exception_text(m, target)), False
    raise AttributeError(f"'super' object has no attribute '{name}'")


def store(m, owner, name: str, value):
    """`owner.name = value`; a generator of requests when a property or `__setattr__` has to run for it."""
    if type(owner) is Instance:
        found = owner.cls.lookup(name)
        if type(found) is Wrapper and found.kind == "property":
            if found.setter is None:
                raise AttributeError(f"property '{name}' of '{owner.cls.name}' object has no setter")
            return _invoke(found.setter, owner, value)
        hook = owner.cls.lookup("__setattr__")
        if hook is not UNBOUND:
            return _invoke(hook, owner, name, value)
        return store_plain(m, owner, name, value)
    if type(owner) is Class and not owner.shared:
        m.allocate(100)
        owner.members[name] = value
    elif type(owner) is Function:
        m.allocate(100)
        if owner.fields is None:
            owner.fields = {}
        owner.fields[name] = value
    else:
        raise AttributeError(f"'{type_name(owner)}' object has no attribute '{name}' that can be set")
    return None


def store_plain(m, owner: Instance, name: str, value):
    """Puts a field of an instance."""
    if name not in owner.fields:
        m.allocate(100)
        if len(owner.fields) >= 1000:
            m.need_items(len(owner.fields) + 1)
    owner.fields[name] = value


def _set_plain(m, owner, name, value):
    """`object.__setattr__`, with which frozen classes set their own fields."""
    if type(owner) is not Instance:
        raise TypeError(f"can't set an attribute of a '{type_name(owner)}' object")
    store_plain(m, owner, dynamic_name(m, name), value)


def _invoke(function, *args):
    yield Invoke(function, args)


def delete(m, owner, name: str):
    """`del owner.name`."""
    if type(owner) is Instance and (hook := owner.cls.lookup("__delattr__")) is not UNBOUND:
        hook.fn(m, owner, name)
    if type(owner) is not Instance or name not in owner.fields:
        raise missing(owner, name)
    del owner.fields[name]


def make_class(m, name: str, parents: list, body: Frame, keywords: dict):
    """Runs a class body and makes the class of it."""
    bases = tuple(parent for parent in parents if type(parent) is Class)
    for parent in parents:
        mixed_in = type(parent) is BuiltinType and any(base.lookup("__class_call__") is not UNBOUND for base in bases)
        if type(parent) is not Class and not mixed_in and not getattr(parent, "ignored_base", False):
            shown = parent.name if type(parent) is BuiltinType else f"a '{type_name(parent)}' object"
            raise TypeError(f"a class of a design cannot derive from {shown}")
    yield Invoke(Native(name, lambda machine: _run_body(machine, body)))
    members = body.namespace
    orders = sum(len(base.mro) for base in bases)
    m.charge(len(bases) ** 2 * orders >> 2)
    cls = Class(name, bases, members)
    if any(type(parent) is BuiltinType for parent in parents):
        cls.plain = cls.key = "value"
    if len(cls.mro) > m.limits.nesting:
        raise LimitExceeded("nesting")
    m.allocate(400 + 8 * len(cls.mro) + 100 * len(members))
    for index in body.code.cells:
        body.slots[index].value = cls
    for parent in cls.mro[1:]:
        made = parent.members.get("__class_made__")
        if made is not None:
            cls = (yield Invoke(made, (cls,))) or cls
            break
    return cls


def _run_body(m, body: Frame):
    body.back = m.task.frame
    m.enter(body)
    return PENDING


def any_class(m, wanted, test) -> bool:
    """Whether `test(class, in_union)` holds for a class, or for one in a union or a tuple of classes and tuples."""
    stack = [(wanted, 0)]
    while stack:
        option, depth = stack.pop()
        if type(option) is Union:
            m.charge(len(option.options))
            if any(test(inner, True) for inner in option.options):
                return True
            continue
        if type(option) is not tuple:
            if test(option, False):
                return True
            continue
        if depth >= m.limits.nesting:
            raise LimitExceeded("nesting")
        m.charge(len(option) + 1)
        stack.extend((inner, depth + 1) for inner in reversed(option))
    return False


def is_instance(m, value, wanted) -> bool:
    """`isinstance(value, wanted)`; TypeError when `wanted` is no class or tuple of classes."""
    return any_class(m, wanted, lambda option, in_union: _is_instance(value, option, in_union))


def _is_instance(value, wanted, in_union: bool) -> bool:
    if type(wanted) is Class:
        cls = getattr(value, "cls", None)  # of an instance, or of a member of one of our own enums
        return (wanted.name == "object" and wanted.shared) or (cls is not None and wanted in cls.mro)
    if type(wanted) is BuiltinType:
        if wanted.name in ("set", "frozenset"):
            return type_name(value) == wanted.name
        return isinstance(plain(value), wanted.hosts)
    if wanted is None and in_union:
        return value is None
    admits = getattr(wanted, "admits", None)
    if admits is not None:
        return admits(value)
    raise TypeError("isinstance() arg 2 must be a type, a tuple of types, or a union")
