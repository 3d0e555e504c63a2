"""The methods of generators and coroutines."""

from __future__ import annotations

from mxjax.script import exceptions
from mxjax.script.builtins import await_next, next_
from mxjax.script.coroutines import ASYNCHRONOUS, coroutine
from mxjax.script.exceptions import binds_arguments
from mxjax.script.frames import Invoke, Next, Throw
from mxjax.script.iteration import stop_iteration
from mxjax.script.values import EXHAUSTED, UNBOUND, Generator, Raised


def send(m, owner: Generator, value):
    result = yield Next(owner, value)
    if result is EXHAUSTED:
        raise Raised(stop_iteration(owner))
    return result


def throw(m, owner: Generator, error, value=None, traceback=None):
    result = yield from _thrown(m, owner, error, value)
    if result is EXHAUSTED:
        raise Raised(stop_iteration(owner))
    return result


def _thrown(m, owner: Generator, error, value):
    if exceptions.is_exception_class(error):
        error = yield Invoke(error, () if value is None else (value,))
    if not exceptions.is_exception(error):
        raise TypeError("exceptions must be classes or instances deriving from BaseException")
    return (yield Throw(owner, error))


def close(m, owner: Generator):
    if owner.frame is None and not owner.running:
        return
    try:
        result = yield Throw(owner, exceptions.make("GeneratorExit"))
    except Raised as error:
        if error.value.cls.name not in ("GeneratorExit", "StopIteration"):
            raise
        return
    if result is not EXHAUSTED:
        raise RuntimeError("generator ignored GeneratorExit")


def _asynchronous(method):
    """A method of asynchronous generators, which is awaited."""

    @binds_arguments
    def started(m, owner: Generator, *args):
        if owner.name != ASYNCHRONOUS:
            raise AttributeError(f"'{owner.name}' object has no such attribute")
        return coroutine(m, method(m, owner, *args))

    return started


def _asend(m, owner: Generator, value):
    result = yield Next(owner, value)
    if result is EXHAUSTED:
        raise Raised(exceptions.make("StopAsyncIteration"))
    return result


def _athrow(m, owner: Generator, error, value=None, traceback=None):
    result = yield from _thrown(m, owner, error, value)
    if result is EXHAUSTED:
        raise Raised(exceptions.make("StopAsyncIteration"))
    return result


GENERATOR = {
    "send": send,
    "throw": throw,
    "close": close,
    "__next__": next_,
    "__iter__": lambda m, owner: owner,
    "__aiter__": lambda m, owner: owner,
    "__anext__": _asynchronous(lambda m, owner: await_next(m, owner, UNBOUND)),
    "asend": _asynchronous(_asend),
    "athrow": _asynchronous(_athrow),
    "aclose": _asynchronous(lambda m, owner: close(m, owner)),
}
