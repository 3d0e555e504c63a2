"""`contextlib`: context managers made of generators, `suppress` and `nullcontext`."""

from __future__ import annotations

from mxjax.script.attributes import methods
from mxjax.script.control import special
from mxjax.script.exceptions import is_exception
from mxjax.script.frames import Invoke, Next, Throw
from mxjax.script.values import EXHAUSTED, Generator, Instance, Native, Raised


class Manager:
    """The context that a decorated generator function makes."""

    __slots__ = ("generator",)
    holds = ("generator",)
    type_name = "_GeneratorContextManager"

    def __init__(self, generator: Generator):
        self.generator = generator


class Suppress:
    """A context that swallows some exceptions, or none and hands out `value`."""

    __slots__ = ("classes", "value")
    holds = ("classes", "value")
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


class Exits:
    """What an `ExitStack` has to do when it is left: (function, arguments or None for an exit method, keywords)."""

    __slots__ = ("callbacks",)
    holds = ("callbacks",)
    type_name = "ExitStack"

    def __init__(self):
        self.callbacks: list[tuple] = []


def exit_stack(m):
    m.allocate(200)
    return Exits()


def _push(m, owner: Exits, function, args=None, kwargs=None):
    m.need_items(len(owner.callbacks) + 1) if len(owner.callbacks) >= m.limits.items else m.allocate(200)
    owner.callbacks.append((function, args, kwargs or None))


def _enter_context(m, owner: Exits, cm):
    leave, enter = special(m, cm, "__exit__"), special(m, cm, "__enter__")
    value = yield Invoke(enter)
    _push(m, owner, leave)
    return value


def _push_exit(m, owner: Exits, exit):
    _push(m, owner, special(m, exit, "__exit__") if type(exit) is Instance else exit)
    return exit


def _callback(m, owner: Exits, callback, *args, **kwargs):
    _push(m, owner, callback, args, kwargs)
    return callback


def _leave_all(m, owner: Exits, kind, error, trace):
    """Runs what is left to do, last first; each sees the exception that is under way by then."""
    pending = error
    while owner.callbacks:
        m.charge(1)
        function, args, kwargs = owner.callbacks.pop()
        try:
            if args is not None:
                yield Invoke(function, args, kwargs)
            elif (yield Invoke(function, (None,) * 3 if pending is None else (pending.cls, pending, None))):
                pending = None
        except Raised as raised:
            pending = raised.value
    if pending is not None and pending is not error:
        raise Raised(pending)
    return error is not None and pending is None


methods(
    Exits,
    {
        "__enter__": lambda m, owner: owner, "__exit__": _leave_all, "enter_context": _enter_context,
        "callback": _callback, "push": _push_exit, "close": lambda m, owner: _leave_all(m, owner, None, None, None),
    },
)  # fmt: skip
methods(Manager, {"__enter__": _enter, "__exit__": _leave, "__aenter__": _enter, "__aexit__": _leave})
methods(Suppress, {"__enter__": lambda m, owner: owner.value, "__exit__": _swallows})
FUNCTIONS = {
    "contextmanager": contextmanager, "asynccontextmanager": contextmanager, "ExitStack": exit_stack,
    "suppress": suppress, "nullcontext": nullcontext,
}  # fmt: skip
