"""`dataclasses`: the methods of a record class, made from its annotations."""

from __future__ import annotations

from mxjax.script import comparison, keys
from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import EXCEPTIONS
from mxjax.script.formatting import to_repr
from mxjax.script.frames import Invoke
from mxjax.script.keys import hash_
from mxjax.script.modules.abstract import Annotation
from mxjax.script.values import NOT_IMPLEMENTED, UNBOUND, Class, Instance, Native, Raised, Sentinel, type_name

FROZEN = Class("FrozenInstanceError", (EXCEPTIONS["AttributeError"],), {}, shared=True)
_FIELDS = "__dataclass_fields__"
MISSING = Sentinel("MISSING")


class Field:
    """What `field(...)` says of one field."""

    __slots__ = ("compare", "default", "factory", "init", "init_only", "kw_only", "metadata", "name", "repr", "type")
    holds = ("default", "factory", "metadata")
    type_name = "Field"

    def __init__(
        self, default=UNBOUND, default_factory=UNBOUND, init=True, repr=True, compare=True, kw_only=None, metadata=None
    ):
        self.name = self.type = ""
        self.metadata = {} if metadata is None else metadata
        self.init_only = False
        self.default = default
        self.factory = default_factory
        self.init = init
        self.repr = repr
        self.compare = compare
        self.kw_only = kw_only


def field(
    m,
    *,
    default=UNBOUND,
    default_factory=UNBOUND,
    init=True,
    repr=True,
    compare=True,
    kw_only=None,
    metadata=None,
    hash=None,
):
    m.allocate(400)
    return Field(default, default_factory, init, repr, compare, kw_only, metadata)


def dataclass(m, cls=None, **options):
    m.allocate(600)
    if cls is None:
        return Native("dataclass", lambda m, cls: make(cls, options))
    return make(cls, options)


def make(cls, options: dict) -> Class:
    """Add the methods of a dataclass to `cls`."""
    if type(cls) is not Class or cls.shared:
        raise TypeError("dataclass() should be called on a class of the script")
    fields: dict[str, Field] = {}
    for parent in reversed(cls.mro[1:]):
        fields.update(parent.members.get(_FIELDS, {}))
    kw_only = bool(options.get("kw_only"))
    for name, annotation in cls.members.get("__annotations__", {}).items():
        if "ClassVar" in annotation:
            continue
        if annotation in ("KW_ONLY", "dataclasses.KW_ONLY"):
            kw_only = True
            continue
        value = cls.members.get(name, UNBOUND)
        if type(value) in (list, dict):
            raise ValueError(f"mutable default {type(value)} for field {name} is not allowed: use default_factory")
        made = value if type(value) is Field else Field(value)
        made.name, made.type = name, annotation
        made.kw_only = kw_only if made.kw_only is None else made.kw_only
        made.init_only = annotation.startswith(("InitVar", "dataclasses.InitVar"))
        fields[name] = made
        if made.default is UNBOUND:
            cls.members.pop(name, None)
        else:
            cls.members[name] = made.default
    _check_order(fields)
    cls.members[_FIELDS] = fields
    cls.members.setdefault("__match_args__", tuple(f.name for f in fields.values() if f.init and not f.kw_only))
    compared = [f.name for f in fields.values() if f.compare and not f.init_only]
    methods = {"__repr__": _show(fields)} if options.get("repr", True) else {}
    if options.get("init", True):
        methods["__init__"] = _init(cls, fields)
    if options.get("eq", True):
        methods["__eq__"] = _equal(cls, compared)
    if options.get("order"):
        methods.update({f"__{name}__": _ordered(cls, compared, symbol) for name, symbol in _ORDER.items()})
    if options.get("frozen"):
        methods.update(__setattr__=_refuse, __delattr__=_refuse)
    own = "__hash__" in cls.members or "__eq__" in cls.members
    if options.get("unsafe_hash") or (options.get("frozen") and options.get("eq", True)):
        cls.members.setdefault("__hash__", Native("__hash__", _hash(compared), method=True))
        cls.key = None if own else tuple(compared)
    elif options.get("eq", True):
        cls.members.setdefault("__hash__", None)
    for name, function in methods.items():
        cls.members.setdefault(name, Native(name, function, method=True))
    return cls


def _check_order(fields: dict[str, Field]):
    """Refuse a field without a default after one with."""
    defaulted = False
    for made in fields.values():
        if made.init and not made.kw_only:
            optional = made.default is not UNBOUND or made.factory is not UNBOUND
            if defaulted and not optional:
                raise TypeError(f"non-default argument '{made.name}' follows default argument")
            defaulted = defaulted or optional


def _hash(names: list[str]):
    def hashed(m, self):
        return hash_(m, _values(self, names))

    return hashed


_ORDER = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def _refuse(m, self, name, *value):
    verb = "assign to" if value else "delete"
    raise Raised(Instance(FROZEN, {"args": (f"cannot {verb} field '{name}'",)}))


def _init(cls: Class, fields: dict[str, Field]):
    positional = [f.name for f in fields.values() if f.init and not f.kw_only]

    def init(m, self, *args, **kwargs):
        if len(args) > len(positional):
            raise TypeError(
                f"{cls.name}.__init__() takes {len(positional) + 1} positional arguments but {len(args) + 1} were given"
            )
        given = dict(zip(positional, args))
        for name, value in kwargs.items():
            if name not in fields or not fields[name].init:
                raise TypeError(f"{cls.name}.__init__() got an unexpected keyword argument '{name}'")
            if name in given:
                raise TypeError(f"{cls.name}.__init__() got multiple values for argument '{name}'")
            given[name] = value
        missing = [n for n, f in fields.items() if f.init and n not in given and f.default is f.factory is UNBOUND]
        if missing:
            listed = ", ".join(f"'{name}'" for name in missing)
            raise TypeError(f"{cls.name}.__init__() missing {len(missing)} required arguments: {listed}")
        m.allocate(100 * len(fields))
        passed = []
        for name, made in fields.items():
            if made.init_only:
                passed.append(given.get(name, made.default))
            elif name in given:
                self.fields[name] = given[name]
            elif made.factory is not UNBOUND:
                self.fields[name] = yield Invoke(made.factory)
            elif made.default is not UNBOUND:
                self.fields[name] = made.default
        after = cls.lookup("__post_init__")
        if after is not UNBOUND:
            yield Invoke(after, (self, *passed))

    return init


def _show(fields: dict[str, Field]):
    def show(m, self):
        parts = []
        for name, made in fields.items():
            if made.repr and not made.init_only:
                parts.append(f"{name}={(yield from to_repr(m, self.fields.get(name)))}")
        m.need_string(sum(map(len, parts)) + 2 * len(parts), all(map(str.isascii, parts)))
        return f"{self.cls.name}({', '.join(parts)})"

    return show


def _values(owner: Instance, names: list[str]) -> tuple:
    return tuple(owner.fields.get(name) for name in names)


def _equal(cls: Class, names: list[str]):
    def equal(m, self, other):
        if type(other) is not Instance or other.cls is not self.cls:
            return NOT_IMPLEMENTED
        return (yield from comparison.equal(m, _values(self, names), _values(other, names)))

    return equal


def _ordered(cls: Class, names: list[str], symbol: str):
    def ordered(m, self, other):
        if type(other) is not Instance or other.cls is not self.cls:
            return NOT_IMPLEMENTED
        return (yield from comparison.ordered(m, symbol, _values(self, names), _values(other, names)))

    return ordered


def _fields_of(value) -> dict[str, Field]:
    cls = value.cls if type(value) is Instance else value
    fields = cls.lookup(_FIELDS) if type(cls) is Class else UNBOUND
    if not isinstance(fields, dict):
        raise TypeError(f"a dataclass instance is needed, not '{type_name(value)}'")
    return fields


def _stored(value) -> list[str]:
    """The names of the fields that an object has."""
    return [name for name, made in _fields_of(value).items() if not made.init_only]


def asdict(m, value):
    return _plain(m, value, dict, 0)


def astuple(m, value):
    return _plain(m, value, tuple, 0)


def _plain(m, value, kind, depth: int):
    if depth > m.limits.nesting:
        raise LimitExceeded("nesting")
    m.charge(1)
    if type(value) is Instance and value.cls.lookup(_FIELDS) is not UNBOUND:
        names = _stored(value)
        m.need_items(len(names))
        items = [_plain(m, value.fields.get(name), kind, depth + 1) for name in names]
        return dict(zip(names, items)) if kind is dict else tuple(items)
    if type(value) in (list, tuple):
        m.need_items(len(value))
        return type(value)(_plain(m, item, kind, depth + 1) for item in value)
    if type(value) is dict:
        m.need_entries(len(value))
        keys.hash_again(m, value)
        return {key: _plain(m, item, kind, depth + 1) for key, item in value.items()}
    return value


def replace(m, value, **changes):
    if type(value) is not Instance:
        raise TypeError("replace() should be called on dataclass instances")
    given = {name: value.fields.get(name) for name, made in _fields_of(value).items() if made.init}
    return (yield Invoke(value.cls, (), {**given, **changes}))


def is_dataclass(m, value):
    cls = value.cls if type(value) is Instance else value
    return type(cls) is Class and cls.lookup(_FIELDS) is not UNBOUND


def fields(m, value):
    made = _fields_of(value)
    m.allocate(600 * len(made))
    return tuple(Instance(_FIELD, _shown(made[name])) for name in _stored(value))


_FIELD = Class("Field", (), {}, shared=True)


def _shown(made: Field) -> dict:
    """What a script sees of a field."""
    default = MISSING if made.default is UNBOUND else made.default
    factory = MISSING if made.factory is UNBOUND else made.factory
    return {
        "name": made.name,
        "type": made.type,
        "default": default,
        "default_factory": factory,
        "init": made.init,
        "repr": made.repr,
        "compare": made.compare,
        "kw_only": bool(made.kw_only),
        "metadata": made.metadata,
    }


FUNCTIONS = {
    "dataclass": dataclass,
    "field": field,
    "asdict": asdict,
    "astuple": astuple,
    "replace": replace,
    "is_dataclass": is_dataclass,
    "fields": fields,
}
CONSTANTS = {
    "FrozenInstanceError": FROZEN,
    "InitVar": Annotation("InitVar"),
    "KW_ONLY": Annotation("KW_ONLY"),
    "MISSING": MISSING,
}
