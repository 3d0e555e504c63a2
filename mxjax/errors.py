"""Mistakes of the user's, told apart from faults of ours.

The command line shows the first as one line. Everything else keeps its traceback, so what is wrong with a setting
or a file is said with one of these where it is read. They are also the builtin exceptions that users of the library
expect.
"""

from __future__ import annotations

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Iterator
from typing import Any

_LIBRARIES = (sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_INSTALLED = (os.path.dirname(__file__) + os.sep, "<frozen ", *dict.fromkeys(_LIBRARIES))


class UserError(ValueError):
    """A wrong setting or file.

    The message names the thing and the fix in one line. The command line exits with 2.
    """


class MissingFile(UserError, FileNotFoundError):
    """A file, folder or checkpoint that is not where the user says."""


class FileError(UserError, OSError):
    """A file of the user's that cannot be read or written."""


class MissingPackage(UserError, ImportError):
    """An optional package that a setting needs and that is not installed."""


class RunStopped(Exception):
    """A run that ended itself, for no mistake in its settings.

    The message is one line. The command line exits with 1.
    """


@contextlib.contextmanager
def file_errors(doing: str, path: Any) -> Iterator[None]:
    """Turn an OSError on a user's file into "cannot DOING PATH: why"."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise FileError(f"cannot {doing} {path}: {error.strerror or error}") from error


def message_of(error: BaseException) -> str:
    """An exception's message on one line, else its type's name."""
    return " ".join(str(error).split()) or type(error).__name__


def place_of(error: BaseException) -> str:
    """Where an exception arose, "FILE, line N, in FUNCTION".

    This is the innermost code that is neither a library's nor ours. If all of it is installed code, it is the innermost
    frame; "" for an exception that was never raised.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(_INSTALLED)]
    if not frames:
        return ""
    frame = (outside or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}, in {frame.name}"
