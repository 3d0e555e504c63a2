"""Renders a model's chat template in a process of its own, which is ended when it takes too long.

A template is a program that came with a download. Jinja's sandbox keeps it from the machine's files, but not from loops
inside loops, or from text that doubles until the memory is gone; a process with limits does.
"""

from __future__ import annotations

import atexit
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from mxjax.errors import UserError

CPU_S, WALL_S, START_S = 2, 120.0, 60.0
MEMORY_BYTES = 1 << 30
MAX_CHARS = 1 << 24  # of a rendered conversation

# -I leaves out PYTHONPATH and the user's own packages, and a parent may have blocked the timer's signal.
_CHILD = """
import runpy, signal, sys
sys.path += {path!r}
signal.signal(signal.SIGPROF, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
runpy.run_path({file!r})["serve"]({cpu}, {memory}, {chars})
"""


class Renderer:
    """One child process, started when it is first needed and again after its end; safe from any thread."""

    def __init__(self, wall_s: float = WALL_S, cpu_s: float = CPU_S):
        self._wall_s, self._cpu_s = wall_s, cpu_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen | None = None
        self._over: dict[str, str] = {}  # template → the limit that it broke: it is not tried again
        self._owner = 0  # the process that started the child: one that was forked from it needs its own

    def render(self, source: str, variables: dict[str, Any]) -> str:
        """The text that the template `source` writes.

        Raises ValueError, saying why, for a template that cannot be compiled, that refuses its variables, or that
        takes more than 2 seconds of processor time, 1 GiB of memory or 16 million characters of text.
        """
        line = (json.dumps([source, variables]) + "\n").encode()
        with self._lock:
            if source in self._over:
                raise UserError(self._over[source])
            answer, code = self._ask(line)
            if not answer and code != -signal.SIGPROF:  # ended from outside, or by what it did: a new one is asked
                answer, code = self._ask(line)
            if not answer:
                late = code == -signal.SIGPROF
                self._over[source] = f"it takes over {self._cpu_s} s" if late else "it ends the process that renders it"
                raise UserError(self._over[source])
            text, refusal, over = json.loads(answer)
            if over:
                self._over[source] = refusal
        if refusal:
            raise UserError(refusal)
        return text

    def _ask(self, line: bytes) -> tuple[bytes, int | None]:
        """The child's answer; without one the child is gone, and this is its exit status."""
        self._start()
        try:
            self._child.stdin.write(line)
            self._child.stdin.flush()
            answer = self._line(self._wall_s)
        except OSError:
            answer = b""
        except BaseException:  # Ctrl-C: an answer that nobody has read would be taken for the next one
            self._child.kill()
            self.close()
            raise
        return (answer, None) if answer else (b"", self.close())

    def _start(self) -> None:
        if self._child is not None and self._owner == os.getpid() and self._child.poll() is None:
            return
        if self._owner == os.getpid():
            self.close()
        file = str(pathlib.Path(__file__).with_name("chat_template.py"))
        program = _CHILD.format(
            path=[entry for entry in sys.path if entry], file=file, cpu=self._cpu_s, memory=MEMORY_BYTES,
            chars=MAX_CHARS,
        )  # fmt: skip
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._child, self._owner = subprocess.Popen([sys.executable, "-I", "-c", program], **pipes), os.getpid()
        if self._line(START_S) != b"ready\n":
            self.close()
            raise RuntimeError("the process that renders chat templates did not start")

    def _line(self, limit_s: float) -> bytes:
        """The child's next line; b"" if it does not come in time."""
        pieces, deadline = [b""], time.monotonic() + limit_s
        poll = select.poll()
        poll.register(self._child.stdout, select.POLLIN)
        while not pieces[-1].endswith(b"\n"):
            ready = poll.poll(1e3 * max(0.0, deadline - time.monotonic()))
            piece = os.read(self._child.stdout.fileno(), 1 << 16) if ready else b""
            if not piece:
                return b""
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> int | None:
        """Ends the child; its exit status, or None if it had not ended by itself."""
        if self._child is None or self._owner != os.getpid():
            return None
        try:
            code = self._child.wait(0.5)
        except subprocess.TimeoutExpired:
            code = None
            self._child.kill()
            self._child.wait()
        self._child.stdin.close()
        self._child.stdout.close()
        self._child = None
        return code


RENDERER = Renderer()


@atexit.register
def _end() -> None:
    child = RENDERER._child
    if child is not None and RENDERER._owner == os.getpid():
        child.kill()
