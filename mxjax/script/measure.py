"""Memory held by a script, by a host-independent size model.

What keeps what alive is declared, never guessed. A type of ours says it in `holds`, the names of the attributes through
which its objects hold others, and in `own_bytes`, the size of an object by itself, 64 unless it says so. What is known
of the host's types stands here.
"""

from __future__ import annotations

import collections
import functools
import gc
import itertools
import random
import re
import types
from collections.abc import Callable
from typing import Any

from mxjax.script.exceptions import InternalError

OBJECT_BYTES = 64  # of anything that does not say its size


def live_bytes(machine) -> int:
    """Bytes reachable from the globals and every frame of every task."""
    seen: set[int] = set()
    stack: list = [machine.globals, machine.imported]
    tasks = [machine.task, machine.root, *machine.ready, *machine.arrived, *machine.free, *machine.spawned]
    tasks += [request.task for request in machine.pending.values()]
    for task in tasks:
        while task is not None:
            stack.append(task.frame)
            if task.group is not None:
                stack.extend(member.frame for member in task.group.tasks)
            task = task.group.parent if task.group is not None else None
    total = 120 * len(machine.sleeping)
    while stack:
        value = stack.pop()
        kind = type(value)
        if kind in _CONSTANTS:
            continue
        if kind is float or (kind is int and value.bit_length() < 64):
            total += 32  # once for each place that holds it, which is cheaper than remembering it
        elif id(value) not in seen:
            seen.add(id(value))
            total += weighing(kind)(value, stack)  # type: ignore[arg-type]  # mypy takes no type[Any] for hashable
    return total


@functools.cache
def weighing(kind: type) -> Callable[[Any, list], int]:
    """A function that measures an object of `kind`.

    It puts what the object holds on a stack and returns the size of the object alone.

    Raises InternalError for a type that does not say what it holds.
    """
    if kind in _OF_HOST:
        return _OF_HOST[kind]
    if issubclass(kind, BaseException):
        return _exception
    if "holds" not in vars(kind):
        raise InternalError(f"the type {kind.__module__}.{kind.__qualname__} does not say what it holds")
    names, own = vars(kind)["holds"], getattr(kind, "own_bytes", OBJECT_BYTES)

    def weigh(value, stack: list) -> int:
        stack.extend(getattr(value, name) for name in names)
        return value.own_bytes if type(own) is property else own

    def weigh_dict(value, stack: list) -> int:
        weigh(value, stack)
        return _dict(value, stack)

    return weigh_dict if issubclass(kind, dict) else weigh


# What the host's own types hold


def _str(value: str, stack: list) -> int:
    return 56 + len(value) * (1 if value.isascii() else 4)


def _sequence(value, stack: list) -> int:
    stack.extend(value)
    return 64 + 9 * len(value)


def _deque(value: collections.deque, stack: list) -> int:
    return 640 + _sequence(value, stack)  # its first block stands for 64 items


def _dict(value: dict, stack: list) -> int:
    stack.extend(value)
    stack.extend(value.values())
    return 64 + 100 * len(value)


def _set(value, stack: list) -> int:
    stack.extend(value)
    return 64 + 70 * len(value)


def _generator(value: types.GeneratorType, stack: list) -> int:
    if value.gi_frame is not None:
        stack.extend(value.gi_frame.f_locals.values())
    stack.append(value.gi_yieldfrom)
    return 500


def _function(value: types.FunctionType, stack: list) -> int:
    """The script values that a function of ours keeps in its closure."""
    stack.extend(cell.cell_contents for cell in value.__closure__ or ())
    return 0


def _referents(value, stack: list) -> int:
    """The host says itself what its iterators and bound methods hold."""
    stack.extend(gc.get_referents(value))
    return OBJECT_BYTES


def _exception(value: BaseException, stack: list) -> int:
    """A host exception, or a script's on its way (`values.Raised`)."""
    stack.extend((value.args, getattr(value, "value", None)))
    return 200


def _nothing(value, stack: list) -> int:
    return OBJECT_BYTES


_CONSTANTS = frozenset({type(None), bool, range})
_SOME_ITERATORS: tuple[Any, ...] = (
    iter([]), reversed([]), iter(()), iter(""), iter("ä"), iter(b""), iter(range(0)), iter(range(1 << 99)),
    iter({}), iter({}.values()), iter({}.items()), reversed({}), reversed({}.values()), reversed({}.items()),
    iter(set()), iter(collections.deque()), reversed(collections.deque()), iter(int, 0),
    enumerate([]), zip(), map(int, []), filter(int, []), reversed(()), itertools.chain(), itertools.islice([], 0),
)  # fmt: skip
_ITERATORS = {type(iterator) for iterator in _SOME_ITERATORS}
_ALONE = (
    object, type, types.ModuleType, types.MethodDescriptorType, types.WrapperDescriptorType,
    types.ClassMethodDescriptorType, types.MethodWrapperType, re.Match, re.Pattern, random.Random,
)  # fmt: skip
_OF_HOST: dict[type, Callable[[Any, list], int]] = {
    str: _str,
    bytes: lambda value, stack: 40 + len(value),
    int: lambda value, stack: 36 + value.bit_length() // 8,
    list: _sequence,
    tuple: _sequence,
    collections.deque: _deque,
    dict: _dict,
    set: _set,
    frozenset: _set,
    types.GeneratorType: _generator,
    types.FunctionType: _function,
    **dict.fromkeys((*_ITERATORS, types.MethodType, types.BuiltinFunctionType, slice), _referents),
    **dict.fromkeys((type({}.keys()), type({}.values()), type({}.items())), _referents),
    **dict.fromkeys(_ALONE, _nothing),
}
