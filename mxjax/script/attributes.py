"""Attribute look-up on host values and on classes of the script.

Host values have an allow-list per type; classes of the script follow Python's own rules.

No host attribute is ever read by name. What types have stands in the table of `library`, which fills `METHODS`.
"""

from __future__ import annotations

from typing import Any

from mxjax.script import exceptions
from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import BASE, binds_arguments
from mxjax.script.frames import Invoke
from mxjax.script.names import COMPUTED_DUNDERS
from mxjax.script.values import (
    OBJECT,
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

MAIN = "__main__"  # the module that scripts are
RUNTIME = "(runtime)"  # marks a protocol that `isinstance` may be asked about
METHODS: dict[type, dict[str, Native]] = {}
PROPERTIES: dict[type, dict] = {}


class Missing(AttributeError):
    """An attribute of a script's object that is not there."""


def missing(owner, name: str) -> Missing:
    """The error for an attribute that is not there."""
    if type(owner) is Module:
        return Missing(f"module '{owner.name}' has no attribute '{name}'")
    if type(owner) in (Class, BuiltinType):
        return Missing(f"type object '{owner.name}' has no attribute '{name}'")
    return Missing(f"'{type_name(owner)}' object has no attribute '{name}'")


def load(m, owner, name: str):
    """`owner.name`, or PENDING when a property or `__getattr__` must run."""
    value, bound = method(m, owner, name)
    if type(value) is Invoke:
        return m.call(value.fn, value.args)
    return BoundMethod(value, owner) if bound else value


def dynamic_name(m, name, reachable: frozenset[str] = frozenset()) -> str:
    """Account for an attribute name that a script computed.

    Of the names with two underscores, only the `reachable` are allowed.
    """
    if type(name) is not str:
        raise TypeError(f"attribute name must be string, not '{type_name(name)}'")
    m.charge(len(name) >> 6)
    if name.startswith("__") and name not in reachable:
        raise Missing(f"the attribute {name[:80]!r} is not available")
    return name


LOAD = Native("getattr", lambda m, owner, name: load(m, owner, dynamic_name(m, name, COMPUTED_DUNDERS)))


def method(m, owner, name: str):
    """`owner.name`, and whether it is a function still to be bound.

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
        return _class(m, owner, name), False
    if kind is Super:
        return _super(m, owner, name)
    if name == "__class__":
        return m.builtins["type"].make(m, owner), False
    if kind is Wrapper and name == "__doc__":
        return owner.doc or _function(owner.function, name), False
    if kind in PROPERTIES and name in PROPERTIES[kind]:
        return PROPERTIES[kind][name](m, owner), False
    if kind is BuiltinType:
        if name in ("__name__", "__qualname__"):
            return owner.name, False
        if name in owner.members:
            return owner.members[name], False
        for host in owner.hosts[:1]:
            if name in CONSTRUCTORS:
                return CONSTRUCTORS[name](owner, None), False
            if name in METHODS.get(host, ()):
                return _unbound(owner, METHODS[host][name]), False
    if kind in (Function, Native, BoundMethod):
        return _function(owner, name), False
    raise missing(owner, name)


def _unbound(owner: BuiltinType | Class, function: Native) -> Native:
    """A method looked up on a type, for objects of that type."""

    @binds_arguments
    def call(m, *args, **kwargs):
        target = args[0] if args else UNBOUND
        if isinstance(owner, BuiltinType):
            target = plain(target)
            fits = isinstance(target, owner.hosts)
        else:
            fits = type(target) is Instance and owner in target.cls.mro
        if not fits:
            given = f"a '{type_name(args[0])}' object" if args else "nothing"
            raise TypeError(f"descriptor '{function.name}' for '{owner.name}' objects doesn't apply to {given}")
        return function.fn(m, target, *args[1:], **kwargs)

    return Native(function.name, call)


def _function(owner, name: str):
    fields = owner.function.fields if type(owner) is BoundMethod else owner.fields
    if fields and name in fields:
        return fields[name]
    if name == "__name__":
        return owner.name
    inner = owner.function if type(owner) is BoundMethod else owner
    if name == "__qualname__":
        return inner.code.qualname if type(inner) is Function else inner.name
    if name == "__doc__":
        return inner.code.doc if type(inner) is Function else None
    if name == "__module__":
        return MAIN
    raise missing(owner, name)


def _instance(m, owner: Instance, name: str):
    cls = owner.cls
    if cls.managed:
        found = cls.lookup(name)
        if type(found) is Instance and has_setter(found.cls):
            return _described(found, owner, cls), False
    value = owner.fields.get(name, UNBOUND)
    if value is not UNBOUND:
        if name == "args" and BASE in cls.mro:
            return exceptions.args_of(owner), False
        return value, False
    value = cls.lookup(name)
    if value is not UNBOUND:
        kind = type(value)
        if kind is Function or kind is Native:
            return value, True
        if kind is Wrapper:
            return _wrapped(value, owner, cls), False
        return (_described(value, owner, cls) if kind is Instance else value), False
    return _unlisted(m, owner, name)


def has_setter(cls: Class) -> bool:
    """Whether objects of a class are descriptors that override instance fields."""
    return cls.lookup("__set__") is not UNBOUND or cls.lookup("__delete__") is not UNBOUND


def _described(value: Instance, owner, cls: Class):
    """An object found on a class, or what its `__get__` gives."""
    getter = value.cls.lookup("__get__")
    return value if getter is UNBOUND else Invoke(getter, (value, owner, cls))


def _unlisted(m, owner: Instance, name: str):
    """An attribute that neither the object nor its class names.

    It belongs to the kind of object, to every object, or comes from `__getattr__`.
    """
    cls = owner.cls
    data = plain(owner) if cls.plain is not None else owner
    if data is not owner and name in METHODS.get(type(data), ()):
        return BoundMethod(METHODS[type(data)][name], data), False
    if name == "__class__":
        return cls, False
    if name == "__dict__":
        return _fields(m, owner), False
    if name in OF_CLASSES:
        return OF_CLASSES[name](cls), False
    if BASE in cls.mro and name in OF_EXCEPTIONS and (name != "value" or cls.name == "StopIteration"):
        found = OF_EXCEPTIONS[name]
        return (found, True) if isinstance(found, Native) else (found(owner), False)
    hook = cls.lookup("__getattr__")
    if hook is not UNBOUND and name not in OF_OBJECTS:
        return Invoke(hook, (owner, name)), False
    if name in OF_OBJECTS:
        return OF_OBJECTS[name], True
    raise missing(owner, name)


def _fields(m, owner: Instance) -> dict:
    """`owner.__dict__`; of an exception a copy, without what exceptions keep beside it."""
    if BASE not in owner.cls.mro:
        return owner.fields
    m.need_entries(len(owner.fields))
    return {name: value for name, value in owner.fields.items() if name != "args" and not name.startswith("__")}


def _stop_value(owner: Instance):
    args = exceptions.args_of(owner)
    return args[0] if args else None


def _add_note(m, owner: Instance, note):
    if type(note) is not str:
        raise TypeError("note must be a str, not '" + type_name(note) + "'")
    notes = owner.fields.setdefault("__notes__", [])
    m.need_items(len(notes) + 1)
    notes.append(note)


def _with_cause(owner: Instance) -> bool:
    return "__cause__" in owner.fields


OF_EXCEPTIONS: dict[str, Any] = {
    "__cause__": lambda owner: None,
    "__context__": lambda owner: None,
    "__suppress_context__": _with_cause,
    "__traceback__": lambda owner: None,
    "value": _stop_value,
    "add_note": Native("add_note", _add_note),
    "with_traceback": Native("with_traceback", lambda m, owner, traceback: owner),
}
OF_CLASSES = {  # what a class says of itself, also to its objects
    "__doc__": lambda cls: cls.members.get("__doc__"),
    "__module__": lambda cls: "builtins" if cls.shared else MAIN,
}


def _wrapped(wrapper: Wrapper, owner, cls: Class):
    if wrapper.kind == "staticmethod":
        return wrapper.function
    if wrapper.kind == "classmethod":
        return BoundMethod(wrapper.function, cls)
    if type(owner) is Class:
        return wrapper
    if wrapper.kind == "property":
        if wrapper.function is None:
            raise Missing("property has no getter")
        return Invoke(wrapper.function, (owner,))
    return Invoke(_CACHED, (wrapper, owner))


def _cached(m, wrapper: Wrapper, owner: Instance):
    value = yield Invoke(wrapper.function, (owner,))
    store_plain(m, owner, wrapper.name, value)
    return value


_CACHED = Native("cached_property", _cached)


def _class(m, owner: Class, name: str):
    if name == "__doc__":
        return owner.members.get("__doc__")
    value = owner.lookup(name)
    if value is not UNBOUND:
        if name == "__members__":
            m.need_entries(len(value))
            return dict(value)
        if type(value) is Wrapper:
            return _wrapped(value, owner, owner)
        if type(value) is Native and value.method:
            return _unbound(owner, value)
        return _described(value, None, owner) if type(value) is Instance else value
    if owner.meta is not None and (value := owner.meta.lookup(name)) is not UNBOUND:
        if type(value) is Wrapper:
            return _wrapped(value, owner, owner.meta)
        return BoundMethod(value, owner) if type(value) in (Function, Native) else value
    if name == "__name__":
        return owner.name
    if name == "__qualname__":
        return owner.qualname
    if name == "__class__":
        return owner.meta or m.builtins["type"]
    if name in OF_CLASSES:
        return OF_CLASSES[name](owner)
    if name == "__dict__":
        m.need_entries(len(owner.members))
        return {key: value for key, value in owner.members.items() if not key.startswith("__")}
    if name == "mro":
        return Native("mro", lambda m: [*owner.mro, *(() if OBJECT in owner.mro else (m.builtins["object"],))])
    if owner.base is not None and name in METHODS.get(owner.base.hosts[0], ()):
        return _unbound(owner.base, METHODS[owner.base.hosts[0]][name])
    if name in CONSTRUCTORS:
        return CONSTRUCTORS[name](owner, None)
    if name in OF_OBJECTS:
        return OF_OBJECTS[name]
    raise missing(owner, name)


def _super(m, owner: Super, name: str):
    target = owner.owner
    cls = target if type(target) is Class else target.cls
    if type(target) is Class and owner.cls not in cls.mro:
        return _super_of_meta(owner, cls, name)
    for parent in cls.mro[cls.mro.index(owner.cls) + 1 :]:
        value = parent.members.get(name, UNBOUND)
        if value is UNBOUND:
            continue
        if type(value) is Wrapper:
            return _wrapped(value, target, cls), False
        if type(value) in (Function, Native) and type(target) is Instance:
            return BoundMethod(value, target), False
        return (_described(value, target, cls) if type(value) is Instance else value), False
    if name in CONSTRUCTORS:
        return CONSTRUCTORS[name](cls, target if type(target) is Instance else None), False
    if type(target) is Instance:
        data = plain(target)
        if data is not target and name in METHODS.get(type(data), ()):
            return BoundMethod(METHODS[type(data)][name], data), False
        if BASE in cls.mro and type(OF_EXCEPTIONS.get(name)) is Native:
            return BoundMethod(OF_EXCEPTIONS[name], target), False
        if name in OF_OBJECTS:
            return BoundMethod(OF_OBJECTS[name], target), False
    raise Missing(f"'super' object has no attribute '{name}'")


def of_meta(cls, name: str):
    """A method that the metaclass of a class defines, or UNBOUND."""
    return cls.meta.lookup(name) if type(cls) is Class and cls.meta is not None else UNBOUND


def _super_of_meta(owner: Super, cls: Class, name: str):
    """`super()` in a method of a metaclass."""
    order = cls.meta.mro if cls.meta is not None else cls.mro if owner.cls in cls.mro else ()
    for parent in order[order.index(owner.cls) + 1 if owner.cls in order else len(order) :]:
        value = parent.members.get(name, UNBOUND)
        if value is not UNBOUND:
            return BoundMethod(value, cls), False
    if name in OF_METACLASSES:
        return BoundMethod(OF_METACLASSES[name], cls), False
    raise Missing(f"'super' object has no attribute '{name}'")


# Filled by `library`: how objects are made, and what every object can do
CONSTRUCTORS: dict = {}
OF_OBJECTS: dict[str, Native] = {}
OF_METACLASSES: dict[str, Native] = {}


def store(m, owner, name: str, value):
    """`owner.name = value`.

    Returns a generator of requests when a property or `__setattr__` has to run.
    """
    if type(owner) is Instance:
        hook = owner.cls.lookup("__setattr__")
        if hook is not UNBOUND:
            return _invoke(hook, owner, name, value)
        return store_own(m, owner, name, value)
    if type(owner) is Class and not owner.shared:
        members = owner.members.get("__members__")
        if members is not None and name in members:
            raise AttributeError(f"cannot reassign member '{name}'")
        m.allocate(100)
        owner.members[name] = value
        note_special(owner, value)
    elif type(owner) is Function:
        m.allocate(100)
        owner.fields = owner.fields or {}
        owner.fields[name] = value
    else:
        raise AttributeError(f"'{type_name(owner)}' object has no attribute '{name}' that can be set")
    return None


def note_special(cls: Class, value):
    """Note on a class that an attribute overrides its objects' fields.

    Only a descriptor with a setter does.
    """
    cls.managed = cls.managed or (type(value) is Instance and has_setter(value.cls))


def store_own(m, owner: Instance, name: str, value):
    """What `object.__setattr__` does: a setter's work, or a field of the object."""
    found = owner.cls.lookup(name)
    if type(found) is Wrapper and found.kind == "property":
        if found.setter is None:
            raise AttributeError(f"property '{name}' of '{owner.cls.name}' object has no setter")
        return _invoke(found.setter, owner, value)
    if type(found) is Instance and (setter := found.cls.lookup("__set__")) is not UNBOUND:
        return _invoke(setter, found, owner, value)
    store_plain(m, owner, name, value)
    return None


def store_plain(m, owner: Instance, name: str, value):
    """Put a field of an instance."""
    if name not in owner.fields:
        m.allocate(100)
        if len(owner.fields) >= 1000:
            m.need_items(len(owner.fields) + 1)
    owner.fields[name] = value


def _invoke(function, *args):
    yield Invoke(function, args)


def delete(m, owner, name: str):
    """`del owner.name`.

    Returns a generator of requests when a property or `__delattr__` has to run.
    """
    if type(owner) is Instance:
        hook = owner.cls.lookup("__delattr__")
        return delete_own(owner, name) if hook is UNBOUND else _invoke(hook, owner, name)
    held = owner.members if type(owner) is Class and not owner.shared else getattr(owner, "fields", None)
    if type(owner) not in (Class, Function) or not held or name not in held:
        raise missing(owner, name)
    del held[name]
    return None


def delete_own(owner: Instance, name: str):
    """What `object.__delattr__` does."""
    found = owner.cls.lookup(name)
    if type(found) is Wrapper and found.kind == "property":
        if found.deleter is None:
            raise AttributeError(f"property '{name}' of '{owner.cls.name}' object has no deleter")
        return _invoke(found.deleter, owner)
    if type(found) is Instance and (deleter := found.cls.lookup("__delete__")) is not UNBOUND:
        return _invoke(deleter, found, owner)
    if name not in owner.fields:
        raise missing(owner, name)
    del owner.fields[name]
    return None


def any_class(m, wanted, test) -> bool:
    """Whether `test(class, in_union)` holds for a class or any of several.

    Several are given as a union, or as a tuple of classes and tuples.
    """
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
    return any_class(m, wanted, lambda option, in_union: _is_instance(m, value, option, in_union))


def _is_instance(m, value, wanted, in_union: bool) -> bool:
    if type(wanted) is Class:
        cls = getattr(value, "cls", None)  # of an instance, or of a member of one of our own enums
        if wanted is OBJECT or (cls is not None and wanted in cls.mro):
            return True
        if type(value) is Class and value.meta is not None and wanted in value.meta.mro:
            return True
        return wanted.protocol is not None and _has_all(m, value, wanted, wanted.protocol)
    if type(wanted) is BuiltinType:
        value = plain(value)
        if wanted.name in ("set", "frozenset"):
            return type_name(value) == wanted.name
        return isinstance(value, wanted.hosts)
    if wanted is None and in_union:
        return value is None
    admits = getattr(wanted, "admits", None)
    if admits is not None:
        return admits(value)
    raise TypeError("isinstance() arg 2 must be a type, a tuple of types, or a union")


def _has_all(m, value, protocol: Class, names: tuple[str, ...]) -> bool:
    """Whether a value has every one of the `names` of a protocol."""
    if RUNTIME not in protocol.members:
        raise TypeError("Instance and class checks can only be used with @runtime_checkable protocols")
    m.charge(len(names))
    return all(_has(m, value, name) for name in names)


def _has(m, value, name: str) -> bool:
    try:
        found, _ = method(m, value, name)
    except Missing:
        return False
    asked = type(found) is Invoke and type(value) is Instance and found.fn is value.cls.lookup("__getattr__")
    return found is not None and not asked


def is_subclass(m, cls, wanted) -> bool:
    """`issubclass(cls, wanted)`; TypeError for what is no class."""
    if type(cls) not in (Class, BuiltinType):
        raise TypeError("issubclass() arg 1 must be a class")
    return any_class(m, wanted, lambda option, in_union: _derives(m, cls, option, in_union))


def _derives(m, cls, wanted, in_union: bool) -> bool:
    if wanted is None and in_union:
        return cls is m.builtins["NoneType"]
    covers = getattr(wanted, "covers", None)
    if covers is not None:
        return covers(cls)
    if type(wanted) not in (Class, BuiltinType):
        raise TypeError("issubclass() arg 2 must be a class or a tuple of classes")
    if wanted is cls or wanted is OBJECT:
        return True
    if type(cls) is BuiltinType:
        return type(wanted) is BuiltinType and bool(cls.hosts) and issubclass(cls.hosts[0], wanted.hosts)
    if type(wanted) is BuiltinType:
        return cls.base is not None and _derives(m, cls.base, wanted, in_union)
    if wanted in cls.mro or wanted.protocol is None:
        return wanted in cls.mro
    return all(cls.lookup(name) is not UNBOUND for name in wanted.protocol)
