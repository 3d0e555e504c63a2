"""`asyncio`: coroutines that run when awaited, and `gather` and tasks, which wait for agents side by side.

There is no clock and no event loop: what is not gathered runs in order. Tasks start together, at the first `await` of
any of them or of `sleep`, and gathered coroutines go on in rounds in a fixed order, so that the outcome never depends
on which reply came first.
"""

from __future__ import annotations

from mxjax.mas.interpreter.attributes import methods
from mxjax.mas.interpreter.coroutines import RUN, coroutine
from mxjax.mas.interpreter.exceptions import EXCEPTIONS
from mxjax.mas.interpreter.frames import MEMBER_BYTES, Gather, Invoke, Later, Outcome
from mxjax.mas.interpreter.iteration import take_all
from mxjax.mas.interpreter.values import Class, Generator, HostIterator, Instance, Raised, Set

_WAITING = "asyncio tasks"  # where a machine keeps the tasks that have not started
INVALID = Class("InvalidStateError", (EXCEPTIONS["Exception"],), {}, shared=True)
CANCELLED = Class("CancelledError", (EXCEPTIONS["BaseException"],), {}, shared=True)


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
        "locked": lambda m, owner: False,
    },
)


class Task:
    """A coroutine that runs beside others; `outcome` is there once it has ended."""

    __slots__ = ("coroutine", "outcome")
    type_name = "Task"
    own_bytes = 300

    def __init__(self, coroutine):
        self.coroutine = coroutine
        self.outcome: Outcome | None = None

    def awaited(self, m):
        """What `await task` gives."""
        yield from _together(m, ())
        while self.outcome is None:
            m.charge(1)
            yield Later()
        return self.value()

    def value(self):
        """The result; raises what the task ended with."""
        if self.outcome is None:
            raise Raised(Instance(INVALID, {"args": ("Result is not set.",)}))
        if self.outcome.error is not None:
            raise Raised(self.outcome.error)
        return self.outcome.value

    def run(self, m):
        """Runs the coroutine to its end."""
        try:
            self.outcome = Outcome((yield from awaited(m, self.coroutine)))
        except Raised as error:
            self.outcome = Outcome(error=error.value)


class Loop:
    """An event loop, or a group of tasks; there is nothing to loop."""

    __slots__ = ("tasks",)
    type_name = "TaskGroup"

    def __init__(self):
        self.tasks: list[Task] = []


def awaited(m, value):
    """What `await value` gives."""
    if type(value) is Generator and value.awaitable:
        return (yield Invoke(RUN, (value,)))
    if type(value) is Task:
        return (yield from value.awaited(m))
    return value


def _together(m, values):
    """The outcomes of awaiting `values` side by side, along with every task that has not started."""
    tasks = m.imported.get(_WAITING, [])
    if not values and not tasks:
        return []
    m.imported[_WAITING] = []
    place = m.task.frame.place
    m.allocate(MEMBER_BYTES * (len(values) + len(tasks)))
    members = []
    for value in (*values, *tasks):
        inner = place.child("gather")
        source = value.coroutine if type(value) is Task else value
        if type(source) is Generator and source.awaitable and source.frame is not None:
            source.frame.place = inner
        started = type(value) is Task and len(members) >= len(values)
        members.append((value.run(m) if started else awaited(m, value), inner))
    return (yield Gather(members, False))[: len(values)]


def gather(m, *values, return_exceptions=False):
    m.need_items(len(values))
    return coroutine(m, _gathered(m, values, return_exceptions))


def _gathered(m, values, return_exceptions):
    outcomes = yield from _together(m, values)
    results = []
    for outcome in outcomes:
        if outcome.error is not None and not return_exceptions:
            raise Raised(outcome.error)
        results.append(outcome.value if outcome.error is None else outcome.error)
    return results


def run(m, value, **ignored):
    return awaited(m, value)


def wait_for(m, fut, timeout=None):
    return coroutine(m, awaited(m, fut))


def create_task(m, coro, **ignored):
    if type(coro) is Task:
        return coro
    m.allocate(Task.own_bytes)
    made = Task(coro)
    m.imported.setdefault(_WAITING, []).append(made)
    return made


def as_completed(m, fs, **ignored):
    """The awaitables in the order in which they were given."""
    tasks = []
    for value in (yield from take_all(m, fs)):
        tasks.append(create_task(m, value))
    return HostIterator(iter(tasks), "as_completed")


def wait(m, fs, **ignored):
    tasks = yield from take_all(m, fs)
    return coroutine(m, _waited(m, tasks))


def _waited(m, tasks):
    yield from _gathered(m, tasks, True)
    m.need_entries(len(tasks))
    return Set(tasks), Set()


def sleep(m, delay=0, result=None):
    return coroutine(m, _slept(m, result))


def _slept(m, result):
    yield from _together(m, ())
    return result


def same(m, value, **ignored):
    return value


def to_thread(m, function, *args, **kwargs):
    return coroutine(m, _called(function, args, kwargs))


def _called(function, args, kwargs):
    return (yield Invoke(function, args, kwargs))


def guard(m, value=1):
    return Guard()


def loop(m):
    return Loop()


def add_task(m, owner: Loop, coro, **ignored):
    made = create_task(m, coro)
    m.need_items(len(owner.tasks) + 1) if len(owner.tasks) >= m.limits.items else m.allocate(40)
    owner.tasks.append(made)
    return made


def leave_group(m, owner: Loop, kind, error, trace):
    if error is None:
        yield from _gathered(m, owner.tasks, False)


def _exception(m, owner: Task):
    if owner.outcome is None:
        owner.value()
    return owner.outcome.error


methods(
    Task,
    {
        "result": lambda m, owner: owner.value(),
        "exception": _exception,
        "done": lambda m, owner: owner.outcome is not None,
        "cancel": lambda m, owner: False,
        "cancelled": lambda m, owner: False,
    },
)
methods(
    Loop,
    {
        "__aenter__": lambda m, owner: owner,
        "__aexit__": leave_group,
        "create_task": add_task,
        "run_until_complete": lambda m, owner, value: awaited(m, value),
        "run_in_executor": lambda m, owner, executor, function, *args: to_thread(m, function, *args),
        "close": lambda m, owner: None,
    },
)
FUNCTIONS = {
    "run": run, "gather": gather, "wait_for": wait_for, "create_task": create_task, "ensure_future": create_task,
    "shield": same, "sleep": sleep, "to_thread": to_thread, "Semaphore": guard, "BoundedSemaphore": guard,
    "Lock": lambda m: Guard(), "as_completed": as_completed, "wait": wait, "TaskGroup": loop, "get_event_loop": loop,
    "get_running_loop": loop, "new_event_loop": loop, "set_event_loop": lambda m, value: None,
}  # fmt: skip
CONSTANTS = {"TimeoutError": EXCEPTIONS["TimeoutError"], "InvalidStateError": INVALID, "CancelledError": CANCELLED}
