"""Nodes, flows and the edges between them, as they are found."""

from __future__ import annotations

import dataclasses
import itertools

MOST_STEPS = 50_000  # statements, expressions, items of lists, edges, and each 64 characters of a text
MOST_DEPTH = 120  # of expressions, statements and calls within each other
MOST_NODES = 512
MOST_EDGES = 2048
MOST_NAME = 80  # characters of the name of a node
MOST_ITEMS = 32  # of a loop, read one by one

PARTS = {
    "EnsembleNode": ("agents", "consensus_agent"),
    "ReflectionNode": ("agent", "critic_agent"),
    "DebateNode": ("debaters", "judge"),
    "RouterNode": ("routes",),
    "create_keyword_router": ("keyword_routes", "default_node"),
    "AgentNode": (),
}
FLOWS = ("Workflow", "ConditionalWorkflow", "LoopWorkflow", "AgentGraph", "create_simple_chain")


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


class Flow:
    """A workflow or graph: the nodes put into it, with whether that depends on a condition, and its links."""

    def __init__(self, kind: str):
        self.kind = kind
        self.steps: list[tuple[list[Node], bool]] = []
        self.by_name: dict[str, list[Node]] = {}
        self.links: list[tuple[list[str], list[str] | None, str]] = []


class Enough(Exception):
    """So many steps have been read that reading ends."""


class Shape:
    """What has been found: `nodes` and `edges` in order, `flows`, and what the pattern of a design depends on."""

    def __init__(self):
        self.nodes: dict[str, Node] = {}
        self.edges: dict[Edge, None] = {}
        self.flows: list[Flow] = []
        self.strategies: set[str] = set()
        self.own_classes: set[str] = set()
        self.repeated = False
        self._steps = MOST_STEPS
        self._same: dict[tuple[str, int], int] = {}

    def _charge(self, steps: int = 1):
        self._steps -= steps
        if self._steps < 0:
            raise Enough

    def _identity(self, name: str, line: int) -> str:
        identity, count = name, 0
        while identity in self.nodes:
            self._charge(1 + len(name) // 64)
            count = self._same[name, line] = self._same.get((name, line), 0) + 1
            identity = f"{name}@{line}" + (f"#{count}" if count > 1 else "")
        return identity

    def _inner_edges(self, node: Node, own: bool, arguments: dict, given: list):
        """Edges between a composite node and the nodes in it."""
        parts = {part: self._nodes_in(arguments[part]) for part in PARTS.get(node.kind, ()) if part in arguments}
        if own:
            self._join([node], self._nodes_in(*given), "conditional")
        elif node.kind == "EnsembleNode":
            agents, judge = parts.get("agents", []), parts.get("consensus_agent", [])
            strategy = self._text(arguments.get("strategy")) or "majority_vote"
            self.strategies.add("consensus" if strategy == "consensus" else "vote")
            self._join(agents, [node], "certain")
            judged = "certain" if strategy == "consensus" else "conditional"
            self._join(agents, judge, judged)
            self._join(judge, [node], judged)
        elif node.kind == "ReflectionNode":
            agent = parts.get("agent", [])
            critic = parts.get("critic_agent") or agent
            self._join(agent, critic, "certain")
            self._join(critic, agent, "loop")
            self._join(agent, [node], "certain")
        elif node.kind == "DebateNode":
            debaters = parts.get("debaters", [])
            judge = parts.get("judge") or debaters[:1]
            for debater in debaters:
                if len(self.edges) >= MOST_EDGES:
                    break
                self._join([debater], [other for other in debaters if other is not debater], "loop")
            self._join(debaters, judge, "certain")
            self._join(judge, [node], "certain")
        else:
            for nodes in parts.values():
                self._join([node], nodes, "conditional")

    def _join(self, sources: list[Node], targets: list[Node], kind: str):
        for source in sources:
            for target in targets:
                if len(self.edges) >= MOST_EDGES:
                    return
                self._charge()
                self.edges.setdefault(Edge(source.id, target.id, kind))

    def _flow_edges(self, flow: Flow):
        before: dict[str, Node] = {}  # what work may come from: the last certain step, and the conditional ones since
        certain = True
        for nodes, conditional in flow.steps:
            conditional = conditional or len(nodes) > 1
            for source, target in itertools.product(before.values(), nodes):
                kind = "certain" if certain and not conditional else "conditional"
                self._join([source], [target], "loop" if source is target else kind)
            certain = not conditional
            before = {**({} if certain else before), **{node.id: node for node in nodes}}
            self._charge(len(before))
        if flow.kind == "LoopWorkflow" and flow.steps:
            self._join(flow.steps[-1][0], flow.steps[0][0], "loop")
        order = {label: index for index, label in enumerate(flow.by_name)}
        for sources, targets, kind in flow.links:
            for source, target in itertools.product(sources, order if targets is None else targets):
                self._charge()
                if source in order and target in order:
                    back = order[target] <= order[source]
                    self._join(flow.by_name[source], flow.by_name[target], "loop" if back else kind)
