"""Frames, tasks and groups for the machine, and requests made of it.

The requests come from our own code.

Library code and built-in functions that may run script code are Python generators. They never call into the machine;
they yield one of the requests below and are resumed with its result, so that no call of the script nests on the host's
stack.
"""

from __future__ import annotations

import re
from typing import Any

from mxjax.script.metering import Meter
from mxjax.script.values import Generator, Instance

MEMBER_BYTES = 1500  # what one member of a `Gather` takes
_UNSAFE = re.compile(r"[^\w-]")


class Invoke:
    """Call a script value.

    The result comes back, or its exception is thrown in as `Raised`.
    """

    __slots__ = ("args", "fn", "kwargs")
    holds = ("args", "fn", "kwargs")

    def __init__(self, fn, args: tuple = (), kwargs: dict | None = None):
        self.fn = fn
        self.args = args
        self.kwargs = kwargs


class Next:
    """Advance an iterator; the next value comes back, or EXHAUSTED."""

    __slots__ = ("iterator", "value")
    holds = ("iterator", "value")

    def __init__(self, iterator, value=None):
        self.iterator = iterator
        self.value = value


class Throw:
    """Raise a script exception inside a suspended generator.

    The next value that it yields comes back.
    """

    __slots__ = ("error", "generator")
    holds = ("error", "generator")

    def __init__(self, generator, error):
        self.generator = generator
        self.error = error


class Emit:
    """Yield a value to whoever iterates over this lazy iterator."""

    __slots__ = ("value",)
    holds = ("value",)

    def __init__(self, value):
        self.value = value


class Ask:
    """Suspend for the host's reply to `call`, which is opaque here.

    The reply comes back.
    """

    __slots__ = ("call", "place", "task", "turn")
    holds = ("call",)

    def __init__(self, call, place: Place, turn: int):
        self.call = call
        self.place = place
        self.turn = turn
        self.task: Task | None = None

    @property
    def order(self) -> tuple[int, ...]:
        """A key that sorts calls as a sequential run would make them."""
        return (*self.place.order, 0, self.turn)


class Gather:
    """Run generators concurrently; return a list of `Outcome` in their order.

    `private` members run no script code and share nothing: each goes on as soon as its own reply is in. Others go on in
    rounds, in a fixed order, once every reply that the script waits for has arrived. `shares` are what the
    meter sets aside for each private member; by default nothing.
    """

    __slots__ = ("members", "private", "shares")
    holds = ("members",)

    def __init__(self, members: list[tuple[Any, Place]], private: bool, shares: list[int] | None = None):
        self.members = members
        self.private = private
        self.shares = shares or [0] * len(members)


class Later:
    """Go on in the next round, or after calls are redistributed.

    Nothing comes back.
    """

    __slots__ = ()
    holds = ()


class Park:
    """Wait for `Machine.wake`, or for some seconds of script time.

    The time is the script's own clock. True comes back for a task that was woken. No time at all lets the tasks that
    are ready go first.
    """

    __slots__ = ("seconds",)
    holds = ()

    def __init__(self, seconds: float | None = None):
        self.seconds = seconds


class Outcome:
    """How a group member ended: with a value or a script exception."""

    __slots__ = ("error", "value")
    holds = ("value", "error")

    def __init__(self, value=None, error=None):
        self.value = value
        self.error = error


class Completion:
    """Why control leaves a block: "raise", "return" or "jump".

    A jump goes to `target`, leaving `depth` blocks.
    """

    __slots__ = ("depth", "kind", "value")
    holds = ("value",)

    def __init__(self, kind: str, value, depth: int = 0):
        self.kind = kind
        self.value = value
        self.depth = depth


class Place:
    """Position of an event in the structure of a run.

    Call ids and the canonical order derive from it.
    """

    __slots__ = ("children", "counts", "index", "label", "parent")
    holds = ()

    def __init__(self, parent: Place | None, label: str, index: int):
        self.parent = parent
        self.label = label
        self.index = index
        self.children = 0
        self.counts: dict[str, int] | None = None

    def child(self, name: str) -> Place:
        """The place of the next thing called `name` inside this one."""
        if self.counts is None:
            self.counts = {}
        label = _UNSAFE.sub("_", name[:48]) or "node"
        count = self.counts[label] = self.counts.get(label, 0) + 1
        self.children += 1
        return Place(self, label if count == 1 else f"{label}.{count}", self.children)

    @property
    def path(self) -> str:
        """The labels from the outermost place to this one."""
        before = self.parent.path if self.parent is not None else ""
        return f"{before}/{self.label}" if before else self.label

    @property
    def order(self) -> tuple[int, ...]:
        """A key that sorts places as a sequential run would reach them."""
        return (*self.parent.order, self.index) if self.parent is not None else ()


class Frame:
    """One activation of a `Code`.

    Has an instruction pointer, slots, a value stack and a block stack.
    """

    __slots__ = ("back", "blocks", "code", "generator", "handling", "ip", "namespace", "place", "slots", "stack")
    holds = ("slots", "stack", "blocks", "namespace", "handling", "back")
    own_bytes = 600

    def __init__(self, code, slots: list, back, place: Place, namespace: dict | None = None):
        self.code = code
        self.slots = slots
        self.back = back
        self.place = place
        self.namespace = namespace
        self.ip = 0
        self.stack: list = []
        self.blocks: list[tuple] = []
        self.handling = None
        self.generator: Generator | None = None


class NativeFrame:
    """One activation of a generator of ours.

    It is resumed with `inbox` or `error`.
    """

    __slots__ = ("back", "error", "gen", "generator", "inbox", "place")
    holds = ("gen", "inbox", "error", "back")
    own_bytes = 400

    def __init__(self, gen, back, place: Place):
        self.gen = gen
        self.back = back
        self.place = place
        self.inbox = None
        self.error: Instance | None = None
        self.generator: Generator | None = None


class Task:
    """A stack of frames that runs on its own.

    The script is one task; each member of a group is another.
    """

    __slots__ = (
        "closing",
        "depth",
        "frame",
        "group",
        "interrupt",
        "limit",
        "line",
        "meter",
        "order",
        "outcome",
        "parked",
        "place",
        "private",
        "waiting",
    )
    holds = ("frame", "group", "interrupt", "outcome")

    def __init__(self, frame, group: Group | None, meter: Meter):
        self.frame = frame
        self.place = frame.place
        self.order = frame.place.order
        self.group = group
        self.private = group is not None and group.private
        self.meter = meter
        self.depth = 0
        self.waiting = False
        self.parked = 0  # the number of the `Park` that the task is in
        self.interrupt: Instance | None = None  # an exception that it raises where it next parks
        self.closing: Group | None = None  # a group that has ended and is not yet added up
        self.outcome: Outcome | None = None
        self.limit: str | None = None
        self.line = 0

    def __lt__(self, other: Task) -> bool:
        """Whether a sequential run would come to this task first."""
        return self.order < other.order


class Group:
    """Members of one `Gather`, and the task that waits for them."""

    __slots__ = ("left", "parent", "private", "reserved", "start", "tasks")
    holds = ("tasks", "parent")

    def __init__(self, parent: Task, private: bool):
        self.parent = parent
        self.private = private
        self.tasks: list[Task] = []
        self.start = parent.meter.share(0)  # what had been used when it began
        self.left = self.reserved = 0
