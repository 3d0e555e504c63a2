"""Importable modules written in the script language itself.

They are the files in `lib`, compiled once.

Such a module is metered by the machine like any other script, and CPython runs the same file, so that it can be
compared with the module it stands for. Its body is compiled as the body of a function whose variables are the
module's; names that it does not bind are those of the language, whatever a script calls its own variables. What it
imports from `_native` are functions of ours.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
from pathlib import Path

from mxjax.script import instructions
from mxjax.script.builtins import BUILTINS
from mxjax.script.code import Code
from mxjax.script.compiler import compile_tree
from mxjax.script.frames import Invoke
from mxjax.script.metering import Limits
from mxjax.script.scopes import analyse
from mxjax.script.values import UNBOUND, Function, Module, Native

LIBRARY = Path(__file__).parent / "lib"
NATIVE = "_native"  # from which a module imports functions of ours


class Written:
    """A module in the language, with `more` members of ours.

    Called with a machine, it is made there.
    """

    holds = ()  # of a script: it is shared by all

    def __init__(self, name: str, natives: dict, modules: dict, more: dict):
        self.name = name
        self.more = more
        self.path = LIBRARY / f"{name.replace('.', '_')}.py"
        self.natives = natives
        self.modules = modules

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text())

    @functools.cached_property
    def public(self) -> tuple[str, ...]:
        """The names that the module binds, except those with leading underscores."""
        bound = analyse(self.tree)[self.tree].bound
        taken = {alias.asname or alias.name for node in self.native_imports for alias in node.names}
        return tuple(name for name in bound if not name.startswith("_") and name not in taken)

    @property
    def native_imports(self) -> list[ast.ImportFrom]:
        return [node for node in self.tree.body if isinstance(node, ast.ImportFrom) and node.module == NATIVE]

    @functools.cached_property
    def code(self) -> Code:
        """The function that runs the module's body.

        It returns a dict of the module's public names.
        """
        known = dict(BUILTINS)
        for node in self.native_imports:
            known |= {a.asname or a.name: Native(a.name, self.natives[a.name]) for a in node.names}
        body = [node for node in self.tree.body if node not in self.native_imports]
        keys: list[ast.expr | None] = [ast.Constant(name) for name in self.public]
        values: list[ast.expr] = [ast.Name(name, ast.Load()) for name in self.public]
        body.append(ast.Return(ast.Dict(keys, values)))
        nothing = ast.arguments([], [], None, [], [], None, [])
        function = ast.FunctionDef(self.name, nothing, body, [], None, None)
        tree = ast.fix_missing_locations(ast.Module([function], []))
        compiled = compile_tree(tree, analyse(tree), Limits(), self.modules)
        inner = next(argument[0] for _, argument in compiled.ops if type(argument) is tuple and argument)
        return _closed(inner, known)

    def __call__(self, m):
        members = yield Invoke(Function(self.code, (), {}, ()))
        return Module(self.name, {**self.more, **members})


def _closed(code: Code, known: dict) -> Code:
    """The same code without lines, its global names resolved.

    Each is replaced by what it stands for in the language.
    """
    ops = tuple(_bound(*op, known) for op in code.ops)
    return dataclasses.replace(code, ops=ops, lines=(0,) * len(code.lines))


def _bound(handler, argument, known: dict) -> tuple:
    if handler is instructions.load_global:
        return instructions.load_const, known[argument]
    if handler is instructions.load_name:
        return _load_name, (*argument, known.get(argument[0], UNBOUND))
    if type(argument) is Code:
        return handler, _closed(argument, known)
    if type(argument) is tuple:
        return handler, tuple(_closed(part, known) if type(part) is Code else part for part in argument)
    return handler, argument


def _load_name(m, frame, argument):
    """Look up a name from a class body of a module.

    Searches its own namespace, then a captured cell, then the language.
    """
    name, index, known = argument
    value = frame.namespace.get(name, UNBOUND)
    if value is UNBOUND:
        value = known if index is None else frame.slots[index].value
    if value is UNBOUND:
        raise NameError(f"name '{name}' is not defined")
    frame.stack.append(value)
