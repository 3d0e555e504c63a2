"""Shows the shape of a design: as written (`graph`, `pattern`), and as one execution went (`trace`).

The graph is read from the syntax tree without running anything, so it knows what is certain to happen, what depends
on a condition, and what repeats; nodes that a script computes in ways that cannot be read are simply missing.
"""

from __future__ import annotations

import ast
import dataclasses

from mxjax.mas.check import CheckedDesign
from mxjax.mas.library.modules import LIBRARY, NAMES
from mxjax.mas.records import AgentCall
from mxjax.mas.runs import ScriptRun

_COMPOSITE = {
    "EnsembleNode": ("agents", "consensus_agent"),
    "ReflectionNode": ("agent", "critic_agent"),
    "DebateNode": ("debaters", "judge"),
    "RouterNode": ("routes",),
    "create_keyword_router": ("keyword_routes", "default_node"),
}
_POSITIONS = {
    "AgentNode": ("name", "system_prompt", "tool_registry"),
    "EnsembleNode": ("name", "agents", "strategy", "consensus_agent", "weights"),
    "ReflectionNode": ("name", "agent", "num_iterations", "reflection_prompt", "critic_agent"),
    "DebateNode": ("name", "debaters", "judge", "num_rounds"),
    "RouterNode": ("name", "routes", "routing_func", "default_route"),
    "create_keyword_router": ("name", "keyword_routes", "default_node"),
}
_FLOWS = ("Workflow", "ConditionalWorkflow", "LoopWorkflow", "AgentGraph", "create_simple_chain")


@dataclasses.dataclass(frozen=True)
class Node:
    """One node of a design: `kind` is its class, `prompt` the constant part of an agent's system prompt."""

    id: str
    name: str
    kind: str
    prompt: str
    line: int


@dataclasses.dataclass(frozen=True)
class Edge:
    """Work of `source` goes to `target`; `kind` is "certain", "conditional" or "loop"."""

    source: str
    target: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes and edges of a design, in the order of the script."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


@dataclasses.dataclass(frozen=True)
class Step:
    """One answered call of an execution; `parent` is the call whose conversation it continues, `tokens` its cost."""

    id: str
    kind: str
    node: str
    parent: str | None
    prompt: str
    reply: str
    error: str | None
    tokens: int


def graph(checked: CheckedDesign) -> Graph:
    """The static graph of a design."""
    reader = _Reader()
    reader.read(checked.tree)
    return Graph(tuple(reader.nodes.values()), tuple(dict.fromkeys(reader.edges)))


def describe(checked: CheckedDesign) -> str:
    """A design as text: its pattern, its nodes with the start of their prompts, its edges and the check's warnings."""
    found = graph(checked)
    lines = [f"pattern: {pattern(checked)}", f"nodes: {len(found.nodes)}"]
    for node in found.nodes:
        prompt = " ".join(node.prompt.split())
        shown = f": {prompt[:77]}..." if len(prompt) > 80 else f": {prompt}" if prompt else ""
        lines.append(f"  {node.id} ({node.kind}, line {node.line}){shown}")
    lines.append(f"edges: {len(found.edges)}")
    marks = {"certain": "-->", "conditional": "-?>", "loop": "-@>"}
    lines += [f"  {edge.source} {marks[edge.kind]} {edge.target} ({edge.kind})" for edge in found.edges]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in checked.warnings)])


def trace(run: ScriptRun) -> tuple[Step, ...]:
    """The answered calls of an execution, in structural order; `prompt` is what was newly said to the agent or tool."""
    steps = []
    for call, reply in run.answered:
        if isinstance(call, AgentCall):
            prompt = call.messages[-1]["content"] if call.messages else ""
            steps.append(Step(call.id, "agent", call.node, call.parent, prompt, reply.text, reply.error, reply.tokens))
        else:
            prompt = str(call.arguments.get("code", dict(call.arguments)))
            steps.append(Step(call.id, "tool", call.name, None, prompt, reply.text, reply.error, reply.tokens))
    return tuple(steps)


def pattern(checked: CheckedDesign) -> str:
    """The pattern of a design: single, vote, consensus, reflection, debate, router, graph, pipeline or custom."""
    reader = _Reader()
    reader.read(checked.tree)
    kinds = {node.kind for node in reader.nodes.values()}
    if reader.own_classes:
        return "custom"
    if "AgentGraph" in reader.flows or "create_simple_chain" in reader.flows:
        return "graph"
    names = {"RouterNode": "router", "create_keyword_router": "router", "DebateNode": "debate"}
    found = {names[kind] for kind in kinds if kind in names}
    found |= {"reflection"} if "ReflectionNode" in kinds else set()
    found |= reader.strategies if "EnsembleNode" in kinds else set()
    if len(found) == 1:
        return found.pop()
    if found or reader.flows & {"ConditionalWorkflow", "LoopWorkflow"} or not kinds:
        return "custom"
    return "single" if len(reader.nodes) == 1 and not reader.repeated else "pipeline"


class _Reader:
    """Walks the statements of a script in order and keeps what each name stands for: node ids, or a flow."""

    def __init__(self):
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.flows: set[str] = set()
        self.strategies: set[str] = set()
        self.own_classes: set[str] = set()
        self.repeated = False
        self.names: dict[str, list[str]] = {}
        self.flow_of: dict[str, _Flow] = {}
        self.aliases: dict[str, str] = {}
        self.made: dict[ast.Call, list[str]] = {}

    def read(self, tree: ast.Module):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in LIBRARY:
                for alias in node.names:
                    self.aliases.update({name: name for name in NAMES} if alias.name == "*" else {})
                    self.aliases[alias.asname or alias.name] = alias.name
        self.block(tree.body)
        for flow in dict.fromkeys(self.flow_of.values()):
            self.edges += flow.edges()

    def block(self, statements):
        for statement in statements:
            if isinstance(statement, ast.ClassDef):
                bases = {self.callee(base) for base in statement.bases}
                if bases & set(NAMES):
                    self.own_classes.add(statement.name)
            for field in ("value", "iter", "test"):
                value = getattr(statement, field, None)
                if isinstance(value, ast.expr):
                    for target in getattr(statement, "targets", [getattr(statement, "target", None)]):
                        self.assign(target, value)
            for field in ("body", "orelse", "finalbody"):
                self.block(getattr(statement, field, None) or [])
            for handler in getattr(statement, "handlers", ()):
                self.block(handler.body)

    def assign(self, target, value: ast.expr):
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for inner, part in zip(target.elts, value.elts):
                self.assign(inner, part)
        else:
            self.bind(target, self.value(value))

    def bind(self, target, found):
        if isinstance(target, ast.Name):
            if isinstance(found, _Flow):
                self.flow_of[target.id] = found
            else:
                self.names[target.id] = found
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and isinstance(found, list):
            self.names.setdefault(target.value.id, []).extend(found)

    def callee(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        return node.attr if isinstance(node, ast.Attribute) else ""

    def value(self, node: ast.expr):
        """The ids of the nodes that an expression holds, or the flow that it is."""
        if isinstance(node, ast.Name):
            return self.flow_of.get(node.id) or self.names.get(node.id, [])
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
            for generator in node.generators:
                self.bind(generator.target, self.value(generator.iter))
            found = self.value(node.elt)
            self.repeated = self.repeated or bool(found)
            return found if isinstance(found, list) else []
        if isinstance(node, ast.Lambda):
            return []
        found: list[str] = []
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                inner = self.value(child)
                found += inner if isinstance(inner, list) else []
        return found

    def call(self, node: ast.Call):
        kind = self.callee(node.func)
        if isinstance(node.func, ast.Name) and kind in _FLOWS:
            self.flows.add(kind)
            flow = _Flow(kind)
            if kind == "create_simple_chain":
                flow.steps = [(ids, False) for ids in (self.value(argument) for argument in node.args) if ids]
            self.flow_of[f"flow {id(node)}"] = flow
            return flow
        if isinstance(node.func, ast.Name) and (kind in _POSITIONS or kind in self.own_classes):
            return self.node(node, kind)
        if isinstance(node.func, ast.Attribute):
            owner = self.value(node.func.value)
            if isinstance(owner, _Flow):
                owner.method(node, self)
                return owner
            given = [ids for ids in map(self.value, node.args) if isinstance(ids, list)]
            if kind in ("append", "extend") and isinstance(node.func.value, ast.Name):
                self.names.setdefault(node.func.value.id, []).extend(i for ids in given for i in ids)
            return []
        return [i for ids in map(self.value, node.args) if isinstance(ids, list) for i in ids]

    def node(self, node: ast.Call, kind: str) -> list[str]:
        if node in self.made:
            return self.made[node]
        given = dict(zip(_POSITIONS.get(kind, ("name",)), node.args)) | {k.arg: k.value for k in node.keywords if k.arg}
        name = _constant(given.get("name")) or kind
        identity = name if name not in self.nodes else f"{name}@{node.lineno}"
        parts = {part: self.value(given[part]) for part in _COMPOSITE.get(kind, ()) if part in given}
        self.nodes[identity] = Node(identity, name, kind, _constant(given.get("system_prompt")), node.lineno)
        self.made[node] = [identity]
        self.inner_edges(identity, kind, given, {k: v if isinstance(v, list) else [] for k, v in parts.items()})
        return [identity]

    def inner_edges(self, identity: str, kind: str, given: dict, parts: dict[str, list[str]]):
        """Edges between a composite node and the nodes in it."""

        def join(sources, targets, edge):
            self.edges += [Edge(source, target, edge) for source in sources for target in targets]

        if kind == "EnsembleNode":
            strategy = _constant(given.get("strategy")) or "majority_vote"
            self.strategies.add("consensus" if strategy == "consensus" else "vote")
            join(parts.get("agents", ()), [identity], "certain")
            judged = "certain" if strategy == "consensus" else "conditional"
            join(parts.get("agents", ()), parts.get("consensus_agent", ()), judged)
            join(parts.get("consensus_agent", ()), [identity], judged)
        elif kind == "ReflectionNode":
            agent = parts.get("agent", [])
            critic = parts.get("critic_agent") or agent
            join(agent, critic, "certain")
            join(critic, agent, "loop")
            join(agent, [identity], "certain")
        elif kind == "DebateNode":
            debaters = parts.get("debaters", [])
            judge = parts.get("judge") or debaters[:1]
            self.edges += [Edge(a, b, "loop") for a in debaters for b in debaters if a != b]
            join(debaters, judge, "certain")
            join(judge, [identity], "certain")
        else:
            for ids in parts.values():
                join([identity], ids, "conditional")


def _constant(node) -> str:
    """The constant text of an expression; parts that are computed are shown as `{...}`."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_constant(part) or "{...}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _constant(node.left) + _constant(node.right)
    return ""


class _Flow:
    """A workflow or graph: the nodes put into it, and the edges that follow."""

    def __init__(self, kind: str):
        self.kind = kind
        self.steps: list[tuple[list[str], bool]] = []
        self.by_name: dict[str, list[str]] = {}
        self.links: list[tuple[str, str, str]] = []

    def method(self, node: ast.Call, reader: _Reader):
        name = node.func.attr
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        values = [value if isinstance(value, list) else [] for value in map(reader.value, arguments)]
        if name == "add_node" and self.kind == "AgentGraph" and len(arguments) > 1:
            self.by_name[_constant(arguments[0])] = values[1]
        elif name == "add_node" and values:
            self.steps.append((values[0], self.kind == "ConditionalWorkflow" and len(arguments) > 1))
        elif name == "add_nodes" and values:
            self.steps += [([identity], False) for identity in values[0]]
        elif name == "add_edge" and len(arguments) > 1:
            always = len(arguments) < 3 or (isinstance(arguments[2], ast.Constant) and arguments[2].value is None)
            kind = "certain" if always else "conditional"
            self.links.append((_constant(arguments[0]), _constant(arguments[1]), kind))
        elif name == "add_conditional_edges" and arguments:
            mapping = arguments[2] if len(arguments) > 2 else None
            targets = [_constant(v) for v in mapping.values] if isinstance(mapping, ast.Dict) else list(self.by_name)
            self.links += [(_constant(arguments[0]), target, "conditional") for target in targets]

    def edges(self) -> list[Edge]:
        found = []
        for (sources, _), (targets, conditional) in zip(self.steps, self.steps[1:]):
            kind = "conditional" if conditional else "certain"
            found += [Edge(source, target, kind) for source in sources[-1:] for target in targets[:1]]
        if self.kind == "LoopWorkflow" and self.steps:
            last, first = self.steps[-1][0], self.steps[0][0]
            found += [Edge(source, target, "loop") for source in last[-1:] for target in first[:1]]
        order = list(self.by_name)
        for source, target, kind in self.links:
            if source in order and target in order:
                back = order.index(target) <= order.index(source)
                found += [
                    Edge(a, b, "loop" if back else kind) for a in self.by_name[source] for b in self.by_name[target]
                ]
        return found
