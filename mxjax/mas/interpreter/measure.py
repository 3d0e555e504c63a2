"""Measures the memory that a script holds on to, by a size model of our own: the same figure everywhere."""

from __future__ import annotations

from mxjax.mas.interpreter.frames import Frame, NativeFrame
from mxjax.mas.interpreter.values import (
    BoundMethod,
    Cell,
    Class,
    Function,
    Generator,
    Instance,
    Module,
    Set,
    View,
)

_LEAVES = frozenset({type(None), bool, float, range})


def live_bytes(machine) -> int:
    """Bytes reachable from the globals and every frame of every task."""
    seen: set[int] = set()
    stack: list = [machine.globals, machine.imported]
    tasks = [machine.task, machine.root, *machine.ready, *machine.arrived, *machine.free]
    tasks += [request.task for request in machine.pending.values()]
    for task in tasks:
        while task is not None:
            stack.append(task.frame)
            if task.group is not None:
                stack.extend(member.frame for member in task.group.tasks)
            task = task.group.parent if task.group is not None else None
    total = 0
    while stack:
        value = stack.pop()
        kind = type(value)
        if kind in _LEAVES or id(value) in seen:
            continue
        seen.add(id(value))
        total += _size(value, kind, stack)
    return total


def _size(value, kind, stack: list) -> int:
    if kind is str:
        return 56 + len(value) * (1 if value.isascii() else 4)
    if kind is int:
        return 28 + value.bit_length() // 8
    if kind in (list, tuple) or kind.__name__ == "deque":
        stack.extend(value)
        return 64 + 8 * len(value)
    if isinstance(value, dict):
        stack.extend(value)
        stack.extend(value.values())
        return 64 + 100 * len(value)
    if kind is Set:
        stack.append(value.items)
    elif kind is Instance:
        stack.append(value.fields)
    elif kind is Cell:
        stack.append(value.value)
    elif kind is Frame:
        stack.extend((value.slots, value.stack, value.namespace, value.back))
        return 200
    elif kind is NativeFrame:
        stack.append(value.back)
        stack.extend((value.gen.gi_frame.f_locals or {}).values() if value.gen.gi_frame else ())
        return 600
    elif kind is Function:
        stack.extend((value.defaults, value.kw_defaults, value.closure))
    elif kind is Generator:
        stack.append(value.frame)
    elif kind is BoundMethod or kind is View:
        stack.append(value.owner)
    elif kind is Class or kind is Module:
        stack.append(value.members)
    return 64
