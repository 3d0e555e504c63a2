"""Turn the source of a design into a checked, compiled program.

If it is none, say why.

What no run can get past is told here, with a line: wrong syntax, constructs and modules that are not part of the
language, sizes, and errors that a dry run up to the first calls meets before it has looked at the question. The same
script is compiled once, however many executions share it.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import hashlib
from typing import Any

from mxjax.mas import advice
from mxjax.mas.dry import dry_run
from mxjax.mas.limits import Limits
from mxjax.mas.machines import ALL_MODULES
from mxjax.mas.parse import DesignError
from mxjax.script.code import Code
from mxjax.script.errors import CompileError
from mxjax.script.source import compile_source

_FUEL = 20_000  # of the dry run: some ten times what a design uses up to its first calls
_QUESTION = "?"
_CACHE: collections.OrderedDict[Any, CheckedDesign] = collections.OrderedDict()
_CACHE_SIZE = 1024
_CACHE_CHARS = 2_000_000  # of source; the trees of a script take some hundred times as much


@dataclasses.dataclass(frozen=True, eq=False)
class CheckedDesign:
    """A script that compiles.

    `warnings` are sentences about what will probably not work as meant.
    """

    source: str
    warnings: tuple[str, ...]
    code: Code = dataclasses.field(repr=False)
    tree: ast.Module = dataclasses.field(repr=False)
    limits: Limits = dataclasses.field(repr=False)

    @property
    def doc(self) -> str | None:
        """The script's own description, its `__doc__`."""
        return _doc(self.tree)


def check(source: str, limits: Limits | None = None) -> CheckedDesign:
    """Compile a script.

    Raises DesignError, and nothing else, for any text that cannot be run.
    """
    limits = limits or Limits()
    if not isinstance(source, str):
        raise DesignError(1, 1, "syntax", f"a script must be text, got {type(source).__name__}")
    key = hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest(), limits
    cached = _CACHE.get(key)
    if cached is not None:
        _CACHE.move_to_end(key)
        return cached
    try:
        checked = _check(source, limits)
    except CompileError as error:
        raise DesignError(error.line, error.column, error.kind, error.reason) from None
    _CACHE[key] = checked
    while len(_CACHE) > 1 and (len(_CACHE) > _CACHE_SIZE or sum(len(d.source) for d in _CACHE.values()) > _CACHE_CHARS):
        _CACHE.popitem(last=False)
    return checked


def _check(source: str, limits: Limits) -> CheckedDesign:
    program = compile_source(source, limits, ALL_MODULES)
    dry = dry_run(program.code, _doc(program.tree), limits, _FUEL, _QUESTION)
    error = advice.certain_error(program, dry)
    if error is not None:
        raise DesignError(*program.lexed.located(error), error.kind, error.reason)
    warnings = (*_warnings(program.tree), *advice.warnings(program, dry, limits))
    return CheckedDesign(source, warnings, program.code, program.tree, limits)


def _doc(tree: ast.Module) -> str | None:
    return ast.get_docstring(tree, clean=False)


def _warnings(tree: ast.Module) -> tuple[str, ...]:
    called, names = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called.add(node.func.attr)
    found = []
    if "run" not in called:
        found.append("the script never calls run() on a workflow, so it has no result")
    if not any("Agent" in name or "Node" in name for name in names):
        found.append("the script makes no agent")
    return tuple(found)
