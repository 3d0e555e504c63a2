"""The machine that a design runs on.

Also what its script can see of the world, and how its calls are answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from mxjax.mas.library.budget import BUDGET
from mxjax.mas.library.core import Host
from mxjax.mas.library.groups import share_out
from mxjax.mas.library.modules import LIBRARY
from mxjax.mas.limits import Limits, Meter
from mxjax.mas.records import Reply
from mxjax.script.code import Code
from mxjax.script.frames import Ask
from mxjax.script.library import BUILTINS, MODULES
from mxjax.script.machine import Machine

ALL_MODULES = {**MODULES, **LIBRARY}
NAMES = {**BUILTINS, **BUDGET}  # what a script can use without importing it
AnyMachine = TypeVar("AnyMachine", bound=Machine)
PATH = "/designs/design.py"  # what a script reads as its own path; there is no such file


def global_names(question: str, doc: str | None) -> dict[str, Any]:
    """The global names that a script finds when it starts."""
    return {"__name__": "__main__", "__file__": PATH, "__doc__": doc, "question": question}


def new_machine(kind: type[AnyMachine], code: Code, names: dict[str, Any], limits: Limits, host: Host) -> AnyMachine:
    """A machine of this `kind`, ready to run a script under `limits`."""
    machine = kind(code, limits, NAMES, ALL_MODULES, names, meter=Meter(limits.agent_calls))
    machine.host = host
    return machine


def settle(machine: Machine) -> None:
    """Run a script until every part of it waits or has ended.

    A part waits for a reply.
    """
    machine.asked = []
    machine.settle()
    while not machine.pending and share_out(machine):
        machine.settle()


def answer(machine: Machine, replies: Mapping[str, Reply]) -> list[tuple[Ask, Reply]]:
    """Put in the replies to pending calls, by their ids.

    The script goes on at the next `settle`.
    """
    answered = [(machine.pending.pop(call_id), reply) for call_id, reply in replies.items()]
    for asked, reply in answered:
        task, asked.task = asked.task, None
        if task is not None:
            machine.resume(task, reply)
    return answered
