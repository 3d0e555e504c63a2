"""The command line of this process, quoted for a shell.

It appears in records, reports and refusals.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence

_OURS = ("mxjax", "mxjax.exe", "__main__.py")  # the installed command, and `python -m mxjax`
_given: list[Sequence[str]] = []


@contextlib.contextmanager
def running(arguments: Sequence[str]) -> Iterator[None]:
    """Set the command line while a verb runs.

    The verb's arguments may differ from those of the process.
    """
    _given.append(arguments)
    try:
        yield
    finally:
        _given.pop()


def command_line() -> str:
    """The whole command line, quoted for a shell.

    It is `mxjax VERB ...`, or that of the program that uses the library.
    """
    if _given:
        return shlex.join(["mxjax", *_given[-1]])
    if sys.argv and os.path.basename(sys.argv[0]) in _OURS:
        return shlex.join(["mxjax", *sys.argv[1:]])
    return shlex.join(sys.orig_argv)
