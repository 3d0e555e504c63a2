"""Finds, without running a script, what will go wrong in it: as an error where every run fails, else as a warning.

Only statements that every run reaches can be errors: those of the module itself, outside loops, conditions, `try` and
functions, up to the first one that might end the script. Everything found elsewhere is a warning. Sentences name the
line, what is wrong, and what to write instead, for a designer that learns from them.
"""

from __future__ import annotations

import ast
import builtins
import collections
import difflib
import inspect
import itertools
import math
from collections.abc import Iterator, Sequence

from mxjax.mas.library.agent import SAMPLING
from mxjax.mas.library.budget import BUDGET
from mxjax.mas.library.modules import LIBRARY, NAMES
from mxjax.mas.limits import Limits
from mxjax.mas.parse import DesignError
from mxjax.mas.reading import parameters
from mxjax.script.library import BUILTINS, MODULES
from mxjax.script.scopes import COMPREHENSIONS, Scope
from mxjax.script.values import Class, Module, Native

MOST_WARNINGS = 20
_MOST_SUGGESTIONS = 20  # names that a similar one is looked for
_MOST_CANDIDATES = 200  # that one name is compared with
_MOST_SHOWN = 10  # nodes of a graph in a sentence
_GIVEN = {"question", "__name__", "__file__", "__doc__"}
_STRATEGIES = ("majority_vote", "weighted_vote", "consensus")
_MAY_END = {"exit", "quit", "SystemExit", "sys"}
_LABELS = {  # the parameters that name nodes of a graph
    "set_entry_point": ("name",),
    "set_finish_point": ("name",),
    "add_edge": ("src", "dst"),
    "add_conditional_edges": ("src",),
}
_CALLABLE = ("AgentNode", "EnsembleNode", "ReflectionNode", "DebateNode", "RouterNode", "create_keyword_router")
_PLAIN = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Import, ast.ImportFrom)
_MAY_LEAVE = (ast.Raise, ast.Assert, ast.While, ast.With, ast.AsyncWith)
_CHOICES = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Compare)


class Finding(DesignError):
    """Something wrong at a place; `certain` when every run fails because of it."""

    def __init__(self, node: ast.AST, kind: str, reason: str, certain: bool):
        super().__init__(node.lineno, node.col_offset + 1, kind, reason)
        self.certain = certain


def findings(tree: ast.Module, scopes: dict[ast.AST, Scope], limits: Limits) -> list[Finding]:
    """What was found, in the order of the script: up to the first error, and MOST_WARNINGS; `scopes` from `analyse`."""
    found = sorted(_Reader(tree, scopes, limits).all(), key=lambda finding: (finding.line, finding.column))
    errors = [finding for finding in found if finding.certain]
    return [*errors[:1], *[finding for finding in found if not finding.certain][:MOST_WARNINGS]]


class _Reader:
    def __init__(self, tree: ast.Module, scopes: dict[ast.AST, Scope], limits: Limits):
        self.tree = tree
        self.scopes = scopes
        self.limits = limits
        self.nodes = list(ast.walk(tree))
        self.calls = [node for node in self.nodes if isinstance(node, ast.Call)]
        self.certain = {id(node) for node in _certain(tree, self.nodes)}
        self.imported = _imported(self.nodes)
        self.bindings = collections.Counter(_bound_names(self.nodes))
        self.assigned = {  # what a name is for the whole script, where it is assigned once
            node.targets[0].id: node.value
            for node in self.nodes
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
            if self.bindings[node.targets[0].id] == 1
        }

    def found(self, node: ast.AST, kind: str, reason: str, fails: bool = True) -> Finding:
        return Finding(node, kind, reason, fails and id(node) in self.certain)

    def all(self) -> Iterator[Finding]:
        yield from self.unknown_names()
        for node in self.calls:
            if isinstance(node.func, ast.Name) and node.func.id in self.imported:
                yield from self.library_call(node, *self.imported[node.func.id])
        yield from self.graphs()
        yield from self.many_runs()

    def made(self, node: ast.AST) -> str:
        """The name of the object of the library that an expression makes or, being a name, stands for; else ""."""
        node = self.assigned.get(node.id, node) if isinstance(node, ast.Name) else node
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return self.imported.get(node.func.id, ("",))[0] if called else ""

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
        unknown: dict[str, ast.Name] = {}
        order = lambda node: (id(node) not in self.certain, node.lineno, node.col_offset)
        for node, scope in _loads(self.tree, scopes):
            if node.id not in known and scope.place(node.id) == "global":
                if id(node) in self.certain or not reckoned_with:
                    unknown[node.id] = min(unknown.get(node.id, node), node, key=order)
        candidates = sorted({*known, *NAMES})
        for index, node in enumerate(sorted(unknown.values(), key=order)):
            yield self.found(node, "name", _unknown(node.id, candidates if index < _MOST_SUGGESTIONS else ()))

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
        count, most = self.literal_calls(name, bound), self.limits.agent_calls
        if count > most:
            what = "with fewer members" if name == "EnsembleNode" else "with fewer rounds"
            yield self.found(
                node, "calls", f"{name} makes {count} calls and the limit is {most}; write it {what}", False
            )

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
        direct: set[int] = set()
        calls = []
        for owner, method, node in self.methods():
            direct.add(id(owner))
            if owner.id in self.assigned and self.made(owner) == "AgentGraph":
                calls.append((owner.id, method, node))
        elsewhere = {node.id for node in self.nodes if _is_load(node) and id(node) not in direct}
        names: dict[str, dict[str | None, None]] = {}
        for owner, method, node in calls:
            if method == "add_node":
                names.setdefault(owner, {})[_text(_given(node, method).get("name"))] = None
        shown = {owner: _some(found) for owner, found in names.items()}
        for owner, method, node in calls:
            if owner in elsewhere or None in names.get(owner, ()) or method not in _LABELS:
                continue
            given = _given(node, method)
            for label in map(_text, map(given.get, _LABELS[method])):
                leaves = method == "add_edge" and label in ("END", "__end__", "end")
                if label is None or leaves or label in names.get(owner, ()):
                    continue
                reason = f"no node {label[:80]!r} (it has: {shown.get(owner, 'none')}); add it with add_node"
                fails = method in ("set_entry_point", "set_finish_point")
                yield self.found(node, "graph", f"the graph {owner[:80]} has {reason}", fails)

    def methods(self) -> Iterator[tuple[ast.Name, str, ast.Call]]:
        for node in self.calls:
            if isinstance(node.func, ast.Attribute):
                owner = node.func.value
                while isinstance(owner, ast.Call) and isinstance(owner.func, ast.Attribute):
                    owner = owner.func.value  # a chain of calls that return the graph
                if isinstance(owner, ast.Name):
                    yield owner, node.func.attr, node

    # Budgets

    def literal_calls(self, name: str, bound) -> int:
        """The calls that a node makes if each of its parts makes one, as far as the script says it in numbers."""
        if name == "EnsembleNode":
            return self.size(bound.get("agents"))
        if name == "ReflectionNode":
            return 1 + 2 * self.number(bound.get("num_iterations"))
        if name == "DebateNode":
            return self.number(bound.get("num_rounds")) * (self.size(bound.get("debaters")) or 1)
        return 0

    def number(self, node) -> int:
        """A whole number that is written out, directly or as a name; else 0."""
        node = self.assigned.get(node.id) if isinstance(node, ast.Name) else node
        return node.value if isinstance(node, ast.Constant) and type(node.value) is int else 0

    def size(self, node) -> int:
        """How many items an expression has, as far as it says so; else 0."""
        node = self.assigned.get(node.id) if isinstance(node, ast.Name) else node
        if isinstance(node, ast.List | ast.Tuple):
            return len(node.elts)
        if isinstance(node, ast.ListComp | ast.GeneratorExp) and not any(part.ifs for part in node.generators):
            return math.prod(self.items(part.iter) for part in node.generators)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.left, ast.List):
            return len(node.left.elts) * self.number(node.right)
        return self.items(node)

    def items(self, node) -> int:
        """How many items a range or a list that is written out has; else 0."""
        node = self.assigned.get(node.id) if isinstance(node, ast.Name) else node
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "range" and 0 < len(node.args) < 3:
            first, last = (0, *map(self.number, node.args))[-2:]
            return max(0, last - first) if last else 0
        return len(node.elts) if isinstance(node, ast.List | ast.Tuple) else 0

    def many_runs(self) -> Iterator[Finding]:
        """Loops whose literal counts alone run workflows or call agents more often than the limit allows."""
        most = self.limits.agent_calls
        leaving = _left_early(self.tree)
        stack: list[tuple[ast.AST, int, ast.AST | None]] = [(self.tree, 1, None)]
        said: set[int] = set()
        while stack:
            node, times, loop = stack.pop()
            if isinstance(node, ast.Call) and times > most and id(loop) not in said:
                runs = getattr(node.func, "attr", "") == "run"
                if runs or self.made(node.func) in _CALLABLE:
                    said.add(id(loop))
                    what = "runs a workflow" if runs else "calls an agent"
                    reason = f"this loop {what} {times} times and the limit is {most} calls; loop less often"
                    yield self.found(loop, "calls", reason, False)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                times, loop = 1, None
            repeats = self.items(node.iter) if isinstance(node, ast.For) and id(node) not in leaving else 0
            for child in ast.iter_child_nodes(node):
                inside = repeats and child is not node.iter and child not in node.orelse
                stack.append((child, times * repeats, node) if inside else (child, times, loop))


def _left_early(tree: ast.Module) -> set[int]:
    """The loops that hold a statement which may leave them."""
    found: set[int] = set()
    stack: list[tuple[ast.AST, tuple | None]] = [(tree, None)]  # each with the loops around it, from the innermost
    while stack:
        node, around = stack.pop()
        loops = around if isinstance(node, ast.Break | ast.Return | ast.Raise) else None
        while loops is not None and loops[0] not in found:
            found.add(loops[0])
            loops = loops[1]
        inner = (id(node), around) if isinstance(node, ast.For) else around
        stack.extend((child, inner) for child in ast.iter_child_nodes(node))
    return found


def _given(node: ast.Call, method: str) -> dict[str, ast.expr]:
    """The arguments of a method of a graph by the names of its parameters."""
    if any(isinstance(item, ast.Starred) for item in node.args):
        return {}
    return dict(zip(parameters("AgentGraph", method), node.args)) | {k.arg: k.value for k in node.keywords if k.arg}


def _some(labels) -> str:
    """Some of the names of nodes, in a sentence."""
    names = sorted(label[:80] for label in labels if label is not None)
    return ", ".join(names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")


def _is_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)


def _text(node) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _parameters(signature: inspect.Signature, ours: int) -> str:
    names = [p.name for p in list(signature.parameters.values())[ours:] if p.kind is not p.VAR_KEYWORD]
    return ", ".join(names) or "no arguments"


def _unknown(name: str, candidates: Sequence[str]) -> str:
    if name in NAMES:
        return f"the name {name!r} is not defined; write from workflow import {name}"
    if name in MODULES:
        return f"the name {name!r} is not defined; write import {name}"
    if hasattr(builtins, name):
        return f"{name} is not available to a design; write it with what the script language has"
    near = (known for known in candidates if abs(len(known) - len(name)) < 4)
    close = difflib.get_close_matches(name[:80], list(itertools.islice(near, _MOST_CANDIDATES)), 1)
    hint = f"write {close[0]}" if close else "define it before it is used"
    return f"the name {name[:80]!r} is not defined; {hint}"


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
    for name in _bound_names(nodes):
        stands_for.pop(name, None)
    return stands_for


def _bound_names(nodes: list[ast.AST]) -> Iterator[str]:
    """Every name that is bound, once for each place, but for imports."""
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def _members(name: str | None):
    """The names that `from name import *` brings, or None where a module is made per execution."""
    module = LIBRARY.get(name) or MODULES.get(name)
    return module.members if isinstance(module, Module) else getattr(module, "public", None)


def _loads(tree: ast.Module, scopes) -> Iterator[tuple[ast.Name, object]]:
    """Every name that is read, with the scope that it is read in."""
    stack = [(tree, scopes[tree])]
    while stack:
        node, scope = stack.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node, scope
        inner = scopes.get(node, scope)
        stack.extend((child, scope) for child in _outside(node))
        stack.extend((child, inner) for child in _inside(node))


def _outside(node: ast.AST) -> list[ast.AST]:
    """The parts of a function, class or comprehension that are evaluated in the scope around it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        return [*defaults, *getattr(node, "decorator_list", ())]
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *(keyword.value for keyword in node.keywords), *node.decorator_list]
    return [node.generators[0].iter] if isinstance(node, COMPREHENSIONS) else []


def _inside(node: ast.AST) -> list[ast.AST]:
    """The parts of a node that are evaluated in its own scope; annotations are in none."""
    if isinstance(node, ast.AnnAssign):
        return [child for child in (node.target, node.value) if child is not None]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.body
    if isinstance(node, ast.Lambda):
        return [node.body]
    if isinstance(node, COMPREHENSIONS):
        first, *rest = node.generators
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        return [first.target, *first.ifs, *rest, *results]
    return list(ast.iter_child_nodes(node))


def _certain(tree: ast.Module, nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """The nodes that every run evaluates, unless one of them fails first."""
    if any(isinstance(node, ast.Name) and node.id in _MAY_END for node in nodes):
        return
    for statement in tree.body:
        if not isinstance(statement, _PLAIN):
            if isinstance(statement, _MAY_LEAVE):
                return
            continue
        stack: list[ast.AST] = [statement]
        while stack:
            node = stack.pop()
            yield node
            if not isinstance(node, _CHOICES):
                stack.extend(ast.iter_child_nodes(node))
