"""The Python tool of agents.

What a ```python block of a reply runs in.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from mxjax.mas.records import Tool
from mxjax.sandbox.outcome import InfrastructureError, SandboxLimits, SandboxUnavailable
from mxjax.sandbox.parts import what_sessions_need
from mxjax.sandbox.pool import Sandbox, Session

_log = logging.getLogger(__name__)

DESCRIPTION = "Runs Python with numpy and sympy, and returns what it prints."
PARAMETERS = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
MAX_CHARS = 4_000
"""Characters of output that go back to an agent; of longer output, the beginning and the end."""


@functools.cache
def has_python() -> bool:
    """Whether a sandbox of this machine gives agents Python.

    A logged line says what is missing.
    """
    try:
        with Sandbox() as sandbox:
            python_tool(sandbox)
        return True
    except SandboxUnavailable as error:
        _log.warning("agents have no Python here: %s", error)
        return False


def python_tool(sandbox: Sandbox, limits: SandboxLimits | None = None, stateful: bool = False) -> Tool:
    """The host tool `python_execute`.

    Args:
        sandbox: where the code runs.
        limits: of each piece of code.
        stateful: variables stay from one piece of an agent's conversation to its next, instead of a new interpreter
            for each.

    Returns:
        A tool that never fails for what the code does: errors and limits are text. The value of a last expression is
        printed too.

    Raises:
        SandboxUnavailable: the sandbox is of level C, which has no sessions.
    """
    if sandbox.level == "C":
        raise SandboxUnavailable(f"The Python tool needs level A or B; {what_sessions_need()}.")
    limits = limits or SandboxLimits(output_bytes=64 << 10)

    def run(code: Any = "") -> str:
        with sandbox.session(limits) as session:
            return shown(session, code)

    opened = (lambda: _Conversation(sandbox.session(limits))) if stateful else None
    return Tool(run, DESCRIPTION, PARAMETERS, opened, sandbox.call)


class _Conversation:
    """The session of one agent, with output cut for a prompt."""

    def __init__(self, session: Session):
        self._session = session

    def run(self, code: Any = "") -> str:
        return shown(self._session, code)

    def close(self) -> None:
        self._session.close()


def shown(session: Session, code: Any) -> str:
    """What an agent is told of one piece of code.

    Raises InfrastructureError when the machine failed.
    """
    if not isinstance(code, str):
        return "The code must be text."
    try:
        text = session.run(code).strip("\n")
    except InfrastructureError:
        session.close()
        raise
    if len(text) > MAX_CHARS:
        half = MAX_CHARS // 2
        text = f"{text[:half]}\n...({len(text) - MAX_CHARS} characters left out)...\n{text[-half:]}"
    return text or "(no output)"
