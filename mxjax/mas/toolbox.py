"""Answer the tool calls of one execution, and hold their state.

The state is what tools keep between two calls of one agent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from mxjax.errors import place_of
from mxjax.mas.records import Reply, Tool, ToolCall
from mxjax.sandbox.outcome import InfrastructureError

_log = logging.getLogger(__name__)
_noted: set[tuple[str, type, str]] = set()


def _note(tool: str, error: Exception) -> None:
    """Log a fault of a tool's own code, once per kind.

    Arguments that do not fit are the script's fault and are not logged.
    """
    kind = tool, type(error), place_of(error)
    trace = error.__traceback__
    if trace is not None and trace.tb_next is not None and kind not in _noted:
        _noted.add(kind)
        _log.warning("the tool %s failed, as its script is told; more of the kind are not logged", tool, exc_info=error)


class Toolbox:
    """The host tools of one execution; close it when the execution ends."""

    def __init__(self, tools: Mapping[str, Tool]):
        self._tools = tools
        self._sessions: dict[tuple[str, str], Any] = {}

    def submitter(self, call: ToolCall) -> Callable[..., Future] | None:
        """The function that runs `use` of this call elsewhere.

        None for a tool that answers in place.
        """
        tool = self._tools.get(call.name)
        return None if tool is None else tool.submit

    def use(self, call: ToolCall) -> Reply:
        """The reply to a call.

        An exception of the tool is the reply's error, for the script to handle.

        The log has the first of each kind, since designs with a broken tool look like designs that do not work. Calls
        of different sessions may be answered in several threads at once.

        Raises InfrastructureError when the tool lost its machine, which no script can help.
        """
        try:
            tool = self._tools[call.name]
            function = tool.func if tool.open is None else self._session(call, tool.open).run
            if function is None:
                raise TypeError(f"the tool {call.name} has no function")
            answer = function(**call.arguments)
        except InfrastructureError:
            raise
        except Exception as error:
            _note(call.name, error)
            return Reply("", error=f"{type(error).__name__}: {error}")
        return answer if isinstance(answer, Reply) else Reply(str(answer))

    def _session(self, call: ToolCall, open_session: Callable[[], Any]) -> Any:
        key = call.name, call.session
        if key not in self._sessions:
            self._sessions[key] = open_session()
        return self._sessions[key]

    def close(self) -> None:
        """End every session."""
        for session in self._sessions.values():
            session.close()
        self._sessions = {}
