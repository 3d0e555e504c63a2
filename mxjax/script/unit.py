"""The code object under construction, and the refusal of forbidden names."""

from __future__ import annotations

import ast

from mxjax.script import instructions
from mxjax.script.code import Code, Signature
from mxjax.script.errors import CompileError
from mxjax.script.names import ALLOWED_DUNDERS
from mxjax.script.scopes import Scope


class Label:
    """A jump target whose position is not known yet."""

    __slots__ = ("at",)

    def __init__(self):
        self.at = -1


class Loop:
    """The loop that `break` and `continue` refer to."""

    def __init__(self, again: Label, leave: Label, blocks: int):
        self.again = again
        self.leave = leave
        self.blocks = blocks


def refuse(node: ast.AST, reason: str, kind: str = "unsupported") -> CompileError:
    """The error for a construct at `node`."""
    return CompileError(getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, kind, reason)


def check_name(name: str, node: ast.AST):
    """Refuse names with which Python reaches past the language."""
    if name.startswith("__") and name.endswith("__") and name not in ALLOWED_DUNDERS:
        raise refuse(node, f"the name {name!r} is not available to a design", "forbidden")


class Unit:
    """One code object under construction."""

    def __init__(
        self, name: str, scope: Scope, kind: str = "plain", signature: Signature | None = None, qualname: str = ""
    ):
        self.name = name
        self.scope = scope
        self.kind = kind
        self.signature = signature or Signature()
        self.qualname = qualname or name
        self.doc: str | None = None
        self.annotation = ""
        self.code: list[tuple] = []
        self.lines: list[int] = []
        self.line = 1
        self.blocks = 0
        self.loops: list[Loop] = []

    def emit(self, handler, argument=None):
        self.code.append((handler, argument))
        self.lines.append(self.line)

    def place(self, label: Label):
        label.at = len(self.code)

    def load(self, name: str):
        self._name(
            name, instructions.load_slot, instructions.load_cell, instructions.load_global, instructions.load_name
        )

    def store(self, name: str):
        self._name(
            name, instructions.store_slot, instructions.store_cell, instructions.store_global, instructions.store_name
        )

    def delete(self, name: str):
        self._name(
            name,
            instructions.delete_slot,
            instructions.delete_cell,
            instructions.delete_global,
            instructions.delete_name,
        )

    def _name(self, name: str, slot, cell, global_, class_):
        place = self.scope.place(name)
        if place == "slot":
            self.emit(slot, self.scope.slots[name])
        elif place == "cell":
            self.emit(cell, self.scope.slots[name])
        elif place == "global":
            self.emit(global_, name)
        else:
            self.emit(class_, (name, self.scope.slots[name] if name in self.scope.frees else None))

    def captured(self, inner: Scope) -> tuple[int, ...]:
        """The slots with the cells that `inner` needs, in its order."""
        return tuple(self.scope.slots[name] for name in inner.frees)

    def finish(self) -> Code:
        """The code object, with labels resolved."""
        scope = self.scope
        return Code(
            name=self.name,
            ops=tuple((handler, _resolved(argument)) for handler, argument in self.code),
            lines=tuple(self.lines),
            slots=len(scope.slots),
            cells=tuple(scope.slots[name] for name in scope.bound if name in scope.cells),
            frees=tuple(scope.slots[name] for name in scope.frees),
            signature=self.signature,
            kind=self.kind,
            slot_names=tuple(scope.slots),
            qualname=self.qualname,
            doc=self.doc,
            annotation=self.annotation,
        )


def _resolved(argument):
    if type(argument) is Label:
        return argument.at
    if type(argument) is tuple and any(type(part) is Label for part in argument):
        return tuple(part.at if type(part) is Label else part for part in argument)
    return argument
