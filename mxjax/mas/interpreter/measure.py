"""Measures the memory that a script holds on to, by a size model of our own: the same figure everywhere."""

from __future__ import annotations

import gc
from collections import deque
from types import GeneratorType

from mxjax.mas.interpreter import values
from mxjax.mas.interpreter.frames import Completion, Frame, NativeFrame, Outcome

_CONSTANTS = frozenset({type(None), bool, range})
_REFERS = {
    Frame: ("slots", "stack", "blocks", "namespace", "handling", "back"),
    NativeFrame: ("gen", "inbox", "error", "back"),
    Completion: ("value",),
    Outcome: ("value", "error"),
    values.Class: ("members", "bases"),
    values.Function: ("defaults", "kw_defaults", "closure", "fields"),
}
_SIZES = {
    Frame: 600,
    NativeFrame: 400,
    values.Class: 400,
    values.Instance: 150,
    values.Function: 130,
    values.Native: 400,
    GeneratorType: 500,
}
_HOLDERS = (values.__name__, f"{__package__}.modules.")  # where everything else that holds values is defined


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
            total += _size(value, kind, stack)
    return total


def _size(value, kind, stack: list) -> int:
    """The size of one object; what it refers to goes on the stack."""
    if kind is str:
        return 56 + len(value) * (1 if value.isascii() else 4)
    if kind is bytes:
        return 40 + len(value)
    if kind is int:
        return 36 + value.bit_length() // 8
    if kind is list or kind is tuple or kind is deque:
        stack.extend(value)
        return 64 + 9 * len(value)
    if isinstance(value, dict):
        stack.extend(value)
        stack.extend(value.values())
        stack.append(getattr(value, "factory", None))
        return 64 + 100 * len(value)
    if kind is GeneratorType:
        if value.gi_frame is not None:
            stack.extend(value.gi_frame.f_locals.values())
        stack.append(value.gi_yieldfrom)
    elif kind is values.HostIterator:
        stack.extend(gc.get_referents(value.source))
    elif kind is values.Native:
        stack.extend(cell.cell_contents for cell in value.fn.__closure__ or ())
    elif kind in _REFERS:
        stack.extend(getattr(value, name) for name in _REFERS[kind])
    elif kind.__module__.startswith(_HOLDERS):
        stack.extend(getattr(value, name) for name in kind.__slots__)
    return _SIZES.get(kind, 0) or getattr(kind, "own_bytes", 64)
