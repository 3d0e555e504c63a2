"""The script language's exception classes, and translation of host errors into them.

Our own functions raise plain host errors (`ValueError("...")`); the machine turns those into script exceptions here,
so that a script can catch them by the name it knows. Only these host errors are a script's: those that a `raise`
statement of ours raised, those that `may_raise` says its values cause in a function, and those of arguments that do not
fit. Any other is a fault of the interpreter, which no script ever sees.
"""

from __future__ import annotations

import dis
from pathlib import Path
from types import CodeType

from mxjax.script.values import Class, Instance, Raised

_TREE = {
    "BaseException": "",
    "Exception": "BaseException",
    "KeyboardInterrupt": "BaseException",
    "SystemExit": "BaseException",
    "GeneratorExit": "BaseException",
    "ArithmeticError": "Exception",
    "OverflowError": "ArithmeticError",
    "FloatingPointError": "ArithmeticError",
    "ZeroDivisionError": "ArithmeticError",
    "AssertionError": "Exception",
    "AttributeError": "Exception",
    "BufferError": "Exception",
    "EOFError": "Exception",
    "ImportError": "Exception",
    "ModuleNotFoundError": "ImportError",
    "LookupError": "Exception",
    "IndexError": "LookupError",
    "KeyError": "LookupError",
    "MemoryError": "Exception",
    "NameError": "Exception",
    "UnboundLocalError": "NameError",
    "OSError": "Exception",
    "BlockingIOError": "OSError",
    "ChildProcessError": "OSError",
    "ConnectionError": "OSError",
    "BrokenPipeError": "ConnectionError",
    "ConnectionAbortedError": "ConnectionError",
    "ConnectionRefusedError": "ConnectionError",
    "ConnectionResetError": "ConnectionError",
    "FileExistsError": "OSError",
    "FileNotFoundError": "OSError",
    "InterruptedError": "OSError",
    "IsADirectoryError": "OSError",
    "NotADirectoryError": "OSError",
    "PermissionError": "OSError",
    "ProcessLookupError": "OSError",
    "TimeoutError": "OSError",
    "ReferenceError": "Exception",
    "RuntimeError": "Exception",
    "NotImplementedError": "RuntimeError",
    "RecursionError": "RuntimeError",
    "StopIteration": "Exception",
    "StopAsyncIteration": "Exception",
    "SyntaxError": "Exception",
    "IndentationError": "SyntaxError",
    "TabError": "IndentationError",
    "SystemError": "Exception",
    "TypeError": "Exception",
    "ValueError": "Exception",
    "UnicodeError": "ValueError",
    "UnicodeDecodeError": "UnicodeError",
    "UnicodeEncodeError": "UnicodeError",
    "UnicodeTranslateError": "UnicodeError",
    "JSONDecodeError": "ValueError",
    "Warning": "Exception",
    "BytesWarning": "Warning",
    "DeprecationWarning": "Warning",
    "EncodingWarning": "Warning",
    "FutureWarning": "Warning",
    "ImportWarning": "Warning",
    "PendingDeprecationWarning": "Warning",
    "ResourceWarning": "Warning",
    "RuntimeWarning": "Warning",
    "SyntaxWarning": "Warning",
    "UnicodeWarning": "Warning",
    "UserWarning": "Warning",
}

EXCEPTIONS: dict[str, Class] = {}
for _name, _base in _TREE.items():
    EXCEPTIONS[_name] = Class(_name, (EXCEPTIONS[_base],) if _base else (), {}, shared=True)
BASE = EXCEPTIONS["BaseException"]
EXCEPTION = EXCEPTIONS["Exception"]
for _alias in ("IOError", "EnvironmentError"):
    EXCEPTIONS[_alias] = EXCEPTIONS["OSError"]

MESSAGE_CHARS = 2000  # that are kept of a message of ours
HOST_ERRORS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)


_OURS = f"{Path(__file__).parents[1]}/"  # the files whose `raise` statements speak to scripts
_RAISE = dis.opmap["RAISE_VARARGS"]
_DECLARED: dict[CodeType, tuple[type[BaseException], ...]] = {}
_BINDING: set[CodeType] = set()


class InternalError(Exception):
    """A fault of the interpreter.

    It ends the run, and no script can catch it.
    """


def may_raise(*kinds: type[BaseException]):
    """Declare the host errors that script values may cause in a function.

    This includes errors in the functions that it calls.
    """

    def declare(function):
        _DECLARED[function.__code__] = kinds
        return function

    return declare


def binds_arguments(function):
    """Declare that a function of ours calls others with a script's arguments.

    The host may find that these do not fit.
    """
    _BINDING.add(function.__code__)
    return function


def make(name: str, *args) -> Instance:
    """A new exception of the built-in class `name`."""
    return Instance(EXCEPTIONS[name], {"args": args})


def convert(error: BaseException) -> Instance:
    """The script exception for a host error or a `Raised`.

    For a `Raised`, it is the exception that it carries. Raises InternalError for a host error that is no script's.
    """
    if type(error) is Raised:
        return error.value
    if not _is_of_script(error):
        raise InternalError(f"{type(error).__name__}: {str(error)[:200]}") from error
    for host in type(error).__mro__:
        cls = EXCEPTIONS.get(host.__name__)
        if cls is not None:
            if isinstance(error, KeyError | StopIteration):
                return Instance(cls, {"args": error.args})
            message = str(error)[:MESSAGE_CHARS]
            return Instance(cls, {"args": (message,) if message else ()})
    return make("RuntimeError", str(error)[:MESSAGE_CHARS])


def _is_of_script(error: BaseException) -> bool:
    """Whether our code means a host error for the script: see above."""
    ours = last = inner = error.__traceback__
    while inner is not None:
        code = inner.tb_frame.f_code
        if code.co_filename.startswith(_OURS) or code in _DECLARED:
            ours = inner
        last, inner = inner, inner.tb_next
    assert ours is not None, "an error that was caught has a traceback"
    code = ours.tb_frame.f_code
    if isinstance(error, _DECLARED.get(code, ())):
        return True
    if ours is not last:
        return False
    return code.co_code[ours.tb_lasti] == _RAISE or (code in _BINDING and isinstance(error, TypeError))


def is_exception(value) -> bool:
    """Whether `value` is an instance of an exception class."""
    return type(value) is Instance and BASE in value.cls.mro


def is_exception_class(value) -> bool:
    """Whether `value` is an exception class."""
    return type(value) is Class and BASE in value.mro


def args_of(value: Instance) -> tuple:
    """The arguments of an exception, whatever a script put in their place."""
    args = value.fields.get("args", ())
    return args if type(args) is tuple else tuple(args) if type(args) is list else (args,)


def describe(value: Instance) -> str:
    """`ValueError: text`, for reasons and reports.

    Runs no code of the script.
    """
    args = [
        item
        for item in args_of(value)[:100]
        if type(item) in (str, float, bool) or (type(item) is int and item.bit_length() < 999)
    ]
    text = ", ".join(repr(item) if value.cls.name == "KeyError" else str(item)[:500] for item in args)[:500]
    return f"{value.cls.name}: {text}" if text else value.cls.name
