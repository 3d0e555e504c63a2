"""Render chat templates in a separate process with limits.

A template is a program that came with a download. Jinja's sandbox keeps it from the machine's files, but not from loops
inside loops, or from text that doubles until the memory is gone; a process with limits does.
"""

from __future__ import annotations

import atexit
import json
import pathlib
import threading
from typing import Any

from mxjax.child import LATE, Child
from mxjax.errors import UserError

CPU_S, WALL_S = 2, 120.0
MEMORY_BYTES = 1 << 30
MAX_CHARS = 1 << 24  # of a rendered conversation

_CHILD = """
import runpy
runpy.run_path({file!r})["serve"]({cpu}, {memory}, {chars})
"""


class Renderer(Child):
    """The child process that renders templates; safe from any thread."""

    def __init__(self, wall_s: float = WALL_S, cpu_s: float = CPU_S):
        file = str(pathlib.Path(__file__).with_name("chat_template.py"))
        super().__init__(_CHILD.format(file=file, cpu=cpu_s, memory=MEMORY_BYTES, chars=MAX_CHARS), wall_s)
        self._cpu_s = cpu_s
        self._lock = threading.Lock()
        self._over: dict[str, str] = {}  # template → the limit that it broke: it is not tried again

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
            if not answer and code != LATE:  # ended from outside, or by what it did: a new one is asked
                answer, code = self._ask(line)
            if not answer:
                late = code == LATE
                self._over[source] = f"it takes over {self._cpu_s} s" if late else "it ends the process that renders it"
                raise UserError(self._over[source])
            text, refusal, over = json.loads(answer)
            if over:
                self._over[source] = refusal
        if refusal:
            raise UserError(refusal)
        return text


RENDERER = Renderer()


atexit.register(RENDERER.close)
