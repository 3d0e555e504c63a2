"""From the text of a script to its code.

The text is lexed, parsed by CPython's own parser, measured, resolved and compiled.

CPython parses what every host can parse; the f-strings of 3.12 are rewritten by the lexer before, and put back after.
"""

from __future__ import annotations

import ast
import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

from mxjax.script import lexer
from mxjax.script.code import Code
from mxjax.script.compiler import compile_tree
from mxjax.script.errors import CompileError
from mxjax.script.metering import Limits
from mxjax.script.scopes import Scope, analyse

_VERSION = (3, 11)  # the oldest Python that mxjax runs on


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled script, with its syntax tree and scopes."""

    code: Code
    tree: ast.Module
    scopes: dict[ast.AST, Scope]
    lexed: lexer.Lexed


def compile_source(source: str, limits: Limits, modules: Mapping[str, Any]) -> Program:
    """Compile a script that may import `modules`.

    Raises CompileError, and nothing else, for any text.
    """
    if len(source) > limits.source_chars:
        reason = f"the script has {len(source)} characters, more than {limits.source_chars}"
        raise CompileError(1, 1, "too_large", reason)
    try:
        return _compile(source, limits, modules)
    except (RecursionError, MemoryError):
        raise CompileError(1, 1, "too_large", "the script is nested too deeply") from None


def _compile(source: str, limits: Limits, modules: Mapping[str, Any]) -> Program:
    lexed = lexer.rewrite(source)
    tree = _parse(lexed.text, lexed, "exec")
    _measure(tree, limits)
    if lexed.hoisted:
        tree = _Hoisted(lexed).visit(tree)
        _measure(tree, limits)
    try:
        scopes = analyse(tree)
        return Program(compile_tree(tree, scopes, limits, modules), tree, scopes, lexed)
    except CompileError as error:
        raise CompileError(*lexed.located(error), error.kind, error.reason) from None


def _parse(text: str, lexed: lexer.Lexed, mode: str):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode=mode, feature_version=_VERSION)
    except SyntaxError as error:
        line = error.lineno or 1
        column = lexed.column(line, (error.offset or 1) - 1) + 1
        raise CompileError(line, column, "syntax", str(error.msg)) from None
    except ValueError as error:
        raise CompileError(1, 1, "syntax", str(error)) from None


def _measure(tree: ast.AST, limits: Limits):
    """Refuse trees that are too large or too deep, without recursion."""
    count = 0
    stack = [(tree, 0, 1, 1)]
    while stack:
        node, depth, line, column = stack.pop()
        count += 1
        line = getattr(node, "lineno", line)
        column = getattr(node, "col_offset", column - 1) + 1
        if depth > limits.source_depth:
            raise CompileError(line, column, "too_large", f"the script is nested deeper than {limits.source_depth}")
        if count > limits.source_nodes:
            raise CompileError(line, column, "too_large", f"the script has more than {limits.source_nodes} parts")
        stack.extend((child, depth + 1, line, column) for child in ast.iter_child_nodes(node))


class _Hoisted(ast.NodeTransformer):
    """Put back the literals taken out of f-string fields."""

    def __init__(self, lexed: lexer.Lexed):
        self.lexed = lexed

    def visit_Name(self, node: ast.Name):
        match = lexer.HOISTED.fullmatch(node.id)
        if match is None or int(match[1]) >= len(self.lexed.hoisted):
            return node
        literal = _parse(self.lexed.hoisted[int(match[1])], self.lexed, "eval").body
        for inner in ast.walk(literal):
            if isinstance(inner, ast.expr):
                inner.lineno, inner.col_offset = node.lineno, node.col_offset
        return self.visit(literal) if isinstance(literal, ast.JoinedStr) else literal

    def visit_JoinedStr(self, node: ast.JoinedStr):
        """Also puts them back in what `{x=}` prints of its source."""
        for part, field in zip(node.values, node.values[1:]):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and isinstance(field, ast.FormattedValue):
                part.value = lexer.HOISTED.sub(self.written, part.value)
        return self.generic_visit(node)

    def written(self, match) -> str:
        index = int(match[1])
        return self.lexed.written[index] if index < len(self.lexed.written) else match[0]
