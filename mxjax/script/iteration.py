"""Iteration over any iterable.

The host iterates over plain containers, the machine over everything else.

A container of known size is accounted for before it is copied; an iterator of unknown length item by item, so that an
endless one meets a limit.
"""

from __future__ import annotations

from collections import deque

from mxjax.script import exceptions
from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import may_raise
from mxjax.script.frames import Emit, Invoke, NativeFrame, Next
from mxjax.script.values import (
    EXHAUSTED,
    UNBOUND,
    Class,
    CounterDict,
    DefaultDict,
    Generator,
    HostIterator,
    Instance,
    Raised,
    Set,
    View,
    plain,
    type_name,
)

SIZED = frozenset({list, tuple, str, bytes, range, dict, DefaultDict, CounterDict, deque, Set, View})


@may_raise(OverflowError)
def size(value) -> int:
    """The length of a value of one of the `SIZED` types."""
    return len(value.owner) if type(value) is View else len(value)


def host_iterator(value):
    """The host's iterator over plain values; None if the machine must iterate."""
    kind = type(value)
    if kind is Set:
        return iter(value.items)
    if kind is View:
        return iter(value.host())
    if kind in SIZED:
        return iter(value)
    if kind is HostIterator:
        return value.source
    return None


def iterate(m, value):
    """An iterator over `value`: a host iterator or a `Generator`.

    Raises TypeError where there is none.
    """
    iterator = host_iterator(value)
    if iterator is not None:
        if type(value) is str and not value.isascii():
            m.allocate(80 * len(value))  # each character is a new string
        return iterator
    if _is_plain_generator(value):
        return value
    if type(value) is Instance:
        method = value.cls.lookup("__iter__")
        if method is not UNBOUND:
            return _given(m, (yield Invoke(method, (value,))))
        iterator = host_iterator(plain(value))
        if iterator is not None:
            return iterator
        if value.cls.lookup("__getitem__") is not UNBOUND:
            return lazy(m, _by_index(value), "iterator")
    if type(value) is Class and value.meta is not None and (method := value.meta.lookup("__iter__")) is not UNBOUND:
        return _given(m, (yield Invoke(method, (value,))))
    if type(value) is Class and "__members__" in value.members:
        return iter(members_of(value))
    raise TypeError(f"'{type_name(value)}' object is not iterable")


def _is_plain_generator(value) -> bool:
    return type(value) is Generator and not value.awaitable and value.name != "async_generator"


def _given(m, iterator):
    """The iterator from a script's `__iter__`, as `iterate` returns it."""
    if type(iterator) is HostIterator:
        return iterator.source
    if _is_plain_generator(iterator):
        return iterator
    if type(iterator) is Instance and iterator.cls.lookup("__next__") is not UNBOUND:
        return lazy(m, _drain(iterator), "iterator")
    raise TypeError(f"iter() returned non-iterator of type '{type_name(iterator)}'")


def members_of(cls: Class) -> list:
    """The members of an enum, each once, in definition order."""
    return list({id(member): member for member in cls.members["__members__"].values()}.values())


def _drain(instance: Instance):
    while True:
        try:
            value = yield Invoke(instance.cls.lookup("__next__"), (instance,))
        except Raised as error:
            if _is(error, "StopIteration"):
                return
            raise
        yield Emit(value)


def _by_index(instance: Instance):
    index = 0
    while True:
        try:
            value = yield Invoke(instance.cls.lookup("__getitem__"), (instance, index))
        except Raised as error:
            if _is(error, "IndexError"):
                return
            raise
        yield Emit(value)
        index += 1


def _is(error: Raised, name: str) -> bool:
    return any(cls.name == name for cls in error.value.cls.mro)


def lazy(m, gen, name: str) -> Generator:
    """A lazy iterator for scripts, from a generator that yields `Emit`."""
    frame = NativeFrame(gen, None, m.task.frame.place)
    frame.generator = generator = Generator(frame, name)
    m.allocate(1000)
    return generator


@may_raise(RuntimeError)
def pull(m, iterator):
    """The next value of what `iterate` returned, or EXHAUSTED."""
    m.charge(1)
    if type(iterator) is Generator:
        return (yield Next(iterator))
    return next(iterator, EXHAUSTED)


@may_raise(RuntimeError)
def take_all(m, value):
    """A new list of everything that `value` yields."""
    if type(value) in SIZED:
        m.need_items(size(value))
        if (type(value) is View and value.kind == "items") or (type(value) is str and not value.isascii()):
            m.allocate(70 * size(value))
        return list(host_iterator(value))
    iterator = yield from iterate(m, value)
    items: list = []
    most = m.limits.items
    while True:
        item = (yield Next(iterator)) if type(iterator) is Generator else next(iterator, EXHAUSTED)
        if item is EXHAUSTED:
            return items
        m.charge(1)
        m.allocate(180 if type(item) is tuple else 60)  # a row of `zip` or `enumerate` is made for the list
        if len(items) >= most:
            raise LimitExceeded("items")
        items.append(item)


def stop_iteration(iterator) -> Instance:
    """The StopIteration of a finished iterator, with its generator's return value."""
    returned = iterator.returned if type(iterator) is Generator else None
    if returned is None:
        return exceptions.make("StopIteration")
    iterator.returned = None
    return exceptions.make("StopIteration", returned)
