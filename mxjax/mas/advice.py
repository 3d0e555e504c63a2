"""Finds, without running a script, what will go wrong in it: as an error where every run fails, else as a warning.

Only statements that every run reaches can be errors: those of the module itself, outside loops, conditions, `try` and
functions, up to the first one that might end the script. Everything found elsewhere is a warning. Sentences name the
line, what is wrong, and what to write instead, for a designer that learns from them.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import inspect
from collections.abc import Iterator

from mxjax.mas.errors import DesignError
from mxjax.mas.interpreter.builtins import BUILTINS
from mxjax.mas.interpreter.modules import MODULES
from mxjax.mas.interpreter.scopes import Scope
from mxjax.mas.interpreter.values import Class, Module, Native
from mxjax.mas.library.agent import SAMPLING
from mxjax.mas.library.budget import BUDGET
from mxjax.mas.library.modules import LIBRARY, NAMES
from mxjax.mas.limits import Limits

_GIVEN = {"question", "__name__", "__file__", "__doc__"}
_STRATEGIES = ("majority_vote", "weighted_vote", "consensus")
_MAY_END = {"exit", "quit", "SystemExit", "sys"}
_PLAIN = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Import, ast.ImportFrom)
_MAY_LEAVE = (ast.Raise, ast.Assert, ast.While, ast.With, ast.AsyncWith)
_CHOICES = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Compare)


class Finding(DesignError):
    """Something wrong at a place; `certain` when every run fails because of it."""

    def __init__(self, node: ast.AST, kind: str, reason: str, certain: bool):
        super().__init__(node.lineno, node.col_offset + 1, kind, reason)
        self.certain = certain


def findings(tree: ast.Module, scopes: dict[ast.AST, Scope], limits: Limits) -> list[Finding]:
    """Everything found, in the order of the script; `scopes` are those of `analyse`."""
    found = list(_Reader(tree, scopes, limits).all())
    return sorted(found, key=lambda finding: (finding.line, finding.column))


class _Reader:
    def __init__(self, tree: ast.Module, scopes: dict[ast.AST, Scope], limits: Limits):
        self.tree = tree
        self.scopes = scopes
        self.limits = limits
        self.nodes = list(ast.walk(tree))
        self.calls = [node for node in self.nodes if isinstance(node, ast.Call)]
        self.certain = {id(node) for node in _certain(tree, self.nodes)}
        self.imported = _imported(self.nodes)

    def found(self, node: ast.AST, kind: str, reason: str, fails: bool = True) -> Finding:
        return Finding(node, kind, reason, fails and id(node) in self.certain)

    def all(self) -> Iterator[Finding]:
        yield from self.unknown_names()
        for node in self.calls:
            if isinstance(node.func, ast.Name) and node.func.id in self.imported:
                yield from self.library_call(node, *self.imported[node.func.id])
        yield from self.graphs()
        yield from self.many_calls()

    # Names

    def unknown_names(self) -> Iterator[Finding]:
        scopes = self.scopes
        module = scopes[self.tree]
        known = {*module.bound, *BUILTINS, *BUDGET, *_GIVEN}
        known.update(name for scope in scopes.values() for name in scope.globals if scope.kind != "module")
        for node in self.nodes:
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                known.update(_members(node.module) or ())
        handlers = [node.type for node in self.nodes if isinstance(node, ast.ExceptHandler)]
        caught = {n.id for kind in handlers if kind for n in ast.walk(kind) if isinstance(n, ast.Name)}
        reckoned_with = None in handlers or bool(caught & {"NameError", "Exception", "BaseException"})
        for node, scope in _loads(self.tree, scopes):
            if node.id not in known and scope.place(node.id) == "global":
                if id(node) in self.certain or not reckoned_with:
                    yield self.found(node, "name", _unknown(node.id, known))

    # Arguments of the library

    def library_call(self, node: ast.Call, name: str, target) -> Iterator[Finding]:
        if any(isinstance(item, ast.Starred) for item in node.args) or any(k.arg is None for k in node.keywords):
            return
        function = target.lookup("__init__") if isinstance(target, Class) else target
        if not isinstance(function, Native):
            return
        signature = inspect.signature(function.fn)
        ours = 2 if isinstance(target, Class) else 1
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        try:
            bound = signature.bind(*[None] * ours, *node.args, **given).arguments
        except TypeError as error:
            yield self.found(node, "argument", f"{name}(): {error}; it takes {_parameters(signature, ours)}")
            return
        accepted = set(list(signature.parameters)[ours:])
        for keyword in node.keywords:
            if keyword.arg not in accepted and keyword.arg not in SAMPLING:
                close = difflib.get_close_matches(keyword.arg, accepted, 1)
                hint = f"write {close[0]}" if close else f"it takes {_parameters(signature, ours)}"
                yield self.found(node, "argument", f"{name}() ignores the argument {keyword.arg!r}; {hint}", False)
        if name == "EnsembleNode":
            yield from self.ensemble(node, bound)

    def ensemble(self, node: ast.Call, bound) -> Iterator[Finding]:
        strategy = bound.get("strategy")
        strategy = strategy.value if isinstance(strategy, ast.Constant) else None
        if isinstance(strategy, str) and strategy not in _STRATEGIES:
            reason = f"EnsembleNode has no strategy {strategy[:80]!r}; write one of {', '.join(_STRATEGIES)}"
            yield self.found(node, "argument", reason)
        judge = bound.get("consensus_agent")
        if strategy == "consensus" and (judge is None or (isinstance(judge, ast.Constant) and judge.value is None)):
            yield self.found(
                node, "consensus", "the strategy 'consensus' needs a judge; add consensus_agent=AgentNode(...)"
            )
        agents = bound.get("agents")
        if agents is None or (isinstance(agents, ast.List | ast.Tuple) and not agents.elts):
            yield self.found(node, "argument", "EnsembleNode needs members; write agents=[AgentNode(...), ...]")

    # Graphs

    def graphs(self) -> Iterator[Finding]:
        """Entry points, finish points and edges that name nodes which no `add_node` of that graph ever adds."""
        graphs = self.graph_names()
        names: dict[str, set[str]] = {}
        computed: set[str] = set()
        for owner, method, node in self.methods():
            if method == "add_node" and node.args:
                label = _text(node.args[0])
                names.setdefault(owner, set()).add(label or "")
                computed |= {owner} if label is None else set()
        for owner, method, node in self.methods():
            if owner not in graphs or owner in computed:
                continue
            for position, argument in enumerate(node.args[:2]):
                label = _text(argument)
                if label is None or label in names.get(owner, ()):
                    continue
                fails = method in ("set_entry_point", "set_finish_point") and position == 0
                target = method == "add_edge" and label not in ("END", "__end__", "end")
                source = method == "add_conditional_edges" and position == 0
                if fails or target or source:
                    known = ", ".join(sorted(names.get(owner, ()))) or "none"
                    reason = f"the graph {owner} has no node {label[:80]!r} (it has: {known}); add it with add_node"
                    yield self.found(node, "graph", reason, fails)

    def methods(self) -> Iterator[tuple[str, str, ast.Call]]:
        for node in self.calls:
            if isinstance(node.func, ast.Attribute):
                owner = node.func.value
                while isinstance(owner, ast.Call) and isinstance(owner.func, ast.Attribute):
                    owner = owner.func.value  # a chain of calls that return the graph
                if isinstance(owner, ast.Name):
                    yield owner.id, node.func.attr, node

    def graph_names(self) -> set[str]:
        """Names that stand for one AgentGraph throughout the script."""
        made: dict[str, list[bool]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                called = isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)
                is_graph = called and self.imported.get(node.value.func.id, ("",))[0] == "AgentGraph"
                made.setdefault(node.targets[0].id, []).append(is_graph)
        return {name for name, graphs in made.items() if graphs == [True]}

    # Budgets

    def many_calls(self) -> Iterator[Finding]:
        """Loops and rounds whose literal counts alone go over the limit of calls."""
        most = self.limits.agent_calls
        for node in self.calls:
            if isinstance(node.func, ast.Name) and self.imported.get(node.func.id, ("",))[0] == "DebateNode":
                rounds = next((k.value for k in node.keywords if k.arg == "num_rounds"), None)
                debaters = next((k.value for k in node.keywords if k.arg == "debaters"), None) or (
                    node.args[1] if len(node.args) > 1 else None
                )
                members = len(debaters.elts) if isinstance(debaters, ast.List | ast.Tuple) else 1
                count = _whole(rounds) * members
                if count > most:
                    reason = f"these rounds make {count} calls and the limit is {most}; write a smaller num_rounds"
                    yield self.found(node, "calls", reason, False)
        for node in self.nodes:
            if isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and len(node.iter.args) == 1:
                count = _whole(node.iter.args[0]) if getattr(node.iter.func, "id", "") == "range" else 0
                runs = any(isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "run" for n in ast.walk(node))
                leaves = any(isinstance(n, ast.Break | ast.Return | ast.Raise) for n in ast.walk(node))
                if count > most and runs and not leaves:
                    reason = f"this loop runs a workflow {count} times and the limit is {most} calls; loop less often"
                    yield self.found(node, "calls", reason, False)


def _whole(node) -> int:
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else 0


def _text(node) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _parameters(signature: inspect.Signature, ours: int) -> str:
    names = [p.name for p in list(signature.parameters.values())[ours:] if p.kind is not p.VAR_KEYWORD]
    return ", ".join(names) or "no arguments"


def _unknown(name: str, known: set[str]) -> str:
    if name in NAMES:
        return f"the name {name!r} is not defined; write from workflow import {name}"
    if name in MODULES:
        return f"the name {name!r} is not defined; write import {name}"
    if hasattr(builtins, name):
        return f"{name} is not available to a design; write it with what the script language has"
    close = difflib.get_close_matches(name, [*known, *NAMES], 1)
    return f"the name {name!r} is not defined; " + (f"write {close[0]}" if close else "define it before it is used")


def _imported(nodes: list[ast.AST]) -> dict[str, tuple[str, object]]:
    """Names of the script that stand for one object of the library throughout: its own name, and the object."""
    stands_for: dict[str, tuple[str, object]] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module in LIBRARY:
            for alias in node.names:
                if alias.name == "*":
                    stands_for.update({name: (name, target) for name, target in NAMES.items()})
                elif alias.name in NAMES:
                    stands_for[alias.asname or alias.name] = (alias.name, NAMES[alias.name])
    for node in nodes:
        bound = node.id if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) else None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound = node.name
        stands_for.pop(node.arg if isinstance(node, ast.arg) else bound, None)
    return stands_for


def _members(name: str | None):
    """The names that `from name import *` brings, or None where a module is made per execution."""
    module = LIBRARY.get(name) or MODULES.get(name)
    return module.members if isinstance(module, Module) else None


def _loads(tree: ast.Module, scopes) -> Iterator[tuple[ast.Name, object]]:
    """Every name that is read, with the scope that it is read in."""
    stack = [(tree, scopes[tree])]
    while stack:
        node, scope = stack.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node, scope
        if isinstance(node, ast.AnnAssign):
            children = [child for child in (node.target, node.value) if child is not None]
        elif isinstance(node, ast.arg):
            children = []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            children = [child for child in ast.iter_child_nodes(node) if child is not node.returns]
        else:
            children = list(ast.iter_child_nodes(node))
        inner = scopes.get(node, scope)
        stack.extend((child, inner) for child in children)


def _certain(tree: ast.Module, nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """The nodes that every run evaluates, unless one of them fails first."""
    if any(isinstance(node, ast.Name) and node.id in _MAY_END for node in nodes):
        return
    for statement in tree.body:
        if not isinstance(
            statement, ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Import | ast.ImportFrom
        ):
            if isinstance(statement, ast.Raise | ast.Assert | ast.While | ast.With | ast.AsyncWith):
                return
            continue
        stack: list[ast.AST] = [statement]
        while stack:
            node = stack.pop()
            yield node
            if not isinstance(node, _CHOICES):
                stack.extend(ast.iter_child_nodes(node))
