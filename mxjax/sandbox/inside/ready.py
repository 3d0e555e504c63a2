"""Preparation of a job's interpreter: `exit`, `asyncio`, and more.

A program finds what it would find in an interpreter that a person starts. Everything is done once in the warm process,
since a job may not make all the calls that this takes.
"""

import builtins
import os
import site
import sys

RECURSION = 50_000
"""Calls that answers in LeetCode's format may nest, as LiveCodeBench allows them."""


def make_ready() -> None:
    """Install the builtins of `site`, and an `asyncio` without sockets."""
    site.setquit()
    site.setcopyright()
    site.sethelper()
    _wake_by_pipe()


def usual_builtins() -> dict:
    """Builtins with the usual imports behind them.

    A name that both have is the builtin.
    """
    import usual

    names = {name: value for name, value in vars(usual).items() if not name.startswith("_")}
    return {**names, **vars(builtins)}


def _wake_by_pipe() -> None:
    ssl = sys.modules.get("ssl")
    sys.modules["ssl"] = None  # type: ignore[assignment]  # what makes an import fail; typeshed knows modules only
    try:
        from asyncio import selector_events
    finally:
        del sys.modules["ssl"]
        if ssl is not None:
            sys.modules["ssl"] = ssl
    selector_events.BaseSelectorEventLoop._make_self_pipe = _make_self_pipe  # type: ignore[attr-defined]  # private


def _make_self_pipe(loop) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    loop._ssock, loop._csock = _End(reader), _End(writer)
    loop._internal_fds += 1
    loop._add_reader(reader, loop._read_from_self)


class _End:
    """One end of a pipe, with the socket methods of event loops."""

    def __init__(self, fd):
        self._fd = fd

    def fileno(self):
        return self._fd

    def recv(self, size):
        return os.read(self._fd, size)

    def send(self, data):
        return os.write(self._fd, data)

    def close(self):
        os.close(self._fd)
