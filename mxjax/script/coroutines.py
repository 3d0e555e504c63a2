"""Coroutines and asynchronous iterators.

They run in place of the `await` or the loop that waits for them.
"""

from __future__ import annotations

from mxjax.script.frames import Emit, Invoke, NativeFrame, Next
from mxjax.script.iteration import lazy
from mxjax.script.values import EXHAUSTED, PENDING, UNBOUND, Generator, Instance, Native, Raised, type_name

ASYNCHRONOUS = "async_generator"


def coroutine(m, gen) -> Generator:
    """A coroutine from a generator of ours; it runs when awaited."""
    m.allocate(1000)
    return Generator(NativeFrame(gen, None, m.task.frame.place), "coroutine", awaitable=True)


def enter(m, coroutine: Generator):
    """Run a coroutine in place of a call."""
    frame, coroutine.frame = coroutine.frame, None
    if frame is None:
        raise RuntimeError("cannot reuse already awaited coroutine")
    frame.back = m.task.frame
    frame.place = frame.back.place
    m.enter(frame)
    return PENDING


RUN = Native("await", enter)


def iterate_async(m, value):
    """An iterator for `async for`.

    It is an asynchronous generator, or iterates over what `__aiter__` gives.
    """
    if type(value) is Generator and value.name == ASYNCHRONOUS:
        return value
    method = value.cls.lookup("__aiter__") if type(value) is Instance else UNBOUND
    if method is UNBOUND:
        raise TypeError(f"'async for' requires an object with __aiter__ method, got {type_name(value)}")
    inner = yield Invoke(method, (value,))
    if type(inner) is Generator and inner.name == ASYNCHRONOUS:
        return inner
    return lazy(m, _drain(m, inner), "async_iterator")


def _drain(m, iterator):
    while (value := (yield from next_async(m, iterator))) is not EXHAUSTED:
        yield Emit(value)


def next_async(m, iterator):
    """The next value of an asynchronous iterator, or EXHAUSTED."""
    if type(iterator) is Generator and iterator.name == ASYNCHRONOUS:
        return (yield Next(iterator))
    method = iterator.cls.lookup("__anext__") if type(iterator) is Instance else UNBOUND
    if method is UNBOUND:
        raise TypeError(f"'{type_name(iterator)}' object is not an async iterator")
    try:
        value = yield Invoke(method, (iterator,))
        if type(value) is Generator and value.awaitable:
            value = yield Invoke(RUN, (value,))
        return value
    except Raised as error:
        if all(cls.name != "StopAsyncIteration" for cls in error.value.cls.mro):
            raise
        return EXHAUSTED
