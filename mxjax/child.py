"""A process of our own that answers lines and can be ended.

For work on text that may take forever or all memory. Its own limits are its program's affair; here it is started when
it is first needed, waited for, and replaced.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from typing import IO

START_S = 60.0
_ENDING_S = 0.5  # a child whose output has ended is given this long to end itself

# What every child begins with: the paths of its parent (-I leaves out PYTHONPATH and the user's own packages), and the
# timer's signal, whatever the parent does with it
_PREAMBLE = """
import signal, sys
sys.path += {path!r}
signal.signal(signal.SIGPROF, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
"""
LATE = -signal.SIGPROF  # the exit status of a child that its own timer of processor time has ended


class Child:
    """One process, started when first needed and again after its end.

    For one thread at a time.

    Args:
        program: its Python source, which says "ready" and then answers lines, after the preamble above.
        wall_s: seconds by the clock for one answer, far more than the processor time that it may take: on a busy
            machine a right answer must not become none.
    """

    def __init__(self, program: str, wall_s: float):
        self._program, self._wall_s = program, wall_s
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started the child: one that was forked from it needs its own

    def _ask(self, line: bytes) -> tuple[bytes, int | None]:
        """Its answer.

        Without one it is ended, and its exit status returned, None if it was still running.

        Raises OSError or RuntimeError when it cannot be started.
        """
        child = self._started()
        stdin, _ = _pipes(child)
        try:
            stdin.write(line)
            stdin.flush()
            answer = self._line(self._wall_s)
        except OSError:
            answer = b""
        except BaseException:  # Ctrl-C: an answer that nobody has read would be taken for the next one
            self.close()
            raise
        if answer:
            return answer, None
        try:
            code: int | None = child.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        return b"", code

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._child is None or self._owner != os.getpid():
            return
        self._child.kill()
        self._child.wait()
        for pipe in _pipes(self._child):
            pipe.close()
        self._child = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._owner == os.getpid() and self._child.poll() is None:
            return self._child
        self.close()
        path = [entry for entry in sys.path if entry]
        command = [sys.executable, "-I", "-c", _PREAMBLE.format(path=path) + self._program]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._child, self._owner = child, os.getpid()
        if self._line(START_S) != b"ready\n":
            self.close()
            raise RuntimeError("a process that answers lines did not start")
        return child

    def _line(self, limit_s: float) -> bytes:
        """The next line of the child; b"" if it does not come in time."""
        _, stdout = _pipes(self._child)
        pieces, deadline = [b""], time.monotonic() + limit_s
        poll = select.poll()
        poll.register(stdout, select.POLLIN)
        while not pieces[-1].endswith(b"\n"):
            ready = poll.poll(1e3 * max(0.0, deadline - time.monotonic()))
            piece = os.read(stdout.fileno(), 1 << 16) if ready else b""
            if not piece:
                return b""
            pieces.append(piece)
        return b"".join(pieces)


def _pipes(child: subprocess.Popen[bytes] | None) -> tuple[IO[bytes], IO[bytes]]:
    assert child is not None and child.stdin is not None and child.stdout is not None
    return child.stdin, child.stdout
