"""Report what goes wrong in a design, and what to write instead.

It is an error where every run fails, else a warning.

What happens is seen in a dry run (see `dry`); from the text come only names that nothing defines, which may stand where
that run did not get to, and loops that are too long. Sentences are written for a designer that learns from them.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from mxjax.mas.dry import DryRun, Failure
from mxjax.mas.library.agent import SAMPLING
from mxjax.mas.library.core import WORKFLOW_NODE, node_name
from mxjax.mas.library.modules import LIBRARY, NAMES
from mxjax.mas.library.nodes import DEBATE, ENSEMBLE, REFLECTION
from mxjax.mas.library.workflows import END, GRAPH
from mxjax.mas.limits import Limits
from mxjax.mas.machines import NAMES as KNOWN
from mxjax.script import exceptions
from mxjax.script.code import Code
from mxjax.script.errors import CompileError
from mxjax.script.instructions import import_all, load_global, load_name, store_global, store_name
from mxjax.script.library import MODULES
from mxjax.script.source import Program
from mxjax.script.values import Class, Instance, Module, Native, brief

MOST_WARNINGS = 20
_MOST_SUGGESTIONS = 20  # names that a similar one is looked for
_MOST_CANDIDATES = 200  # that one name is compared with
_MOST_SHOWN = 10  # nodes of a graph in a sentence
_STRATEGIES = ("majority_vote", "weighted_vote", "consensus")
_MAY_END = {"exit", "quit", "SystemExit", "sys"}
_PLAIN = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Import, ast.ImportFrom)
_MAY_LEAVE = (ast.Raise, ast.Assert, ast.While, ast.With, ast.AsyncWith)
_CHOICES = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Compare)
_MANY = 10**9  # of calls; where there are more, so many are named
_SOMETHING = object()  # an argument whose value is not known

Complaint = tuple[str, str]  # the kind of an error, and a sentence


def certain_error(program: Program, dry: DryRun) -> CompileError | None:
    """Why every run of a design fails, with its place.

    None where some run may go further.

    Every run fails as the dry run did if that had not yet looked at what differs between runs. Later, that is told of
    statements that every run comes to: a name that nothing defines, and a call of the library that cannot be right
    whatever the values are that are not written out.
    """
    failure = dry.final
    complaint = None if failure is None else _complaint(failure, program)
    if failure is None or complaint is None:
        return None
    node = _blamed(program.tree, failure)
    if not failure.certain and not _fails_everywhere(program, failure, node):
        return None
    return CompileError(failure.line, getattr(node, "col_offset", 0) + 1, *complaint)


def warnings(program: Program, dry: DryRun, limits: Limits) -> list[str]:
    """Mistakes, and failures of some runs, as at most MOST_WARNINGS sentences.

    They are in the order of the script.
    """
    found = [(failure.line, complaint[1]) for failure in dry.failures if (complaint := _of_library(failure))]
    found += _of_made(program.tree, dry, limits.agent_calls)
    found += _many_runs(program.tree, dry.names, limits.agent_calls)
    if not _catches_unknown_names(program.tree):
        found += _unknown_names(program.code)
    lines = sorted(dict.fromkeys(found), key=lambda item: item[0])
    return [f"line {line}: {reason}" for line, reason in lines[:MOST_WARNINGS]]


# Failures


def _complaint(failure: Failure, program: Program) -> Complaint | None:
    """The complaint about a script-ending failure of a refused kind."""
    kinds, text = failure.error.cls.mro, exceptions.describe(failure.error).partition(": ")[2]
    quoted = text.split("'")[1::2]
    if failure.error.cls.name == "NameError" and text.startswith("name ") and len(quoted) == 1:
        return "name", _unknown(quoted[0], sorted({*_known(program.code), *NAMES}))
    if exceptions.EXCEPTIONS["ImportError"] in kinds:
        if len(quoted) == 2:
            return "import", f"the module {quoted[1]!r} has no name {quoted[0]!r}{_instead(quoted[0])}"
        return "import", text
    if failure.error.cls.name == "AttributeError" and text.startswith("module ") and len(quoted) == 2:
        return "name", f"the module {quoted[0]!r} has no name {quoted[1]!r}{_instead(quoted[1])}"
    return _of_library(failure)


def _instead(name: str) -> str:
    close = difflib.get_close_matches(name[:80], NAMES, 1)
    return f"; write {close[0]}" if close else ""


def _of_library(failure: Failure) -> Complaint | None:
    if failure.called is None or failure.error.cls.name not in ("TypeError", "ValueError"):
        return None
    found = _wrong_call(failure.called, failure.args, failure.kwargs)
    if found is None and type(failure.called) is Class:
        found = "argument", f"{failure.called.name}(): {exceptions.describe(failure.error).partition(': ')[2]}"
    return found


def _wrong_call(called: Class | Native, args: Sequence[Any], kwargs: dict[str, Any]) -> Complaint | None:
    """The mistake in a failing library call, judged by its arguments."""
    function = called.lookup("__init__") if type(called) is Class else called
    if type(function) is not Native:
        return None
    signature, ours = inspect.signature(function.fn), 2 if type(called) is Class else 1
    try:
        bound = signature.bind(*[None] * ours, *args, **kwargs)
    except TypeError as error:
        ours += type(called) is Native and called.method
        return "argument", f"{called.name}(): {error}; it takes {_parameters(signature, ours)}"
    bound.apply_defaults()
    if called.name == "EnsembleNode":
        return _wrong_ensemble(bound.arguments)
    graph = args[0] if args and type(args[0]) is Instance else None
    if called.name in ("set_entry_point", "set_finish_point") and graph and isinstance(graph.fields.get("nodes"), dict):
        return "graph", _no_node(graph, bound.arguments["name"])
    return None


def _wrong_ensemble(given: dict[str, Any]) -> Complaint | None:
    strategy, agents = given["strategy"], given["agents"]
    if type(strategy) is str and strategy not in _STRATEGIES:
        reason = f"EnsembleNode has no strategy {strategy[:80]!r}; write one of {', '.join(_STRATEGIES)}"
        return "argument", reason
    if strategy == "consensus" and given["consensus_agent"] is None:
        return "consensus", "the strategy 'consensus' needs a judge; add consensus_agent=AgentNode(...)"
    if type(agents) in (list, tuple) and not agents:
        return "argument", "EnsembleNode needs members; write agents=[AgentNode(...), ...]"
    return None


def _no_node(graph: Instance, label: Any) -> str:
    labels = sorted(name[:80] for name in graph.fields["nodes"] if type(name) is str)
    shown = ", ".join(labels[:_MOST_SHOWN]) + (", ..." if len(labels) > _MOST_SHOWN else "")
    name, missing = node_name(graph)[:80], brief(label)[:80]
    return f"the graph {name} has no node {missing!r} (it has: {shown or 'none'}); add it with add_node"


def _parameters(signature: inspect.Signature, ours: int) -> str:
    names = [p.name for p in list(signature.parameters.values())[ours:] if p.kind is not p.VAR_KEYWORD]
    return ", ".join(names) or "no arguments"


def _blamed(tree: ast.Module, failure: Failure) -> ast.AST | None:
    """The part of a script that failed, as far as known."""
    quoted = exceptions.describe(failure.error).split("'")
    name = failure.called.name if failure.called is not None else quoted[1] if len(quoted) > 1 else ""
    on_line = [node for node in ast.walk(tree) if getattr(node, "lineno", 0) == failure.line]
    called = [node for node in on_line if isinstance(node, ast.Call) and name in _called_names(node)]
    read = [node for node in on_line if isinstance(node, ast.Name) and node.id == name]
    return next(iter([*(called if failure.called is not None else read), *on_line]), None)


def _called_names(node: ast.Call) -> tuple[str, str]:
    return getattr(node.func, "id", ""), getattr(node.func, "attr", "")


def _fails_everywhere(program: Program, failure: Failure, node: ast.AST | None) -> bool:
    """Whether a failure is certain in every run.

    It depends on no value, and every run comes to its statement.
    """
    if not any(node is other for other in _always_run(program.tree)):
        return False
    if isinstance(node, ast.Name):
        return node.id in {name for name, _ in _unknown_loads(program.code)}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or failure.called is None:
        return False
    if any(isinstance(item, ast.Starred) for item in node.args) or any(k.arg is None for k in node.keywords):
        return False
    args = [_written(item) for item in node.args]
    return _wrong_call(failure.called, args, {str(k.arg): _written(k.value) for k in node.keywords}) is not None


def _written(node: ast.expr) -> Any:
    """The value of a constant or an empty list, else _SOMETHING."""
    empty = isinstance(node, ast.List | ast.Tuple) and not node.elts
    return node.value if isinstance(node, ast.Constant) else () if empty else _SOMETHING


def _always_run(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that every run evaluates, unless one of them fails first."""
    if any(isinstance(node, ast.Name) and node.id in _MAY_END for node in ast.walk(tree)):
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


# Names


def _unknown_names(code: Code) -> Iterator[tuple[int, str]]:
    """The first line and a sentence for each undefined name.

    Such a name is read, and defined nowhere.
    """
    lines: dict[str, int] = {}
    for name, line in _unknown_loads(code):
        lines[name] = min(line, lines.get(name, line))
    candidates = sorted({*_known(code), *NAMES})
    for index, (name, line) in enumerate(sorted(lines.items(), key=lambda item: item[1])):
        yield line, _unknown(name, candidates if index < _MOST_SUGGESTIONS else ())


def _unknown_loads(code: Code) -> Iterator[tuple[str, int]]:
    """Names that are read and defined nowhere, each with its line."""
    known = _known(code)
    for unit in _units(code):
        own = {argument[0] for handler, argument in unit.ops if handler is store_name}
        for (handler, argument), line in zip(unit.ops, unit.lines):
            if handler is load_global and argument not in known:
                yield argument, line
            elif handler is load_name and argument[1] is None and argument[0] not in known | own:
                yield argument[0], line


def _known(code: Code) -> set[str]:
    """Every global name that a script starts with or defines somewhere."""
    known = {*KNOWN, "question", "__name__", "__file__", "__doc__"}
    for unit in _units(code):
        for handler, argument in unit.ops:
            if handler is store_global:
                known.add(argument)
            elif handler is import_all:
                known.update(_members(argument))
    return known


def _units(code: Code) -> Iterator[Code]:
    """A script and every function, class and comprehension in it."""
    units = [code]
    while units:
        unit = units.pop()
        yield unit
        for _, argument in unit.ops:
            parts = argument if type(argument) is tuple else (argument,)
            units.extend(part for part in parts if type(part) is Code)


def _members(name: str) -> Sequence[str]:
    """The names that `from name import *` brings.

    There are none where a module is made per execution.
    """
    module = LIBRARY.get(name) or MODULES.get(name)
    return tuple(module.members) if isinstance(module, Module) else getattr(module, "public", ())


def _catches_unknown_names(tree: ast.Module) -> bool:
    kinds = [node.type for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    caught = {n.id for kind in kinds if kind for n in ast.walk(kind) if isinstance(n, ast.Name)}
    return None in kinds or bool(caught & {"NameError", "Exception", "BaseException"})


def _unknown(name: str, candidates: Sequence[str]) -> str:
    if name in NAMES:
        return f"the name {name!r} is not defined; write from workflow import {name}"
    if name in MODULES:
        return f"the name {name!r} is not defined; write import {name}"
    if hasattr(builtins, name):
        return f"{name} is not available to a design; write it with what the script language has"
    near = (known for known in candidates if abs(len(known) - len(name)) < 4 and known != name)
    close = difflib.get_close_matches(name[:80], list(itertools.islice(near, _MOST_CANDIDATES)), 1)
    hint = f"write {close[0]}" if close else "define it before it is used"
    return f"the name {name[:80]!r} is not defined; {hint}"


# What was made


def _of_made(tree: ast.Module, dry: DryRun, most: int) -> list[tuple[int, str]]:
    """Mistakes in nodes and graphs as the dry run leaves them."""
    ran = {id(stage.what) for stage in dry.stages}
    found: list[tuple[int, str]] = []
    for made, line in dry.made:
        if len(found) > MOST_WARNINGS:
            break
        if made.cls.shared:
            found += [(line, reason) for reason in _ignored(made)]
        count = _calls_of(made)
        if count > most:
            what = "members" if made.cls.lookup("process") is ENSEMBLE.members["process"] else "rounds"
            name = made.cls.name
            found.append((line, f"{name} makes {count} calls and the limit is {most}; write it with fewer {what}"))
        if GRAPH in made.cls.mro and (dry.ended or id(made) in ran):
            found += [(_line_of_edge(tree, label, line), _no_node(made, label)) for label in _loose_ends(made)]
    return found


def _ignored(made: Instance) -> Iterator[str]:
    """A sentence for each argument that a node or workflow ignores."""
    config = made.fields.get("config")
    ignored = list(filter(_is_ignored, config)) if isinstance(config, dict) else []
    for name in ignored[:MOST_WARNINGS]:
        signature = inspect.signature(made.cls.lookup("__init__").fn)
        accepted = [part for part in list(signature.parameters)[2:] if part != "config"]
        close = difflib.get_close_matches(name[:80], accepted, 1)
        hint = f"write {close[0]}" if close else f"it takes {_parameters(signature, 2)}"
        yield f"{made.cls.name}() ignores the argument {name[:80]!r}; {hint}"


def _is_ignored(name: Any) -> bool:
    return type(name) is str and name not in SAMPLING


def _calls_of(node: Instance) -> int:
    """The number of calls that a composite node makes.

    Each of its parts is taken to make one; 0 for a node that is not made of others.
    """
    process, fields = node.cls.lookup("process"), node.fields
    number = lambda name: min(fields[name], _MANY) if type(fields.get(name)) is int else 0
    size = lambda name: len(fields[name]) if type(fields.get(name)) in (list, tuple) else 0
    if process is ENSEMBLE.members["process"]:
        return size("agents")
    if process is REFLECTION.members["process"]:
        return 1 + 2 * number("num_iterations")
    if process is DEBATE.members["process"]:
        return number("num_rounds") * (size("debaters") or 1)
    return 0


def _loose_ends(graph: Instance) -> list[str]:
    """What edges of a graph name that is no node of it."""
    nodes, edges, routes = (graph.fields.get(name) for name in ("nodes", "edges", "routes"))
    if not isinstance(nodes, dict) or not isinstance(edges, dict) or not isinstance(routes, dict):
        return []
    named = [*edges, *routes]
    for leaving in edges.values():
        named += [edge[0] for edge in leaving if type(edge) is tuple and edge] if type(leaving) is list else []
    texts = [label for label in dict.fromkeys(filter(lambda label: type(label) is str, named)) if label not in END]
    return [label for label in texts if label not in nodes][:MOST_WARNINGS]


def _line_of_edge(tree: ast.Module, label: str, otherwise: int) -> int:
    """The first line with an edge to or from `label`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called_names(node)[1] in ("add_edge", "add_conditional_edges"):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(isinstance(part, ast.Constant) and part.value == label for part in given):
                return node.lineno
    return otherwise


# Loops


def _many_runs(tree: ast.Module, names: dict[str, Any], most: int) -> Iterator[tuple[int, str]]:
    """Loops with too many workflow runs or agent calls.

    Their own counts alone exceed the limit.
    """
    leaving = _left_early(tree)
    stack: list[tuple[ast.AST, int, ast.For | None]] = [(tree, 1, None)]
    said: set[int] = set()
    while stack:
        node, times, loop = stack.pop()
        if isinstance(node, ast.Call) and loop is not None and times > most and id(loop) not in said:
            runs = getattr(node.func, "attr", "") == "run"
            called = names.get(getattr(node.func, "id", ""))
            if runs or (type(called) is Instance and WORKFLOW_NODE in called.cls.mro):
                said.add(id(loop))
                what = "runs a workflow" if runs else "calls an agent"
                yield loop.lineno, f"this loop {what} {times} times and the limit is {most} calls; loop less often"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            times, loop = 1, None
        repeats = _turns(node.iter, names) if isinstance(node, ast.For) and id(node) not in leaving else 0
        for child in ast.iter_child_nodes(node):
            if isinstance(node, ast.For) and repeats and child is not node.iter and child not in node.orelse:
                stack.append((child, min(times * repeats, _MANY), node))
            else:
                stack.append((child, times, loop))


def _turns(node: ast.expr, names: dict[str, Any]) -> int:
    """The number of items in a loop's range or list.

    0 where it is not known.
    """
    if isinstance(node, ast.Name):
        known = names.get(node.id)
        return len(known) if isinstance(known, list | tuple) else 0
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "range" and 0 < len(node.args) < 3:
        values = [names.get(part.id) if isinstance(part, ast.Name) else getattr(part, "value", 0) for part in node.args]
        first, last = (0, *(value if type(value) is int else 0 for value in values))[-2:]
        return max(0, last - first)
    return len(node.elts) if isinstance(node, ast.List | ast.Tuple) else 0


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
