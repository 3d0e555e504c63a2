"""The names of `typing`, `collections.abc` and `numbers`.

They are annotations; some also tell what a value can do.
"""

from __future__ import annotations

from collections import deque

from mxjax.script import keys
from mxjax.script.modules.mixins import MIXINS
from mxjax.script.values import (
    UNBOUND,
    BoundMethod,
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    Function,
    Generator,
    HostIterator,
    Instance,
    Native,
    Set,
    Union,
    View,
    is_type,
)

_SETS = (Set, View)
_SEQUENCES = (list, tuple, str, range, deque)
_CONTAINERS = (*_SEQUENCES, dict, *_SETS)
_HOSTS = {
    "Callable": (Function, Native, BoundMethod, BuiltinType, Class),
    "Iterable": (*_CONTAINERS, HostIterator),
    "Iterator": (HostIterator,),
    "Generator": (),
    "Awaitable": (),
    "Coroutine": (),
    "Reversible": (*_SEQUENCES, dict, View),
    "Sized": _CONTAINERS,
    "Container": _CONTAINERS,
    "Collection": _CONTAINERS,
    "Sequence": _SEQUENCES,
    "MutableSequence": (list, deque),
    "Mapping": (dict,),
    "MutableMapping": (dict,),
    "Set": _SETS,
    "MutableSet": (Set,),
    "Hashable": (object,),
}
_METHODS = {
    "Callable": ("__call__",),
    "Iterable": ("__iter__",),
    "Iterator": ("__iter__", "__next__"),
    "Reversible": ("__reversed__",),
    "Sized": ("__len__",),
    "Container": ("__contains__",),
    "Collection": ("__len__", "__iter__", "__contains__"),
}
_TYPING_HOSTS = {
    "List": (list,),
    "Dict": (dict,),
    "Tuple": (tuple,),
    "Set": (Set,),
    "FrozenSet": (Set,),
    "Deque": (deque,),
    "DefaultDict": (DefaultDict,),
    "Counter": (CounterDict,),
    "OrderedDict": (dict,),
    "Text": (str,),
    "Type": (BuiltinType, Class),
    "AbstractSet": _SETS,
}
_OF_COROUTINES = frozenset({"Awaitable", "Coroutine", "Hashable"})
_OF_ITERATORS = frozenset({"Iterable", "Iterator", "Hashable"})


class Annotation:
    """A name for annotations.

    Any subscript of it is itself, and as a base class it is ignored.

    `isinstance` takes it where `hosts` are known, the types of ours that have what it asks for; classes of the script
    have it if they define `methods`.
    """

    __slots__ = ("hosts", "methods", "mixin", "name")
    holds = ()
    type_name = "type"
    ignored_base = True

    def __init__(self, name: str, hosts: tuple[type, ...] | None = None, methods: tuple[str, ...] = ()):
        self.name = name
        self.hosts = hosts
        self.methods = methods
        self.mixin = MIXINS.get(name) if hosts is not None else None  # what a class gets that derives from it

    def shown(self) -> str:
        return f"typing.{self.name}"

    def get_item(self, m, key):
        """`Optional[int]` and `Union[int, str]` are unions; any other subscript means nothing."""
        options = key if type(key) is tuple else (key,)
        if self.name in ("Optional", "Union") and all(option is None or is_type(option) for option in options):
            m.need_items(len(options))
            return Union((*options, None) if self.name == "Optional" else options)
        return self

    def admits(self, value) -> bool:
        """`isinstance(value, self)`."""
        if type(value) is Generator:
            self._known()
            if value.awaitable or self.name == "Generator":
                return self.name in _OF_COROUTINES or (not value.awaitable and value.name == "generator")
            return self.name in _OF_ITERATORS
        if type(value) is Instance:
            return self._covers_class(value.cls)
        if type(value) is Set and self.name in ("Hashable", "MutableSet", "Set", "FrozenSet"):
            return value.frozen if self.name in ("Hashable", "FrozenSet") else not value.frozen or self.hosts == _SETS
        if type(value) is View and value.kind == "values" and self.name in ("Set", "AbstractSet"):
            return False
        if self.name == "Hashable":
            return type(value) not in keys.UNHASHABLE
        return isinstance(value, self._known())

    def covers(self, cls) -> bool:
        """`issubclass(cls, self)`."""
        if type(cls) is Class:
            return self._covers_class(cls)
        kinds = self._known()
        return any(issubclass(host, kinds) for host in cls.hosts[:1])

    def _known(self) -> tuple[type, ...]:
        if self.hosts is None:
            raise TypeError(f"typing.{self.name} cannot be used with isinstance()")
        return self.hosts

    def _covers_class(self, cls: Class) -> bool:
        hosts = self._known()
        if self.name == "Hashable":
            return keys.has_identity(cls)
        if self.mixin is not None and self.mixin in cls.mro:
            return True
        if cls.base is not None and cls.base.hosts and issubclass(cls.base.hosts[0], hosts):
            return True
        return bool(self.methods) and all(cls.lookup(name) not in (UNBOUND, None) for name in self.methods)


_TYPING = """
    Annotated Any AnyStr AsyncContextManager AsyncGenerator AsyncIterable AsyncIterator BinaryIO ByteString ChainMap
    ClassVar Concatenate ContextManager Final ForwardRef Generic IO ItemsView KeysView Literal LiteralString MappingView
    Match Never NoReturn NotRequired Optional ParamSpecArgs ParamSpecKwargs Pattern Protocol Required Self SupportsAbs
    SupportsBytes SupportsComplex SupportsFloat SupportsIndex SupportsInt SupportsRound TextIO TypeAlias TypeGuard Union
    Unpack ValuesView
"""
ABSTRACT = {name: Annotation(name, hosts, _METHODS.get(name, ())) for name, hosts in _HOSTS.items()}
TYPING = {
    **{name: Annotation(name) for name in _TYPING.split()},
    **ABSTRACT,
    **{name: Annotation(name, hosts) for name, hosts in _TYPING_HOSTS.items()},
}
NUMBERS = {
    name: Annotation(name, (int,) if name in ("Integral", "Rational") else (int, float))
    for name in ("Number", "Complex", "Real", "Rational", "Integral")
}
