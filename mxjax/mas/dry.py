"""Run a design without a model.

This shows what it makes, what it gets wrong, and in what order it would ask.

Every run of a design is the same up to where it first looks at what differs between runs: the question, its random
numbers, the tools of the host. `Failure.certain` tells what goes wrong before that.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any, ClassVar

from mxjax.mas.library.core import WORKFLOW_NODE, Host
from mxjax.mas.library.modules import NAMES
from mxjax.mas.library.workflows import WORKFLOW
from mxjax.mas.limits import Limits
from mxjax.mas.machines import answer, global_names, new_machine, settle
from mxjax.mas.prompts import NAMED
from mxjax.mas.records import AgentCall, Reply, Tool
from mxjax.script.code import Code
from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import HOST_ERRORS
from mxjax.script.frames import Frame, Place
from mxjax.script.machine import Machine
from mxjax.script.values import PENDING, Class, Instance, Native, Raised

NUMBER = re.compile(r"731\d{4}")  # what replies are told apart by
MOST_MADE = 4096  # nodes and workflows, or calls and runs of them, after which a dry run ends
_MOST_FAILURES = 64  # that are kept; of more, the last ones
_MOST_REPLIES = 128  # after which a dry run ends
_CLASSES = [target for target in NAMES.values() if isinstance(target, Class)]
_METHODS = [member for cls in _CLASSES for member in cls.members.values() if type(member) is Native]
_OURS = frozenset(map(id, [*NAMES.values(), *_METHODS]))
_PROCESSES = frozenset(id(cls.members["process"]) for cls in _CLASSES if "process" in cls.members)


@dataclasses.dataclass(frozen=True, eq=False)
class Failure:
    """An exception of a script: its place, and the library object called.

    The object is the one whose call raised the exception, if any.
    """

    error: Instance
    line: int
    certain: bool
    called: Class | Native | None
    args: tuple
    kwargs: dict[str, Any]


@dataclasses.dataclass(eq=False)
class Stage:
    """A node that was asked, or a workflow that ran.

    It did so directly inside `inside`: a node, a workflow, or the script.
    """

    what: Instance
    inside: Instance | None
    text: str
    returned: str = ""


class Watched(dict):
    """A dict that calls `tell` when it is searched for `name`.

    If `name` is None, it does so for any key.
    """

    holds = ()

    def __init__(self, values: dict[str, Any], name: str | None, tell: Callable[[], None]):
        super().__init__(values)
        self._name = name
        self._tell = tell

    def __getitem__(self, name):
        if name == self._name:
            self._tell()
        return super().__getitem__(name)

    def __contains__(self, name) -> bool:
        if self._name is None:
            self._tell()
        return super().__contains__(name)


@dataclasses.dataclass(slots=True)
class DryHost(Host):
    """A host that notes what is asked and run, in order."""

    holds: ClassVar[tuple[str, ...]] = ()

    stages: list[Stage] = dataclasses.field(default_factory=list)
    at: dict[Place, Stage] = dataclasses.field(default_factory=dict)

    def reached(self, place: Place, what: Instance) -> None:
        """Note a node or a workflow with the text that it gets."""
        if len(self.stages) >= MOST_MADE:
            raise LimitExceeded("stages")
        around = place.parent
        while around is not None and around not in self.at:
            around = around.parent
        context = what.fields.get("context")
        messages = context.fields.get("messages") if type(context) is Instance else None
        first = messages[0] if type(messages) is list and messages else None
        content = first.fields.get("content") if type(first) is Instance else None
        self.at[place] = Stage(what, self.at[around].what if around else None, content if type(content) is str else "")
        self.stages.append(self.at[place])

    def left(self, place: Place, text: str) -> None:
        """Note what a workflow returned."""
        self.at[place].returned = text


class DryMachine(Machine):
    """A machine that records a script's nodes, workflows and exceptions."""

    __slots__ = ("_called", "failures", "made", "varies")
    holds = ()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.made: list[tuple[Instance, int]] = []
        self.failures: dict[int, Failure] = {}  # by the identity of the exception
        self.varies = False  # whether the script has looked at what differs between runs
        self._called: tuple | None = None  # what has just failed of the library, with its arguments

    def vary(self) -> None:
        """From here on, another run may go another way."""
        self.varies = True

    @property
    def seed(self) -> int:
        """Of the script's random numbers."""
        self.varies = True
        return 0

    @seed.setter
    def seed(self, value: int) -> None:
        pass

    def line(self) -> int:
        """The line of the script that is running."""
        frame = self.task.frame
        while frame is not None:
            line = frame.code.lines[max(frame.ip - 1, 0)] if type(frame) is Frame else 0
            if line:
                return line
            frame = frame.back
        return 1

    def new_instance(self, cls: Class) -> Instance:
        """A new object; those of nodes and workflows are noted."""
        instance = super().new_instance(cls)
        if WORKFLOW_NODE in cls.mro or WORKFLOW in cls.mro:
            if len(self.made) >= MOST_MADE:
                raise LimitExceeded("made")
            self.made.append((instance, self.line()))
        return instance

    def call(self, fn, args: tuple, kwargs: dict | None = None):
        """Call a script value; note failures of the library."""
        made = len(self.made)
        try:
            result = super().call(fn, args, kwargs)
        except (Raised, *HOST_ERRORS):
            del self.made[made:]
            if id(fn) in _OURS:
                self._called = fn, args, kwargs or {}
            raise
        self._called = None
        if id(fn) in _PROCESSES and result is PENDING:  # not by way of the node's own `__call__`
            frame = self.task.frame
            frame.place = frame.place.child("process")
            self.host.reached(frame.place, args[0])
        return result

    def unwind(self, error: Instance) -> None:
        """Note an exception where it is first raised."""
        called, args, kwargs = self._called or (None, (), {})
        self._called = None
        if id(error) not in self.failures:
            if len(self.failures) >= _MOST_FAILURES:
                self.failures.pop(next(iter(self.failures)))
            self.failures[id(error)] = Failure(error, self.line(), not self.varies, called, args, kwargs)
        super().unwind(error)


@dataclasses.dataclass(frozen=True, eq=False)
class DryRun:
    """The result of one dry run.

    It holds everything made with its line, what was asked and run, and what went wrong.

    Attributes:
      ended: the script ran to its end, and not into an exception or a limit.
      waits: it stopped at calls that were not answered.
      final: the failure that ended the script, if one did.
      names: the global names of the script, as it left them.
      placeholders: texts that stand for what only a real run knows.
    """

    made: list[tuple[Instance, int]]
    stages: list[Stage]
    failures: list[Failure]
    names: dict[str, Any]
    ended: bool
    waits: bool
    final: Failure | None
    placeholders: tuple[str, ...]


def dry_run(
    code: Code,
    doc: str | None,
    limits: Limits,
    fuel: int,
    question: str,
    reply: str = "",
    tools: tuple[str, ...] = (),
) -> DryRun:
    """Run a script up to its first calls, or with placeholder replies.

    The script goes on where its calls get `reply`, with a number in place of `{}`.

    Raises nothing: at a limit, at `fuel` at the latest, and at a fault of the interpreter, what was seen by then
    stands.
    """
    host = DryHost(NAMED["short"], "math", {})
    machine = new_machine(DryMachine, code, {}, _with_fuel(limits, fuel), host)
    machine.globals = Watched(global_names(question, doc), "question", machine.vary)
    host.tools = Watched({name: Tool() for name in tools}, None, machine.vary)
    numbers: list[str] = []
    broken = False
    try:
        settle(machine)
        while reply and machine.pending and len(numbers) < _MOST_REPLIES:
            replies = {}
            for call_id, asked in sorted(machine.pending.items(), key=lambda item: item[1].order):
                numbers.append(f"731{len(numbers):04}")
                text = reply.format(numbers[-1]) if type(asked.call) is AgentCall else numbers[-1]
                replies[call_id] = Reply(text)
            answer(machine, replies)
            settle(machine)
    except Exception:  # limits, and faults of the interpreter, which a real run reports
        broken = True
    names = dict(machine.globals)
    machine.globals, host.tools = {}, {}  # they hold the machine, which would outlive the run
    outcome = machine.root.outcome
    error = None if broken or outcome is None else outcome.error
    return DryRun(
        made=machine.made,
        stages=host.stages,
        failures=list(machine.failures.values()),
        names=names,
        ended=outcome is not None and error is None and not broken,
        waits=bool(machine.pending) and not broken,
        final=None if error is None else machine.failures.get(id(error)),
        placeholders=(question, *numbers),
    )


@functools.lru_cache(maxsize=64)
def _with_fuel(limits: Limits, fuel: int) -> Limits:
    return dataclasses.replace(limits, fuel=min(fuel, limits.fuel))
