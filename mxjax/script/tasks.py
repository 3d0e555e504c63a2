"""Concurrent tasks of a script: start, park, wake, interrupt.

They serve its threads, pools and coroutines.

What is here is what the modules in `lib` are built on; scripts never see it. A task goes on until it parks or asks an
agent, so that the calls of all of them are given out together, and in a fixed order, so that no outcome depends on
which reply came first. The only clock is the machine's: it moves when every task sleeps.
"""

from __future__ import annotations

from mxjax.script.coroutines import RUN
from mxjax.script.frames import MEMBER_BYTES, Invoke, Next, Park, Task
from mxjax.script.values import EXHAUSTED, UNBOUND, Generator, Instance, Raised, need_integer, type_name

_TICK = 1e-6  # what passes between two readings of the clock
_LONGEST = 1e9


def awaited(m, value):
    """What `await value` gives; a value that cannot be awaited gives itself."""
    hops = 0
    while True:
        if type(value) is Generator and value.awaitable:
            return (yield Invoke(RUN, (value,)))
        method = value.cls.lookup("__await__") if type(value) is Instance else UNBOUND
        if method is UNBOUND or hops == 8:
            break
        value, hops = (yield Invoke(method, (value,))), hops + 1
    if hops and type(value) is Generator:
        while (yield Next(value)) is not EXHAUSTED:
            m.charge(1)
        return value.returned
    return value


def spawn(m, function, *args):
    """Start a task that calls a function and awaits its result.

    The running task goes on first.
    """
    m.allocate(MEMBER_BYTES)
    return m.spawn(_called(m, function, args), m.task.frame.place.child("gather"))


def _called(m, function, args: tuple):
    return (yield from awaited(m, (yield Invoke(function, args))))


def park(m, seconds=None):
    """Wait for a wake-up or some seconds; return whether woken."""
    if seconds is not None:
        seconds = min(max(_number(seconds), 0), _LONGEST)
    m.allocate(120)
    return _parked(m, seconds)


def _number(seconds):
    if type(seconds) not in (int, float, bool):
        raise TypeError(f"'{type_name(seconds)}' object cannot be interpreted as an integer or float")
    if seconds != seconds:
        raise ValueError("Invalid value NaN (not a number)")
    return seconds


def _parked(m, seconds):
    task = m.task
    if task.interrupt is None:
        woken = yield Park(seconds)
        if task.interrupt is None:
            return woken
    error, task.interrupt = task.interrupt, None
    raise Raised(error)


def wait_in(m, queue: list, seconds=None):
    """Park as the last of a list of tasks; return whether woken.

    A task is woken by whoever takes it off the list.
    """
    task = m.task
    if seconds is not None and _number(seconds) <= 0:
        return False
    m.need_items(len(queue) + 1) if len(queue) >= m.limits.items else m.allocate(40)
    m.charge(len(queue) >> 4)
    queue.append(task)
    try:
        return (yield from park(m, seconds))
    finally:
        if task in queue:
            queue.remove(task)


def wake(m, queue: list, count=None):
    """Take the first tasks off a list and let them go on.

    By default all are taken.
    """
    woken = queue[: len(queue) if count is None else need_integer(count)]
    m.charge(len(queue))
    del queue[: len(woken)]
    for task in woken:
        m.wake(task)


def interrupt(m, task: Task, error: Instance):
    """Raise an exception in a task at its current or next park.

    Returns False when the task has ended.
    """
    if task.frame is None:
        return False
    task.interrupt = error
    m.wake(task)
    return True


def clock(m):
    """Seconds that the script has slept since it began.

    Each reading is a little later than the one before.
    """
    m.clock += _TICK
    return m.clock


FUNCTIONS = {
    "spawn": spawn,
    "park": park,
    "wait_in": wait_in,
    "wake": wake,
    "interrupt": interrupt,
    "clock": clock,
    "current": lambda m: m.task,
    "seed_number": lambda m: m.seed,
    "run_awaitable": awaited,
    "is_coroutine": lambda m, value: type(value) is Generator and value.awaitable,
}
