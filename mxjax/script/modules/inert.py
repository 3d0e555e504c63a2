"""Inert stand-ins for modules that scripts import out of habit.

These are typing, logging, os, sys and the like.

`typing` names accept any subscript and mean nothing; loggers swallow what they are given; `os` knows no environment
and no files. There is no clock.
"""

from __future__ import annotations

from mxjax.script import exceptions
from mxjax.script.classes import abstractmethod, runtime_checkable
from mxjax.script.modules.abstract import ABSTRACT, NUMBERS, TYPING, Annotation
from mxjax.script.types import make_dict
from mxjax.script.values import Class, Module, Native, Raised, Wrapper, plain, type_name


class Handle:
    """An object whose methods take anything and do nothing."""

    __slots__ = ("name",)
    holds = ()

    def __init__(self, name: str):
        self.name = name

    @property
    def type_name(self) -> str:
        return self.name


class Output:
    """`sys.stdout`: what is written to it is printed."""

    __slots__ = ()
    holds = ()
    type_name = "TextIO"


def nothing(m, *args, **kwargs):
    return None


def _text(value) -> str:
    if type(plain(value)) is not str:
        raise TypeError(f"write() argument must be str, not {type_name(value)}")
    return plain(value)


def write(m, owner: Output, text):
    text = _text(text)
    m.need_printed(len(text))
    m.printed.append(text)
    return len(text)


def unread(m, owner, size=-1):
    """There is nothing on the standard input."""
    return ""


OUTPUT = {"write": write, "flush": nothing, "isatty": lambda m, owner: False}


_LOG = "debug info warning warn error critical exception log setLevel addHandler removeHandler setFormatter"
LOGGER = Handle("Logger")
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "WARN": 30, "ERROR": 40, "CRITICAL": 50}
HANDLE = {
    **{name: nothing for name in _LOG.split()},
    "isEnabledFor": lambda m, owner, level: False,
    "write": lambda m, owner, text: len(_text(text)),
    "flush": nothing,
    "isatty": lambda m, owner: False,
    "read": unread,
    "readline": unread,
}


def exit_(m, code=None):
    raise Raised(exceptions.make("SystemExit", *(() if code is None else (code,))))


def join(m, *parts):
    paths = [_path(part) for part in parts]
    m.need_string(sum(len(path) + 1 for path in paths), all(map(str.isascii, paths)))
    return "/".join(paths)


def _path(part) -> str:
    if type(plain(part)) is not str:
        raise TypeError(f"expected str, bytes or os.PathLike object, not {type_name(part)}")
    return plain(part)


def _parts(m, path) -> tuple[str, str, str]:
    path = _path(path)
    m.need_string(len(path), path.isascii())
    return path.rpartition("/")


def _natives(table: dict) -> dict:
    return {name: Native(name, fn) for name, fn in table.items()}


@exceptions.binds_arguments
def typed_dict(m, cls, *args, **fields):
    """A class derived from `TypedDict` makes plain dicts."""
    return make_dict(m, *args, **fields)


_MARKS = ["overload", "final", "override", "no_type_check", "reveal_type", "assert_type"]
_FUNCTIONS = {
    **{name: (lambda m, value, *rest: value) for name in _MARKS},
    **{name: (lambda m, name, *args, **kwargs: Annotation(name)) for name in ("TypeVar", "TypeVarTuple", "ParamSpec")},
    "runtime_checkable": runtime_checkable,
    "cast": lambda m, kind, value: value,
    "get_type_hints": lambda m, *args, **kwargs: {},
    "NewType": lambda m, name, kind: kind,
}
TYPED_DICT = Class("TypedDict", (), {"__class_call__": Native("TypedDict", typed_dict)}, shared=True)
_PATH = Module(
    "os.path",
    _natives(
        {
            "join": join,
            "dirname": lambda m, path: _parts(m, path)[0],
            "basename": lambda m, path: _parts(m, path)[2],
            "abspath": lambda m, path: _path(path),
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
    "stdout": Output(),
    "stderr": Handle("TextIO"),
    "stdin": Handle("TextIO"),
    "maxsize": 2**63 - 1,
    "version_info": (3, 12, 0),
    "exit": Native("exit", exit_),
}


def _fresh(name: str, members: dict):
    """A module whose containers are new for every machine."""

    def make(m) -> Module:
        return Module(
            name, {key: type(value)() if type(value) in (list, dict) else value for key, value in members.items()}
        )

    return make


MODULES = {
    "typing": Module("typing", TYPING | _natives(_FUNCTIONS) | {"TYPE_CHECKING": False, "TypedDict": TYPED_DICT}),
    "logging": Module("logging", _LOGGING),
    "warnings": Module("warnings", _natives({"warn": nothing, "filterwarnings": nothing, "simplefilter": nothing})),
    "traceback": Module("traceback", _natives({"print_exc": nothing, "format_exc": lambda m: ""})),
    "sys": _fresh("sys", _SYS),
    "os": _fresh(
        "os",
        {"path": _PATH, "environ": {}, "sep": "/", "linesep": "\n"}
        | _natives({"getenv": lambda m, key, default=None: default, "getcwd": lambda m: "/"}),
    ),
    "os.path": _PATH,
    "abc": Module(
        "abc",
        {"ABC": Annotation("ABC"), "ABCMeta": Annotation("ABCMeta")}
        | _natives(
            {
                "abstractmethod": abstractmethod,
                "abstractproperty": lambda m, function: abstractmethod(m, Wrapper("property", function)),
            }
        ),
    ),
    "collections.abc": Module("collections.abc", ABSTRACT),
    "numbers": Module("numbers", NUMBERS),
}
