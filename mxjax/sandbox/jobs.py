"""One job from the trainer's side.

Its descriptors, its output as it comes, and what its end means.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from typing import Any

from mxjax.sandbox.inside.wire import MAX_LINE
from mxjax.sandbox.outcome import Outcome, SandboxLimits
from mxjax.sandbox.zygotes import Zygote, ZygoteLost

_LONGEST_WAIT_S = 60.0
_GRACE_S = 10.0
"""A job whose end is not reported within its wall limit and this is lost."""


class Job:
    """A job under way.

    A program, or with `channel` one that answers requests line by line.
    """

    def __init__(self, zygote: Zygote, payload: dict[str, Any], stdin: bytes, limits: SandboxLimits, channel=False):
        """Start it. Raises ZygoteLost if there is nothing to fork it from."""
        self.limits, self._zygote = limits, zygote
        self.report: dict[str, Any] | None = None
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        self._received = bytearray()
        self._over = self._late = False
        self._deadline = time.monotonic() + limits.wall + 2 * _GRACE_S
        self._channel: socket.socket | None = None
        self._pipes: dict[int, str] = {}
        try:
            self._status, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise ZygoteLost(f"this process has no room for a job ({error})") from error
        try:
            self._begin(zygote, payload, stdin, status, channel)
        except OSError as error:
            self.close()
            raise ZygoteLost(f"this process has no room for a job ({error})") from error
        except ZygoteLost:
            self.close()
            raise

    def _begin(
        self, zygote: Zygote, payload: dict[str, Any], stdin: bytes, status: socket.socket, channel: bool
    ) -> None:
        with contextlib.ExitStack() as theirs:
            theirs.callback(status.close)
            fds = [status.fileno(), _memory_file(json.dumps(payload).encode(), theirs), _memory_file(stdin, theirs)]
            for name in self.output:
                reader, writer = os.pipe()
                theirs.callback(os.close, writer)
                os.set_blocking(reader, False)
                self._pipes[reader] = name
                fds.append(writer)
            if channel:
                self._channel, end = socket.socketpair()
                theirs.callback(end.close)
                self._channel.setblocking(False)
                fds.append(end.fileno())
            caps = {name: getattr(self.limits, name) for name in ("cpu_s", "memory_mb", "processes", "disk_mb")}
            zygote.fork({**caps, "wall_s": self.limits.wall}, fds)

    def wait(self) -> Outcome:
        """Wait for the end of the job.

        Raises ZygoteLost if the warm process is lost.
        """
        try:
            while self.report is None:
                self._pump(self._deadline)
            self._drain()
            return self._outcome(self.report)
        finally:
            self.close()

    def ask(self, line: bytes, seconds: float) -> bytes | None:
        """Send one line and wait for one.

        Returns None when the job ended, or was ended because this took too long.

        Raises ZygoteLost if the warm process is lost.
        """
        if not self.send(line):
            return None
        return self.receive(time.monotonic() + seconds)

    def send(self, line: bytes) -> bool:
        """Send one line.

        Returns False if the job has ended, or has closed its end of the channel.
        """
        view = memoryview(line)
        while view and self.report is None:
            if self._channel is None:
                return False
            try:
                view = view[self._channel.send(view) :]
            except BlockingIOError:
                self._pump(self._deadline, sending=True)
            except OSError:
                return False
        return self.report is None

    def receive(self, deadline: float) -> bytes | None:
        """The next line from the job; None when it has ended.

        At `deadline` (monotonic) it is ended.
        """
        searched = 0
        while True:
            end = self._received.find(b"\n", searched)
            searched = len(self._received)
            if end >= 0:
                line = bytes(self._received[: end + 1])
                del self._received[: end + 1]
                return line
            if self.report is not None or len(self._received) > MAX_LINE:
                self.kill()
                return None
            if time.monotonic() >= deadline and not self._late:
                self._late = True
                self.kill()
            self._pump(self._deadline if self._late else min(deadline, self._deadline))

    def extend(self, seconds: float) -> None:
        """Allow the job `seconds` more from now."""
        self._deadline = time.monotonic() + seconds + 2 * _GRACE_S

    def pause(self) -> None:
        """Stop the job's clockwork; `resume` lets it go on."""
        self._order(b"T")

    def resume(self) -> None:
        self._order(b"C")

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(OSError):
            self._status.send(order)

    def kill(self) -> None:
        """Ask the warm process to end the job."""
        with contextlib.suppress(OSError):
            self._status.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close all descriptors, which ends a job that still runs."""
        for end in (self._status, self._channel):
            if end is not None:
                end.close()
        for reader in self._pipes:
            os.close(reader)
        self._pipes = {}

    def take_output(self) -> bytes | None:
        """What the job wrote since it was last asked, standard output first.

        Returns None if that is over the limit.
        """
        self._drain()
        if self._over:
            return None
        taken = b"".join(bytes(part) for part in self.output.values())
        for part in self.output.values():
            part.clear()
        return taken

    def _pump(self, deadline: float, sending: bool = False) -> None:
        """Wait until something happens or `deadline`, and takes in what there is."""
        poll = select.poll()
        for fd in (self._status.fileno(), *self._pipes):
            poll.register(fd, select.POLLIN)
        if self._channel is not None:
            poll.register(self._channel, select.POLLIN | (select.POLLOUT if sending else 0))
        left_s = min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT_S)
        ready = [fd for fd, _ in poll.poll(1e3 * left_s)]
        if time.monotonic() >= self._deadline and not ready:
            self._zygote.kill()
            raise self._zygote.lost("the warm process does not answer")
        for fd in ready:
            if fd == self._status.fileno():
                self._end()
            elif fd in self._pipes:
                self._take(fd)
            elif self._channel is not None:
                self._take_line(self._channel)

    def _end(self) -> None:
        message = self._status.recv(1 << 12)
        if not message:
            raise self._zygote.lost("the warm process is lost")
        self.report = json.loads(message)

    def _take_line(self, channel: socket.socket) -> None:
        try:
            part = channel.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if part:
            self._received += part
        else:
            channel.close()
            self._channel = None

    def _take(self, reader: int) -> bool:
        """Read some output; False when there is none now."""
        try:
            part = os.read(reader, 1 << 16)
        except BlockingIOError:
            return False
        if not part:
            os.close(reader)
            del self._pipes[reader]
            return False
        taken = self.output[self._pipes[reader]]
        taken += part
        if len(taken) > self.limits.output_bytes:
            del taken[self.limits.output_bytes :]
            self._over = True
            self.kill()
        return True

    def _drain(self) -> None:
        """Read what is left in the pipes.

        Whoever may still hold their other ends.
        """
        for reader in list(self._pipes):
            while self._take(reader) and not self._over:
                pass

    def _outcome(self, report: dict[str, Any]) -> Outcome:
        stdout, stderr = (bytes(part) for part in self.output.values())
        status = "time" if self._late else _status(report, self.limits, self._over, stderr)
        return Outcome(status, stdout, stderr, report["code"], cpu_s=report["cpu_s"], wall_s=report["wall_s"])


def _status(report: dict[str, Any], limits: SandboxLimits, over: bool, stderr: bytes) -> str:
    """What the end of a job means, the first that applies.

    Raises ZygoteLost if it means nothing about the program.
    """
    why, code = report["why"], report["code"]
    if over:
        return "output"
    if why.startswith("setup"):
        raise ZygoteLost(why)
    if why in ("wall", "cpu") or report["cpu_s"] >= limits.cpu_s:
        return "time"
    if code == -signal.SIGKILL and why in ("", "compile"):
        raise ZygoteLost("something outside killed the job, most likely for want of memory")
    if code == 0 and not why:
        return "ok"
    last = stderr.rstrip().rsplit(b"\n", 1)[-1]
    if code == 1 and last.startswith((b"MemoryError", b"numpy._core._exceptions._ArrayMemoryError")):
        return "memory"
    return "compile" if why == "compile" and code == 1 else "runtime_error"


def _memory_file(content: bytes, stack: contextlib.ExitStack) -> int:
    """A sealed file in memory, read-only for the job."""
    fd = os.memfd_create("job", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, fd)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd
