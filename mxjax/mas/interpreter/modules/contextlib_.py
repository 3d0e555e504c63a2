"""`contextlib`: context managers made of generators, `suppress` and `nullcontext`."""

from __future__ import annotations

from mxjax.mas.interpreter.attributes import methods
from mxjax.mas.interpreter.exceptions import is_exception
from mxjax.mas.interpreter.frames import Invoke, Next, Throw
from mxjax.mas.interpreter.values import EXHAUSTED, Generator, Native, Raised


class Manager:
    """The context that a decorated generator function makes."""

    __slots__ = ("generator",)
    type_name = "_GeneratorContextManager"

    def __init__(self, generator: Generator):
        self.generator = generator


class Suppress:
    """A context that swallows some exceptions, or none and hands out `value`."""

    __slots__ = ("classes", "value")
    type_name = "suppress"

    def __init__(self, classes: tuple, value=None):
        self.classes = classes
        self.value = value


def contextmanager(m, function):
    def call(m, *args, **kwargs):
        generator = yield Invoke(function, args, kwargs)
        if type(generator) is not Generator or generator.awaitable:
            raise TypeError("contextmanager() is for generator functions")
        m.allocate(100)
        return Manager(generator)

    m.allocate(500)
    return Native(getattr(function, "name", "contextmanager"), call)


def _enter(m, owner: Manager):
    value = yield Next(owner.generator)
    if value is EXHAUSTED:
        raise RuntimeError("generator didn't yield")
    return value


def _leave(m, owner: Manager, kind, error, trace):
    if error is None:
        if (yield Next(owner.generator)) is not EXHAUSTED:
            raise RuntimeError("generator didn't stop")
        return False
    try:
        ended = yield Throw(owner.generator, error)
    except Raised as raised:
        if raised.value is error:
            return False
        raise
    if ended is not EXHAUSTED:
        raise RuntimeError("generator didn't stop after throw()")
    return True


def suppress(m, *classes):
    m.need_items(len(classes))
    return Suppress(classes)


def nullcontext(m, enter_result=None):
    return Suppress((), enter_result)


def _swallows(m, owner: Suppress, kind, error, trace):
    m.charge(len(owner.classes))
    return is_exception(error) and any(cls in error.cls.mro for cls in owner.classes)


methods(Manager, {"__enter__": _enter, "__exit__": _leave})
methods(Suppress, {"__enter__": lambda m, owner: owner.value, "__exit__": _swallows})
FUNCTIONS = {"contextmanager": contextmanager, "suppress": suppress, "nullcontext": nullcontext}
