"""Run checked designs, one at a time or thousands side by side.

A single run has a chat function; runs side by side are suspended at every call.

The outcome of a run is a function of the script, the question, the seed and the replies by call id; in what order
replies arrive makes no difference to which calls are made, to the fuel used or to the result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mxjax.errors import place_of
from mxjax.mas.check import CheckedDesign, check
from mxjax.mas.library import texts
from mxjax.mas.library.core import Host
from mxjax.mas.limits import Limits, Meter
from mxjax.mas.machines import answer, global_names, new_machine, settle
from mxjax.mas.prompts import NAMED, Prompts
from mxjax.mas.records import AgentCall, Reply, Result, Tool, ToolCall, well_formed
from mxjax.mas.toolbox import Toolbox
from mxjax.script import exceptions
from mxjax.script.errors import LimitExceeded
from mxjax.script.frames import Ask
from mxjax.script.machine import Machine

INTERNAL = "internal error of the interpreter"
DEADLOCK = "deadlock: every thread and task of the script waits for another one"

_FAULTS: set[tuple[type, str]] = set()  # kinds that have been logged
_log = logging.getLogger(__name__)


class ScriptRun:
    """One execution of a design.

    It waits for `pending` calls until there is a `result`.
    """

    __slots__ = ("_answers", "_machine", "checked", "question", "result", "seed")

    def __init__(self, checked: CheckedDesign, question: str, machine: Machine, seed: int):
        self.checked = checked
        self.question = question
        self.seed = seed
        self.result: Result | None = None
        self._machine = machine
        self._answers: list[tuple[Ask, Reply]] = []

    @property
    def limits(self) -> Limits:
        """The limits of this execution."""
        limits = self._machine.limits
        assert isinstance(limits, Limits)
        return limits

    @property
    def host(self) -> Host:
        """Prompts, task type, tools and examples of this execution."""
        return self._machine.host

    @property
    def pending(self) -> tuple[AgentCall | ToolCall, ...]:
        """The calls that the script waits for, in structural order.

        () once there is a result.
        """
        return () if self.result is not None else _ordered(list(self._machine.pending.values()))

    @property
    def printed(self) -> str:
        """What the script printed so far."""
        return well_formed("".join(self._machine.printed))

    @property
    def answered(self) -> tuple[tuple[AgentCall | ToolCall, Reply], ...]:
        """The calls that have been answered, with their replies, in structural order."""
        return tuple((asked.call, reply) for asked, reply in sorted(self._answers, key=_order))

    def advance(self, replies: Mapping[str, Reply | str]) -> tuple[AgentCall | ToolCall, ...]:
        """Answer some pending calls; return the calls newly given out.

        Raises ValueError for an id that is not pending, and TypeError for a reply that is neither Reply nor str; the
        run is then as before.
        """
        machine = self._machine
        for call_id in replies:
            if self.result is not None or call_id not in machine.pending:
                raise ValueError(f"no call with id {call_id!r} is pending")
        clean = {call_id: self._clean(call_id, reply) for call_id, reply in replies.items()}
        self._answers += answer(machine, clean)
        self._settle()
        return () if self.result else _ordered(machine.asked)

    def _clean(self, call_id: str, reply: Reply | str) -> Reply:
        """The reply as used: a Reply with its text within the limit."""
        if isinstance(reply, str):
            reply = Reply(reply)
        if not isinstance(reply, Reply) or not isinstance(reply.text, str):
            raise TypeError(f"the reply to {call_id!r} must be a str or a Reply with a str as text, not {reply!r:.80}")
        text = well_formed(reply.text[: self.limits.reply_chars])
        tokens = reply.tokens if type(reply.tokens) is int and reply.tokens > 0 else 0
        if text != reply.text or tokens != reply.tokens:
            reply = dataclasses.replace(reply, text=text, tokens=tokens)
        return reply

    def _settle(self):
        machine = self._machine
        try:
            settle(machine)
        except LimitExceeded as error:
            self._end("limit", reason=error.name)
            return
        except Exception as error:  # a fault of the interpreter is the end of one script, never of the training
            self._end("error", reason=f"{INTERNAL}: {_fault(error, self.checked.source)}")
            return
        outcome = machine.root.outcome
        if outcome is None:
            if not machine.pending:
                self._end("error", reason=DEADLOCK)
            return
        host = machine.host
        raised = outcome.error
        if raised is not None and raised.cls.name != "SystemExit":
            self._end("error", reason=f"line {machine.root.line}: {exceptions.describe(raised)}")
        elif not host.runs:
            self._end("error", reason="the script ended without running a workflow")
        elif host.failed:
            self._end("error", reason=host.failed)
        else:
            self._end("ok", content=host.returned)

    def _end(self, status: str, content: str = "", reason: str = ""):
        machine = self._machine
        origin = self._origin(content) if status == "ok" else None
        meter = machine.root.meter
        assert isinstance(meter, Meter)
        self.result = Result(
            status=status,
            content=well_formed(content),
            reason=well_formed(reason),
            calls=meter.agent_calls,
            fuel=meter.fuel,
            origin_call=origin[0] if origin else None,
            origin_text=origin[1] if origin else None,
        )

    def _origin(self, content: str) -> tuple[str, str] | None:
        """The latest reply with `content` as its text or compact form.

        Latest in structural order.
        """
        host = self._machine.host
        found = [
            (asked, reply)
            for asked, reply in self._answers
            if type(asked.call) is AgentCall
            and not reply.error
            and content in (reply.text, texts.compact(reply.text, host.task_type, host.prompts.omitted))
        ]
        if not found:
            return None
        asked, reply = max(found, key=_order) if len(found) > 1 else found[0]
        return asked.call.id, reply.text


def _fault(error: BaseException, source: str) -> str:
    """The description of an interpreter fault.

    Its traceback and the script are logged, once per kind.
    """
    if isinstance(error, exceptions.InternalError):
        error = error.__cause__ or error
    what = f"{type(error).__name__}: {str(error)[:200]}"
    kind = (type(error), place_of(error))
    if kind not in _FAULTS:
        _FAULTS.add(kind)
        _log.error("%s; please report it with this script:\n%s", INTERNAL, source[:4000], exc_info=error)
    return what


def _order(answer: tuple[Ask, Reply]) -> tuple[int, ...]:
    return answer[0].order


def _ordered(asked: list[Ask]) -> tuple[AgentCall | ToolCall, ...]:
    return tuple(
        request.call for request in (sorted(asked, key=lambda request: request.order) if len(asked) > 1 else asked)
    )


def start(
    checked: CheckedDesign,
    question: str,
    task_type: str = "math",
    tools: Mapping[str, Tool] | None = None,
    seed: int = 0,
    prompts: Prompts | None = None,
    limits: Limits | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
) -> ScriptRun:
    """Start an execution and run it up to its first calls.

    `seed` seeds the script's `random`. `examples` are the public examples of a code question, each the arguments of the
    host tool `run_program(code, **example)` (`rewards.program_tool`): with that tool, programs that an ensemble
    disagrees on are compared by what they do on them, else by their text.
    """
    limits = limits or checked.limits
    host = Host(prompts or NAMED["short"], task_type, dict(tools or {}), examples=tuple(map(dict, examples)))
    machine = new_machine(Machine, checked.code, global_names(question, checked.doc), limits, host)
    digest = hashlib.sha256(f"{seed}\n{question}\n{checked.source}".encode("utf-8", "surrogatepass")).digest()
    machine.seed = int.from_bytes(digest[:8], "big")
    made = ScriptRun(checked, question, machine, seed)
    made._settle()
    return made


def run(
    source: str,
    question: str,
    chat: Callable[[list[dict[str, str]]], str],
    task_type: str = "math",
    tools: Mapping[str, Tool] | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    prompts: Prompts | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Run a script to its end.

    `chat(messages)` answers each agent call, `tools` each tool call. An exception in `chat` or in a tool becomes the
    error of that call. Raises DesignError for a source that is no design.
    """
    made = start(check(source, limits), question, task_type, tools, seed, prompts, limits, examples)
    toolbox = Toolbox(tools or {})
    try:
        while made.result is None:
            made.advance({call.id: _answer(call, chat, toolbox) for call in made.pending})
    finally:
        toolbox.close()
    return made.result


def _answer(call: AgentCall | ToolCall, chat, toolbox: Toolbox) -> Reply:
    if isinstance(call, ToolCall):
        return toolbox.use(call)
    try:
        answer = chat([dict(item) for item in call.messages])
    except Exception as error:
        return Reply("", error=f"{type(error).__name__}: {error}")
    return answer if isinstance(answer, Reply) else Reply(str(answer))
