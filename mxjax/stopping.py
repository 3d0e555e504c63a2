"""Stop on request, at a safe place and with the state saved.

SIGTERM, or Ctrl-C once, asks for it. A machine that is taken away says so a minute before. While a run prepares,
nothing can be lost and the signal ends it at once; while it works (`deferred`), the signal waits until the work asks
(`poll`), between two turns of the engines or two steps, where state and files agree. Python sees no signal while a
program compiles, so a thread watches beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import types
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PATIENCE_S = 45.0  # within which a SIGTERM is noticed, or the process ends where nothing is lost by that


class Stopped(SystemExit):
    """The end of a run that was asked to stop.

    The exit status is 0 after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, number: int):
        self.status = 0 if number == signal.SIGTERM else 128 + number
        super().__init__(self.status)
        self.signal = signal.Signals(number)


class _Watch:
    """The request to stop, and whether this process can comply.

    There is one, since signals belong to the process.
    """

    def __init__(self):
        self.installed = self.waits = self.unsaved = False
        self.asked: int | None = None
        self.noticed = threading.Event()

    def handle(self, number: int, frame) -> None:
        first, self.asked = self.asked is None, self.asked or number
        if number == signal.SIGINT and not first:
            raise KeyboardInterrupt
        if first and self.waits and number == signal.SIGINT:
            os.write(2, b"\nmxjax: stopping at the next safe place; Ctrl-C again stops at once\n")
        if not self.waits and not self.noticed.is_set() and not _importing(frame):
            poll()

    def insist(self, woken: socket.socket) -> None:
        """Repeat a signal that came during an import.

        Also end the process if it does not notice a SIGTERM at all. It is then killed, unless work would be lost by
        that.
        """
        while not set(numbers := woken.recv(64)) & set(SIGNALS):
            if not numbers:
                return
        began = time.monotonic()
        while not self.noticed.wait(0.1):
            if self.asked is not None and not self.waits:
                os.kill(os.getpid(), signal.SIGTERM)
            stuck = signal.SIGTERM in numbers and time.monotonic() - began > PATIENCE_S
            if stuck and not self.unsaved:
                os.write(2, b"\nmxjax: ended at once by SIGTERM, with nothing to save\n")
                os._exit(0)


def _importing(frame: types.FrameType | None) -> bool:
    """Whether a frame is inside an import.

    A compiled module turns an exception there into an ImportError.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


_watch = _Watch()


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into `Stopped`; their handlers are as before afterwards.

    Does nothing outside the main thread, where Python takes no signals, or inside another one of these.
    """
    global _watch
    if _watch.installed or threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch = watch = _Watch()
    ear, woken = socket.socketpair()
    ear.setblocking(False)
    watcher = threading.Thread(target=watch.insist, args=(woken,), daemon=True, name="stopping")
    watch.installed = True
    before = {number: signal.signal(number, watch.handle) for number in SIGNALS}
    fd = signal.set_wakeup_fd(ear.fileno(), warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        watch.noticed.set()
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        ear.close()
        watcher.join()
        woken.close()
        _watch = _Watch()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let signals wait for the next `poll`."""
    watch, before = _watch, _watch.waits
    watch.waits = True
    try:
        poll()
        yield
    finally:
        watch.waits = before


def poll() -> None:
    """Raise `Stopped` where a signal asked for it.

    Call it where state and files agree.
    """
    if _watch.asked is not None:
        _watch.noticed.set()
        raise Stopped(_watch.asked)


def owe(unsaved: bool) -> None:
    """Say whether steps were taken that no checkpoint has.

    A stuck process with such steps is not killed.
    """
    _watch.unsaved = unsaved
