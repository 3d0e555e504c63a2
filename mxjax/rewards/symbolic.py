"""Whether two LaTeX formulas are the same, decided by math-verify in a process that can be killed.

Computer algebra on text that a policy wrote may take forever or all memory, and its own timeouts work in a main thread
only. So it runs in a child that lives as long as it answers in time; threads take turns. What reaches the child is
screened first: no `=`, no list, no tower of powers, no factorial, no decimal that the gold does not have, no letter in
upper and lower case (computer algebra would take `X` for `x`).
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction

from mxjax.sandbox.records import InfrastructureError

CPU_S, WALL_S, START_S, MEMORY_BYTES = 2.0, 60.0, 60.0, 1 << 30
MAX_CHARS = 160
_ENDING_S = 0.5  # a child whose output has ended is given this long to end itself
_WORDS = "frac|dfrac|tfrac|sqrt|pi|cdot|times|left|right|ln|log|sin|cos|tan|theta|alpha|beta|circ"
_SHAPE = re.compile(rf"(?:\\(?:{_WORDS})(?![A-Za-z])|[0-9 {{}}()+*/^.-]|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))+")
_TOWER = re.compile(  # powers of powers, large exponents and numbers, and `x^10`, which is x^1 times 0 in LaTeX
    r"\^ ?(?:\{[^{}]*[\^{]|[0-9(] ?\^|\{ ?-?[0-9]{4,}|\(|-|[0-9]{2,})|\} ?\^.*\^|[0-9]{13,}"
)

_DECIMAL = re.compile(r"[0-9]*\.[0-9]*")
_COMMAND = re.compile(r"\\[A-Za-z]+")

# What every child begins with: the paths of its parent, and the timer's signal, whatever the parent does with it
_PREAMBLE = """
import signal, sys
sys.path += {path!r}
signal.signal(signal.SIGPROF, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
"""
_CHILD = """
import json, os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
out = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
import logging
logging.disable(logging.CRITICAL)
from math_verify import parse, verify
def read(text):
    return parse(f"${{text}}$", parsing_timeout=None)
read("1")
print("ready", file=out, flush=True)
for line in sys.stdin:
    gold, answer = json.loads(line)
    signal.setitimer(signal.ITIMER_PROF, {cpu})  # of processor time, after which the process is ended
    try:
        found = bool(verify(read(gold), read(answer), timeout_seconds=None))
    except MemoryError:
        os._exit(1)  # a new process, with all of the memory that there may be, is asked again
    except Exception:
        found = False
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps(found), file=out, flush=True)
"""


class Comparer:
    """One child process, started when it is first needed and again after it was killed; safe from any thread.

    Args:
        limit_s: seconds by the clock for one comparison, far more than the processor time that the child allows
            itself: on a busy machine a right answer must not become a wrong one.
        program: the child's Python source, which says "ready" and then answers lines; it runs after `_PREAMBLE`.
    """

    def __init__(self, limit_s: float = WALL_S, program: str = _CHILD.format(memory=MEMORY_BYTES, cpu=CPU_S)):
        self._limit_s, self._program = limit_s, program
        self._lock = threading.Lock()
        self._child: subprocess.Popen | None = None

    def same(self, gold: str, answer: str) -> bool | None:
        """Whether both are the same; None when the child took too much processor time or twice died of it.

        A child that is killed from outside or does not answer in time is the machine's fault, and a new one is asked.
        Raises InfrastructureError when that one fails likewise, or none can be started.
        """
        with self._lock:
            for _ in range(2):
                line, code = self._ask(gold, answer)
                if line:
                    return json.loads(line)
                if code == -signal.SIGPROF:  # its own limit
                    return None
        if code in (None, -signal.SIGKILL):
            raise InfrastructureError("the process for symbolic comparison was killed, or did not answer, twice")
        return None

    def _ask(self, gold: str, answer: str) -> tuple[bytes, int | None]:
        """The child's line; without one it is replaced, and its exit status returned, None if it was still running."""
        self._start()
        try:
            self._child.stdin.write((json.dumps([gold, answer]) + "\n").encode())
            self._child.stdin.flush()
            line = self._line(self._limit_s)
        except OSError:
            line = b""
        if line:
            return line, None
        try:
            code = self._child.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        return b"", code

    def close(self) -> None:
        """Ends the child, whatever it is doing."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child.stdin.close()
            self._child.stdout.close()
            self._child = None

    def _start(self) -> None:
        if self._child is not None and self._child.poll() is None:
            return
        self.close()
        path = [entry for entry in sys.path if entry]  # -I leaves out PYTHONPATH and the user's own packages
        command = [sys.executable, "-I", "-c", _PREAMBLE.format(path=path) + self._program]
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise InfrastructureError(f"no process for symbolic comparison: {error}") from error
        if self._line(START_S) != b"ready\n":
            self.close()
            raise InfrastructureError("the process for symbolic comparison did not start")

    def _line(self, limit_s: float) -> bytes:
        """The child's next line; b"" if it does not come in time."""
        line, deadline = b"", time.monotonic() + limit_s
        poll = select.poll()
        poll.register(self._child.stdout, select.POLLIN)
        while not line.endswith(b"\n"):
            ready = poll.poll(1e3 * max(0.0, deadline - time.monotonic()))
            piece = os.read(self._child.stdout.fileno(), 4096) if ready else b""
            if not piece:
                return b""
            line += piece
        return line


COMPARER = Comparer()


@functools.cache
def available() -> bool:
    """Whether math-verify is installed (the extra `code`)."""
    return importlib.util.find_spec("math_verify") is not None


def comparable(gold: str, answer: str) -> bool:
    """Whether both are formulas small and plain enough to be compared, and the answer no less exact than the gold."""
    for text in (gold, answer):
        if len(text) > MAX_CHARS or not _SHAPE.fullmatch(text) or _TOWER.search(text):
            return False
    letters = set(_COMMAND.sub(" ", f"{gold} {answer}"))
    return _decimals(answer) <= _decimals(gold) and not any(
        letter.swapcase() in letters - {letter} for letter in letters
    )


def _decimals(text: str) -> set[Fraction]:
    return {Fraction(f"0{found}0") for found in _DECIMAL.findall(text)}


@functools.lru_cache(maxsize=65_536)
def _compared(gold: str, answer: str) -> bool:
    """Raises TimeoutError at the limit, which is not remembered."""
    found = COMPARER.same(gold, answer)
    if found is None:
        raise TimeoutError
    return found


def same_formula(gold: str, answer: str) -> tuple[bool, str]:
    """(whether they are the same, how that was decided: "symbolic", or "symbolic_limit" when the child gave up)."""
    try:
        return _compared(gold, answer), "symbolic"
    except TimeoutError:
        return False, "symbolic_limit"
