"""Turns the source of a design into a checked, compiled program, or says why it is none.

Everything that can be told without running is told here, with a line: wrong syntax, constructs and modules that are
not part of the language, and sizes. The same script is compiled once, however many executions share it.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import hashlib
import warnings as host_warnings
from typing import Any

from mxjax.mas import advice
from mxjax.mas.errors import DesignError
from mxjax.mas.interpreter import lexer
from mxjax.mas.interpreter.code import Code
from mxjax.mas.interpreter.compiler import compile_tree
from mxjax.mas.interpreter.modules import MODULES
from mxjax.mas.interpreter.scopes import analyse
from mxjax.mas.library.modules import LIBRARY
from mxjax.mas.limits import Limits

ALL_MODULES = {**MODULES, **LIBRARY}
_VERSION = (3, 11)  # what every host can parse; the f-strings of 3.12 are ours (see the lexer)
_CACHE: collections.OrderedDict[Any, CheckedDesign] = collections.OrderedDict()
_CACHE_SIZE = 1024
_CACHE_CHARS = 2_000_000  # of source; the trees of a script take some hundred times as much


@dataclasses.dataclass(frozen=True, eq=False)
class CheckedDesign:
    """A script that compiles. `warnings` are sentences about what will probably not work as meant."""

    source: str
    warnings: tuple[str, ...]
    code: Code = dataclasses.field(repr=False)
    tree: ast.Module = dataclasses.field(repr=False)
    limits: Limits = dataclasses.field(repr=False)

    @property
    def doc(self) -> str | None:
        """The script's own description, its `__doc__`."""
        return ast.get_docstring(self.tree, clean=False)


def check(source: str, limits: Limits | None = None) -> CheckedDesign:
    """Compiles a script. Raises DesignError, and nothing else, for every text that cannot be run."""
    limits = limits or Limits()
    if not isinstance(source, str):
        raise DesignError(1, 1, "syntax", f"a script must be text, got {type(source).__name__}")
    if len(source) > limits.source_chars:
        raise DesignError(
            1, 1, "too_large", f"the script has {len(source)} characters, more than {limits.source_chars}"
        )
    key = (hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest(), limits)
    found = _CACHE.get(key)
    if found is not None:
        _CACHE.move_to_end(key)
        return found
    try:
        made = _check(source, limits)
    except (RecursionError, MemoryError):
        raise DesignError(1, 1, "too_large", "the script is nested too deeply") from None
    _CACHE[key] = made
    while len(_CACHE) > 1 and (len(_CACHE) > _CACHE_SIZE or sum(len(d.source) for d in _CACHE.values()) > _CACHE_CHARS):
        _CACHE.popitem(last=False)
    return made


def _check(source: str, limits: Limits) -> CheckedDesign:
    lexed = lexer.rewrite(source)
    tree = _parse(lexed.text, lexed, "exec")
    _measure(tree, limits)
    if lexed.hoisted:
        tree = _Hoisted(lexed).visit(tree)
        _measure(tree, limits)
    try:
        scopes = analyse(tree)
        code = compile_tree(tree, scopes, limits, ALL_MODULES)
    except DesignError as error:
        column = lexed.column(error.line, error.column - 1) + 1
        raise DesignError(error.line, column, error.kind, error.reason) from None
    found = advice.findings(tree, scopes, limits)
    for finding in found:
        if finding.certain:
            column = lexed.column(finding.line, finding.column - 1) + 1
            raise DesignError(finding.line, column, finding.kind, finding.reason)
    warnings = [f"line {finding.line}: {finding.reason}" for finding in found]
    return CheckedDesign(source, (*_warnings(tree), *warnings), code, tree, limits)


def _parse(text: str, lexed: lexer.Lexed, mode: str):
    try:
        with host_warnings.catch_warnings():
            host_warnings.simplefilter("ignore")
            return ast.parse(text, mode=mode, feature_version=_VERSION)
    except SyntaxError as error:
        line = error.lineno or 1
        column = lexed.column(line, (error.offset or 1) - 1) + 1
        raise DesignError(line, column, "syntax", str(error.msg)) from None
    except ValueError as error:
        raise DesignError(1, 1, "syntax", str(error)) from None


def _measure(tree: ast.AST, limits: Limits):
    """Refuses trees that are too large or too deep, without recursion."""
    count = 0
    stack = [(tree, 0, 1, 1)]
    while stack:
        node, depth, line, column = stack.pop()
        count += 1
        line = getattr(node, "lineno", line)
        column = getattr(node, "col_offset", column - 1) + 1
        if depth > limits.source_depth:
            raise DesignError(line, column, "too_large", f"the script is nested deeper than {limits.source_depth}")
        if count > limits.source_nodes:
            raise DesignError(line, column, "too_large", f"the script has more than {limits.source_nodes} parts")
        stack.extend((child, depth + 1, line, column) for child in ast.iter_child_nodes(node))


class _Hoisted(ast.NodeTransformer):
    """Puts the literals back that the lexer took out of f-string fields."""

    def __init__(self, lexed: lexer.Lexed):
        self.lexed = lexed

    def visit_Name(self, node: ast.Name):
        match = lexer.HOISTED.fullmatch(node.id)
        if match is None or int(match[1]) >= len(self.lexed.hoisted):
            return node
        literal = _parse(self.lexed.hoisted[int(match[1])], self.lexed, "eval").body
        for inner in ast.walk(literal):
            if hasattr(inner, "lineno"):
                inner.lineno, inner.col_offset = node.lineno, node.col_offset
        return self.visit(literal) if isinstance(literal, ast.JoinedStr) else literal

    def visit_JoinedStr(self, node: ast.JoinedStr):
        """Also puts them back in what `{x=}` prints of its source."""
        for part, field in zip(node.values, node.values[1:]):
            if isinstance(part, ast.Constant) and isinstance(field, ast.FormattedValue):
                part.value = lexer.HOISTED.sub(self.written, part.value)
        return self.generic_visit(node)

    def written(self, match) -> str:
        index = int(match[1])
        return self.lexed.written[index] if index < len(self.lexed.written) else match[0]


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
