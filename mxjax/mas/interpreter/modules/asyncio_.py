"""`asyncio`: coroutines that run when awaited, and `gather`, which lets them wait for agents side by side.

There is no clock and no event loop: what is not gathered runs in order, and gathered coroutines go on in rounds in a
fixed order, so that the outcome never depends on which reply came first.
"""

from __future__ import annotations

from mxjax.mas.interpreter.attributes import methods
from mxjax.mas.interpreter.exceptions import EXCEPTIONS
from mxjax.mas.interpreter.frames import MEMBER_BYTES, Gather, Invoke
from mxjax.mas.interpreter.values import PENDING, Generator, Native, Raised


class Guard:
    """A semaphore or a lock; there is nothing to guard."""

    __slots__ = ()
    type_name = "Semaphore"


methods(
    Guard,
    {
        "__aenter__": lambda m, owner: owner,
        "__aexit__": lambda m, owner, *error: None,
        "acquire": lambda m, owner: True,
        "release": lambda m, owner: None,
    },
)


def enter(m, coroutine: Generator):
    """Runs a coroutine in place of a call."""
    frame, coroutine.frame = coroutine.frame, None
    if frame is None:
        raise RuntimeError("cannot reuse already awaited coroutine")
    frame.back = m.task.frame
    m.enter(frame)
    return PENDING


_ENTER = Native("await", enter)


def awaited(m, value):
    """What `await value` gives."""
    if type(value) is Generator and value.awaitable:
        return (yield Invoke(_ENTER, (value,)))
    return value


def gather(m, *values, return_exceptions=False):
    place = m.task.frame.place
    m.need_items(len(values))
    m.allocate(MEMBER_BYTES * len(values))
    members = []
    for value in values:
        inner = place.child("gather")
        if type(value) is Generator and value.awaitable and value.frame is not None:
            value.frame.place = inner
        members.append((awaited(m, value), inner))
    outcomes = yield Gather(members, False)
    results = []
    for outcome in outcomes:
        if outcome.error is not None and not return_exceptions:
            raise Raised(outcome.error)
        results.append(outcome.value if outcome.error is None else outcome.error)
    return results


def run(m, value, **ignored):
    return awaited(m, value)


def wait_for(m, value, timeout=None):
    return awaited(m, value)


def same(m, value, **ignored):
    return value


def to_thread(m, function, *args, **kwargs):
    return (yield Invoke(function, args, kwargs))


def guard(m, value=1):
    return Guard()


FUNCTIONS = {
    "run": run, "gather": gather, "wait_for": wait_for, "create_task": same, "ensure_future": same, "shield": same,
    "sleep": lambda m, delay=0, result=None: result, "to_thread": to_thread, "Semaphore": guard, "Lock": guard,
}  # fmt: skip
CONSTANTS = {"TimeoutError": EXCEPTIONS["TimeoutError"]}
