"""Statements of a script."""

from __future__ import annotations

import ast
import contextlib
import itertools

from mxjax.mas.library.modules import LIBRARY, NAMES
from mxjax.mas.reading.calls import Calls
from mxjax.mas.reading.shape import FLOWS, MOST_DEPTH, MOST_STEPS, Enough
from mxjax.mas.reading.values import Function, Library, OwnClass


class Reader(Calls):
    """What has been found: `nodes`, `edges` and `outer` in order, `flows`, and what the pattern depends on."""

    def __init__(self, tree: ast.Module):
        super().__init__()
        try:
            self._block(tree.body)
            while self._uncalled:  # methods of own nodes, tools: called by the library, if at all
                function = next(iter(self._uncalled.values()))
                self._inner_to = self._own_methods.get(function.node, "")
                self._conditional = not self._inner_to or function.node.name != "process"
                self._inline(function, [], {})
        except (Enough, RecursionError):
            pass
        self._steps = MOST_STEPS
        with contextlib.suppress(Enough):
            inner = dict.fromkeys(run.flow for runs in self._inner_runs.values() for run in runs)
            for flow in inner:
                self._flow_edges(flow)
            for name, runs in self._inner_runs.items():
                self._own_edges(name, runs)
            for flow in self.flows:
                if flow not in inner:
                    self._flow_edges(flow)
        self._steps = MOST_STEPS
        with contextlib.suppress(Enough):
            self._run_edges()

    def _block(self, statements):
        self._depth += 1
        if self._depth <= MOST_DEPTH:
            for statement in statements:
                self._charge()
                read = getattr(self, f"_read_{type(statement).__name__}", None)
                if read is not None:
                    read(statement)
        self._depth -= 1

    def _read_Expr(self, node):
        self.value(node.value)

    def _read_Assign(self, node):
        value = self.value(node.value)
        for target in node.targets:
            self._bind(target, value)

    def _read_AnnAssign(self, node):
        if node.value is not None:
            self._bind(node.target, self.value(node.value))

    def _read_AugAssign(self, node):
        given = self.value(node.value)
        held = self.value(node.target)
        if isinstance(held, list) and isinstance(node.op, ast.Add):
            self._method(held, "extend", [given], {})
        else:
            self._bind(node.target, self._operation(node.op, held, given))

    def _read_Return(self, node):
        if node.value is not None:
            self._returned.append(self.value(node.value))

    def _read_If(self, node):
        main = isinstance(node.test, ast.Compare) and getattr(node.test.left, "id", "") == "__name__"
        self.value(node.test)
        if main:
            self._block(node.body)
        else:
            self._branches(node.body, node.orelse)

    def _read_For(self, node):
        self._each(node.target, self.value(node.iter), lambda: self._block(node.body))
        self._block(node.orelse)

    _read_AsyncFor = _read_For

    def _read_While(self, node):
        self.value(node.test)
        self._loops += 1
        self._block(node.body)
        self._loops -= 1
        self._block(node.orelse)

    def _read_With(self, node):
        for item in node.items:
            value = self.value(item.context_expr)
            if item.optional_vars is not None:
                self._bind(item.optional_vars, value)
        self._block(node.body)

    _read_AsyncWith = _read_With

    def _read_Try(self, node):
        self._block(node.body)
        self._block(node.orelse)
        self._branches([], *(handler.body for handler in node.handlers))
        self._block(node.finalbody)

    def _read_Match(self, node):
        self.value(node.subject)
        self._branches([], *(case.body for case in node.cases))

    def _read_FunctionDef(self, node):
        self._env.names[node.name] = self._uncalled[node] = self._function(node)

    _read_AsyncFunctionDef = _read_FunctionDef

    def _read_ClassDef(self, node):
        bases = [self.value(base) for base in node.bases]
        names = [base.name if isinstance(base, Library) else getattr(base, "base", "") for base in bases]
        base = next(filter(None, names), "")
        if base:
            self.own_classes.add(node.name)
        outer, self._env = self._env, self._env.inner()
        self._block(node.body)
        methods = {name: part for name, part in self._env.names.items() if isinstance(part, Function)}
        if base not in ("", *FLOWS):
            self._own_methods.update({method.node: node.name for method in methods.values()})
        self._env = outer
        self._env.names[node.name] = OwnClass(node.name, base, methods)

    def _read_Import(self, node):
        self._charge(len(node.names))
        for alias in node.names:
            module = LIBRARY.get(alias.name if alias.asname else alias.name.split(".")[0])
            if module is not None:
                self._env.names[alias.asname or alias.name.split(".")[0]] = module

    def _read_ImportFrom(self, node):
        self._charge(len(node.names))
        if node.module in LIBRARY:
            for alias in node.names:
                found = {name: Library(name) for name in NAMES} if alias.name == "*" else {}
                self._env.names.update(found or {alias.asname or alias.name: self._member(alias.name)})

    def _read_Global(self, node):
        self._charge(len(node.names))
        for name in node.names:
            owner = self._env.outer
            while owner is not None and owner.outer is not None and name not in owner.names:
                owner = owner.outer
            if owner is not None:
                self._env.shared[name] = owner

    _read_Nonlocal = _read_Global

    def _branches(self, *blocks):
        """Reads each block from the same start; a name then stands for what any of them made of it."""
        names = self._env.names
        before, after = dict(names), []
        self._charge(len(names) * len(blocks) // 16)
        conditional, self._conditional = self._conditional, True
        for block in blocks:
            names.clear()
            names.update(before)
            self._block(block)
            after.append(dict(names))
        self._conditional = conditional
        for name in dict.fromkeys(itertools.chain(*after)):
            found = [made[name] for made in after if name in made]
            names[name] = found[0] if all(value is found[0] for value in found) else self._choice(found)
