"""Modules that scripts import out of habit: typing, logging, os, sys and the like, with nothing behind them.

`typing` names accept any subscript and mean nothing; loggers swallow what they are given; `os` knows no environment
and no files. There is no clock.
"""

from __future__ import annotations

from mxjax.mas.interpreter import exceptions
from mxjax.mas.interpreter.attributes import PROPERTIES, methods
from mxjax.mas.interpreter.values import Module, Native, Raised


class Annotation:
    """A name of `typing`: any subscript of it is itself, and as a base class it is ignored."""

    __slots__ = ("name",)
    type_name = "type"
    subscriptable = True
    ignored_base = True
    matches_anything = True

    def __init__(self, name: str):
        self.name = name

    def shown(self) -> str:
        return f"typing.{self.name}"


class Handle:
    """An object whose methods take anything and do nothing."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    @property
    def type_name(self) -> str:
        return self.name


def nothing(m, *args, **kwargs):
    return None


_TYPING = """
    Annotated Any AsyncIterator Awaitable Callable ClassVar Collection Coroutine Counter DefaultDict Deque Dict Final
    FrozenSet Generator Generic Hashable Iterable Iterator List Literal Mapping Match MutableMapping NoReturn Optional
    Pattern Protocol Self Sequence Set Sized SupportsFloat SupportsInt Text Tuple Type TypedDict Union
"""
_LOG = "debug info warning warn error critical exception log setLevel addHandler removeHandler setFormatter"
LOGGER = Handle("Logger")
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "WARN": 30, "ERROR": 40, "CRITICAL": 50}
methods(Handle, {name: nothing for name in _LOG.split()} | {"isEnabledFor": lambda m, owner, level: False})
PROPERTIES[Handle] = {"handlers": lambda m, owner: []}


def exit_(m, code=None):
    raise Raised(exceptions.make("SystemExit", *(() if code is None else (code,))))


def join(m, *parts):
    m.need_string(sum(len(part) + 1 for part in parts))
    return "/".join(parts)


def _natives(table: dict) -> dict:
    return {name: Native(name, fn) for name, fn in table.items()}


_ANNOTATIONS = {name: Annotation(name) for name in _TYPING.split()}
_TYPING_FUNCTIONS = {
    **{name: (lambda m, value, *rest: value) for name in ("overload", "runtime_checkable", "final")},
    "cast": lambda m, kind, value: value,
    "TypeVar": lambda m, name, *args, **kwargs: Annotation(name),
    "NewType": lambda m, name, kind: kind,
}
_PATH = Module(
    "os.path",
    _natives(
        {
            "join": join,
            "dirname": lambda m, path: path.rpartition("/")[0],
            "basename": lambda m, path: path.rpartition("/")[2],
            "abspath": lambda m, path: path,
            "exists": lambda m, path: False,
        }
    ),
)
_LOGGING = {
    **_natives({name: nothing for name in ("basicConfig", "disable", *_LOG.split()[:7])}),
    **_natives({name: (lambda m, *args, **kwargs: LOGGER) for name in ("getLogger", "StreamHandler", "Formatter")}),
    **_LEVELS,
}
_SYS = {
    "path": [],
    "argv": [],
    "stdout": Handle("TextIO"),
    "stderr": Handle("TextIO"),
    "maxsize": 2**63 - 1,
    "version_info": (3, 12, 0),
    "exit": Native("exit", exit_),
}
methods(Handle, {"write": nothing, "flush": nothing})


def _fresh(name: str, members: dict):
    """A module whose containers are new for every machine."""

    def make(m) -> Module:
        return Module(
            name, {key: type(value)() if type(value) in (list, dict) else value for key, value in members.items()}
        )

    return make


MODULES = {
    "typing": Module("typing", _ANNOTATIONS | {"TYPE_CHECKING": False} | _natives(_TYPING_FUNCTIONS)),
    "logging": Module("logging", _LOGGING),
    "warnings": Module("warnings", _natives({"warn": nothing, "filterwarnings": nothing, "simplefilter": nothing})),
    "traceback": Module("traceback", _natives({"print_exc": nothing, "format_exc": lambda m: ""})),
    "sys": _fresh("sys", _SYS),
    "os": _fresh("os", {"path": _PATH, "environ": {}, "sep": "/", "linesep": "\n"} | _natives(
        {"getenv": lambda m, key, default=None: default, "getcwd": lambda m: "/"})),
    "os.path": _PATH,
    "abc": Module("abc", {"ABC": Annotation("ABC"), "ABCMeta": Annotation("ABCMeta")} | _natives(
        {"abstractmethod": lambda m, function: function})),
    "collections.abc": Module("collections.abc", _ANNOTATIONS),
}  # fmt: skip
