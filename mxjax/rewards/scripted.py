"""Check at level C, where each line is a new run.

No line can be sent to a program that runs there. A side is given all lines that the other has sent so far, answers them
as before, and ends with the first line that is new. So the two take turns as at levels A and B, in a number of runs
that grows with the number of calls.
"""

from __future__ import annotations

import functools
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from mxjax.sandbox import Sandbox, SandboxLimits
from mxjax.sandbox.inside import wire
from mxjax.sandbox.outcome import InfrastructureError

MAX_CALLS = 200
"""Lines of each side; a check that needs more, or four times the wall limit of a job, has the status "time"."""

_INSIDE = pathlib.Path(wire.__file__).parent
_DRIVER = r"""
import json, os, sys, types
parts, payload, heard, known = json.loads({asked})
if not payload.get("usual"):
    del parts["usual"]
sys.modules.update((name, types.ModuleType(name)) for name in parts)
for name, source in parts.items():
    exec(compile(source, name, "exec"), sys.modules[name].__dict__)
import peer, ready, runner

class Heard:
    def __init__(self): self.lines = iter([line.encode() for line in heard])
    def readline(self): return next(self.lines, b"")
    def __iter__(self): return self.lines

sent = []
def send(line):
    sent.append(line)
    if len(sent) > known:
        sys.stdout.write("\n" + line.decode())
        sys.stdout.flush()
        os._exit(0)

peer.lines, peer.send = Heard, send
if payload.get("usual"):
    runner._usual.update(ready.usual_builtins())
runner._KINDS[payload["kind"]](runner._compile(payload["source"]), payload)
"""


@functools.cache
def _parts() -> dict[str, str]:
    return {name: (_INSIDE / f"{name}.py").read_text() for name in ("wire", "usual", "ready", "peer", "runner")}


def next_line(
    payload: dict[str, Any], heard: list[bytes], known: int, sandbox: Sandbox, limits: SandboxLimits
) -> tuple[str, bytes]:
    """("ok", next line of a side), or (reason there is none, b"").

    The line after its first `known` ones, given those that it has heard.
    """
    arguments = json.dumps([_parts(), payload, [line.decode() for line in heard], known])
    outcome = sandbox.run(_DRIVER.replace("{asked}", repr(arguments)), b"", limits)
    if outcome.status == "infrastructure":
        raise InfrastructureError(outcome.stderr.decode(errors="replace"))
    return outcome.status, outcome.stdout.rstrip().rsplit(b"\n", 1)[-1] + b"\n" if outcome.ok else b""


def converse(
    candidate: dict[str, Any], tests: dict[str, Any], sandbox: Sandbox, limits: SandboxLimits
) -> Iterator[tuple[str, str, bytes]]:
    """The lines of a check, (whose, status, line) one after the other.

    "tests" first, in turns, until the caller stops. The tests' lines end with one that is no question, or a status
    other than "ok".
    """
    requests: list[bytes] = []
    replies: list[bytes] = []
    deadline = time.monotonic() + 4 * limits.wall
    while len(requests) < MAX_CALLS and time.monotonic() < deadline:
        status, line = next_line(tests, replies, len(replies), sandbox, limits)
        yield "tests", status, line
        requests.append(line)
        status, line = next_line(candidate, requests, len(replies), sandbox, limits)
        yield "candidate", status, line
        replies.append(line)
    yield "tests", "time", b""
