"""Calls of a script: of the library, of its own functions and classes, and of methods of what is known."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools

from mxjax.mas.library.modules import NAMES
from mxjax.mas.reading.expressions import Expressions
from mxjax.mas.reading.shape import (
    FLOWS,
    MOST_DEPTH,
    MOST_ITEMS,
    MOST_NAME,
    MOST_NODES,
    OUTSIDE,
    PARTS,
    Edge,
    Flow,
    Node,
    Run,
)  # fmt: skip
from mxjax.mas.reading.values import (
    UNKNOWN,
    Bound,
    Choice,
    Function,
    Instance,
    Library,
    OwnClass,
    Result,
    Unnamed,
    key_of,
    put_in,
)  # fmt: skip
from mxjax.script.values import Class

_COPIES = ("list", "tuple", "set", "frozenset", "sorted", "reversed", "iter")
_SAME_TEXT = (
    "strip", "lstrip", "rstrip", "format", "replace", "removeprefix", "removesuffix", "upper", "lower", "title",
)  # fmt: skip


@functools.cache
def parameters(kind: str, method: str = "__init__") -> tuple[str, ...]:
    """The names of the parameters of an object of the library, or of a method of it, without those of the machine."""
    target = NAMES[kind]
    function, ours = (target.lookup(method), 2) if isinstance(target, Class) else (target, 1)
    return tuple(inspect.signature(function.fn).parameters)[ours:]


class Calls(Expressions):
    """Values of calls."""

    def __init__(self):
        super().__init__()
        self._uncalled: dict[ast.AST, Function] = {}
        self._active: set[ast.AST] = set()
        self._own_methods: dict[ast.AST, str] = {}  # of own nodes, with the name of the class
        self._inner_to: str | None = None  # while a method is read that only the library calls: its class, or ""

    def _arguments(self, nodes) -> list:
        found = []
        for node in nodes:
            value = self.value(node.value if isinstance(node, ast.Starred) else node)
            if isinstance(node, ast.Starred) and isinstance(value, list):
                self._charge(len(value))
                found += value
            else:
                found.append(value)
        return found

    def _value_Call(self, node):
        called = self.value(node.func)
        given = self._arguments(node.args)
        named = {}
        for keyword in node.keywords:
            value = self.value(keyword.value)
            if keyword.arg is not None:
                named[keyword.arg] = value
            elif isinstance(value, dict):
                self._charge(len(value))
                named.update({key: part for key, part in value.items() if isinstance(key, str)})
        if called is UNKNOWN and isinstance(node.func, ast.Name):
            return self._builtin(node.func.id, given, named)
        return self._call(called, given, named, node.lineno)

    def _call(self, called, given: list, named: dict, line: int):
        if isinstance(called, Library) and called.name in FLOWS:
            return self._flow(called.name, given)
        if isinstance(called, Library):
            return self._node(called.name, given, named, line) if called.name in PARTS else UNKNOWN
        if isinstance(called, OwnClass):
            if called.base in FLOWS:
                made = self._flow(called.base, given)
            elif called.base in ("WorkflowNode", *PARTS):
                made = self._node(called, given, named, line)
            else:
                made = Instance(called)
            if "__init__" in called.methods:
                self._inline(called.methods["__init__"], [made, *given], named)
            return made
        if isinstance(called, Function):
            return self._inline(called, given, named)
        if isinstance(called, Bound) and isinstance(called.owner, Node):
            called = called.owner if called.name in ("process", "__call__") else UNKNOWN
        if isinstance(called, Bound):
            return self._method(called.owner, called.name, given, named)
        if isinstance(called, Node) and self._inner_to is None:  # the script asks it by itself
            kind = "conditional" if self._conditional else "certain"
            for node in self._entries([called]):
                self._outer(Edge(OUTSIDE, node.id, kind))
            for node in self._exits([called]):
                self._outer(Edge(node.id, OUTSIDE, "certain"))
        if isinstance(called, Node | Instance):
            return UNKNOWN
        return self._held([*([called] if isinstance(called, Result) else ()), *given, *named.values()])

    def _function(self, node) -> Function:
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        self._charge(len(positional) + len(arguments.kwonlyargs))
        pairs = [
            *zip(reversed(positional), reversed(arguments.defaults)),
            *zip(arguments.kwonlyargs, arguments.kw_defaults),
        ]
        return Function(node, self._env, {name.arg: self.value(value) for name, value in pairs if value is not None})

    def _inline(self, function: Function, given: list, named: dict):
        """What a function of the script returns, from its body; nothing is known of a recursive call."""
        node = function.node
        self._uncalled.pop(node, None)
        if node in self._active or function.env.depth > 16 or self._depth > MOST_DEPTH:
            return self._held([*given, *named.values()])
        arguments = node.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        accepted = dict.fromkeys([*names, *(argument.arg for argument in arguments.kwonlyargs)], UNKNOWN)
        self._charge(len(accepted) + len(given))
        env = function.env.inner()
        env.names.update({**accepted, **function.defaults, **dict(zip(names, given))})
        env.names.update({name: value for name, value in named.items() if name in accepted})
        if arguments.vararg is not None:
            env.names[arguments.vararg.arg] = given[len(names) :]
        if arguments.kwarg is not None:
            env.names[arguments.kwarg.arg] = {name: value for name, value in named.items() if name not in accepted}
        before = self._env, self._returned
        self._env, self._returned = env, []
        self._active.add(node)
        if isinstance(node, ast.Lambda):
            self._returned.append(self.value(node.body))
        else:
            self._block(node.body)
        found = self._choice(self._returned)
        self._active.discard(node)
        self._env, self._returned = before
        return found

    def _builtin(self, name: str, given: list, named: dict):
        first = given[0] if given else UNKNOWN
        items = self._items(first)
        if (
            name == "range"
            and given
            and all(type(part) is int for part in given)
            and len(given) <= 3
            and 0 not in given[2:]
        ):
            return list(itertools.islice(range(*given), MOST_ITEMS + 1))
        if name in _COPIES and items is not None:
            self._charge(len(first))
            return list(reversed(first)) if name == "reversed" else list(first)
        if name == "dict":
            self._charge(len(first) if isinstance(first, dict) else 0)
            return {**(first if isinstance(first, dict) else {}), **named}
        if name == "enumerate" and items is not None:
            start = [*given[1:], *named.values(), 0][0]
            return [[start + index if type(start) is int else UNKNOWN, item] for index, item in enumerate(items)]
        if name == "zip" and given and None not in map(self._items, given):
            return [list(pair) for pair in zip(*map(self._items, given))]
        if name == "map" and len(given) == 2 and self._items(given[1]) is not None:
            return [self._call(first, [item], {}, 1) for item in self._items(given[1])]
        if name == "str" and isinstance(first, str | int | float):
            return self._joined("", [first])
        if name == "len" and isinstance(first, list | dict | str):
            return len(first)
        return self._held([*given, *named.values()])

    def _method(self, owner, name: str, given: list, named: dict):
        if isinstance(owner, Choice) and owner.options:
            self._charge(len(owner.options))
            return self._choice([self._method(option, name, given, named) for option in owner.options])
        if isinstance(owner, Instance) and name in owner.cls.methods:
            return self._inline(owner.cls.methods[name], [owner, *given], named)
        if isinstance(owner, Flow):
            return self._flow_method(owner, name, given, named)
        first = given[0] if given else UNKNOWN
        if isinstance(owner, list):
            if name in ("append", "add", "insert") and given:
                owner.append(given[-1])
                return UNKNOWN
            if name in ("extend", "update"):
                more = list(first) if isinstance(first, list) else self._nodes_in(first)
                self._charge(len(more))
                owner += more
                return UNKNOWN
            if name in ("pop", "popleft"):
                return self._choice(owner)
            if name == "copy":
                self._charge(len(owner))
                return list(owner)
        if isinstance(owner, dict):
            self._charge(len(owner) + (len(first) if isinstance(first, dict) else 0))
            if name == "items":
                return [[key if not isinstance(key, Unnamed) else UNKNOWN, value] for key, value in owner.items()]
            if name in ("keys", "values", "copy"):
                return {"keys": list, "values": lambda d: list(d.values()), "copy": dict}[name](owner)
            if name in ("get", "pop", "setdefault"):
                if name == "setdefault":
                    if key_of(first) not in owner:
                        put_in(owner, first, given[1] if len(given) > 1 else None)
                return owner[key_of(first)] if key_of(first) in owner else self._choice([*owner.values(), *given[1:]])
            if name == "update":
                owner.update({**(first if isinstance(first, dict) else {}), **named})
                return UNKNOWN
        if isinstance(owner, str):
            if name == "join" and isinstance(first, list):
                return self._joined(owner, first)
            if name in ("split", "splitlines") and (first is UNKNOWN or (isinstance(first, str) and first)):
                self._charge(len(owner) // 8)
                return owner.splitlines() if name == "splitlines" else owner.split(*given[:1])
            return self._filled(owner, owner, *given, *named.values()) if name in _SAME_TEXT else UNKNOWN
        if name == "dedent" and isinstance(first, str):
            return first
        return self._held([*given, *named.values()])

    # Nodes and flows

    def _node(self, kind: str | OwnClass, given: list, named: dict, line: int):
        self.repeated = self.repeated or self._loops > 0
        own = isinstance(kind, OwnClass)
        names = ("name",) if own and "__init__" in kind.methods else parameters(kind.base if own else kind)
        kind = kind.name if own else kind
        arguments = dict(zip(names, given)) | named
        name = self._text(arguments.get("name"))[:MOST_NAME] or kind
        if len(self.nodes) >= MOST_NODES:
            return self._held([*given, *named.values()])
        node = Node(self._identity(name, line), name, kind, self._text(arguments.get("system_prompt")), line)
        self.nodes[node.id] = node
        self._inner_edges(node, own, arguments, [*given, *named.values()])
        return node

    def _flow(self, kind: str, given: list) -> Flow:
        flow = Flow(kind)
        self.flows.append(flow)
        if kind == "create_simple_chain":
            flow.steps = [(nodes, False) for nodes in map(self._nodes_in, given) if nodes]
        return flow

    def _flow_method(self, flow: Flow, name: str, given: list, named: dict):
        kind = "AgentGraph" if flow.kind == "create_simple_chain" else flow.kind
        if name == "add_nodes":
            flow.steps += [([node], self._conditional) for node in self._nodes_in(*given, *named.values())]
        elif name == "add_node" or (kind == "AgentGraph" and name in ("add_edge", "add_conditional_edges")):
            accepted = parameters(kind, name)
            arguments = dict(zip(accepted, given)) | named
            nodes = self._nodes_in(arguments.get("node"))
            source, target = self._texts(arguments.get("src")), self._texts(arguments.get("dst"))
            condition = self._conditional or arguments.get("condition") is not None
            if name == "add_edge":
                flow.links.append((source, target, "conditional" if condition else "certain"))
            elif name == "add_conditional_edges":
                mapping = arguments.get("mapping")
                targets = itertools.chain(*map(self._texts, mapping.values())) if isinstance(mapping, dict) else None
                flow.links.append((source, targets and list(targets), "conditional"))
                flow.routed.update(source)
            elif name == "add_node" and "name" in accepted:
                flow.by_name.update(dict.fromkeys(self._texts(arguments.get("name")), nodes))
            elif nodes:
                flow.steps.append((nodes, condition))
                self.repeated = self.repeated or self._loops > 0
        elif kind == "AgentGraph" and name in ("set_entry_point", "set_finish_point"):
            points = flow.entry if name == "set_entry_point" else flow.finish
            points += [text for value in (*given, *named.values()) for text in self._texts(value)]
        elif name == "run":
            return self._run(flow, [*given, *named.values()])
        return flow

    def _run(self, flow: Flow, given: list) -> Result:
        """The result of a flow that runs now."""
        if self._inner_to != "":
            runs = self._runs if self._inner_to is None else self._inner_runs.setdefault(self._inner_to, [])
            runs.append(Run(flow, self._flows_in(*given), self._conditional))
        return Result((flow,))
