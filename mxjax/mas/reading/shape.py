"""Nodes, flows and the edges between them, as they are found."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

MOST_STEPS = 50_000  # statements, expressions, items of lists, edges, and each 64 characters of a text
MOST_DEPTH = 120  # of expressions, statements and calls within each other
MOST_NODES = 512
MOST_EDGES = 2048
MOST_NAME = 80  # characters of the name of a node
MOST_ITEMS = 32  # of a loop, read one by one
OUTSIDE = ""  # no node has this id
END = ("END", "__end__", "end")  # targets of edges that lead out of a graph

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
    """Work of `source` goes to `target`; `kind` is "certain", "conditional" or "loop".

    Among the outer edges of a graph, `OUTSIDE` as the source is the question and as the target the answer.
    """

    source: str
    target: str
    kind: str


class Flow:
    """A workflow or graph: the options of each step, with whether it may be skipped, and its links.

    `entries` are where work enters it and `exits` where it leaves, each with the kind of the edge there.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self.steps: list[tuple[list[Node], bool]] = []
        self.by_name: dict[str, list[Node]] = {}
        self.links: list[tuple[list[str], list[str] | None, str]] = []
        self.entry: list[str] = []
        self.finish: list[str] = []
        self.routed: set[str] = set()  # names from which a function leads on
        self.entries: dict[str, str] = {}
        self.exits: dict[str, str] = {}


@dataclasses.dataclass(frozen=True)
class Run:
    """A flow that the script runs: on the results of the flows `fed_by`, on the question where these are none."""

    flow: Flow
    fed_by: tuple[Flow, ...]
    conditional: bool


@dataclasses.dataclass(frozen=True)
class Ports:
    """Where work enters a node that is made of others and where it leaves; `inside` are the ids of all its nodes."""

    entries: tuple[Node, ...]
    exits: tuple[Node, ...]
    inside: frozenset[str]


class Enough(Exception):
    """So many steps have been read that reading ends."""


class Shape:
    """What has been found: `nodes` and `edges` in order, `flows`, and what the pattern of a design depends on.

    `outer` are the edges from the question and to the answer.
    """

    def __init__(self):
        self.nodes: dict[str, Node] = {}
        self.edges: dict[Edge, None] = {}
        self.outer: dict[Edge, None] = {}
        self.flows: list[Flow] = []
        self._runs: list[Run] = []
        self._inner_runs: dict[str, list[Run]] = {}  # of the methods of own nodes, by the name of the class
        self._ports: dict[str, Ports] = {}
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
        """Edges between a composite node and the nodes in it, in the order in which it asks them."""
        parts = {part: self._nodes_in(arguments[part]) for part in PARTS.get(node.kind, ()) if part in arguments}
        inside = self._nodes_in(*given) if own else list(itertools.chain(*parts.values()))
        entries, exits = [node], [node]
        if own:
            self._join([node], self._entries(inside), "conditional")
        elif node.kind == "EnsembleNode":
            agents, judge = parts.get("agents", []), parts.get("consensus_agent", [])
            strategy = self._text(arguments.get("strategy")) or "majority_vote"
            self.strategies.add("consensus" if strategy == "consensus" else "vote")
            always = bool(judge) and strategy == "consensus"
            if not always:
                self._join(self._exits(agents), [node], "certain")
            self._join(self._exits(agents), self._entries(judge), "certain" if always else "conditional")
            self._join(self._exits(judge), [node], "certain" if always else "conditional")
            entries = self._entries(agents)
        elif node.kind == "ReflectionNode":
            agent = parts.get("agent", [])
            critic = parts.get("critic_agent") or agent
            self._join(self._exits(agent), self._entries(critic), "certain")
            self._join(self._exits(critic), self._entries(agent), "loop")
            self._join(self._exits(agent), [node], "certain")
            entries = self._entries(agent)
        elif node.kind == "DebateNode":
            debaters = parts.get("debaters", [])
            judge = parts.get("judge") or debaters[:1]
            for debater in debaters:
                if len(self.edges) >= MOST_EDGES:
                    break
                others = [other for other in debaters if other is not debater]
                self._join(self._exits([debater]), self._entries(others), "loop")
            self._join(self._exits(debaters), self._entries(judge), "certain")
            self._join(self._exits(judge), [node], "certain")
            entries = self._entries(debaters)
        else:
            routes = list(itertools.chain(*parts.values()))
            self._join([node], self._entries(routes), "conditional")
            exits = self._exits(routes)
        if inside:
            ids = frozenset().union({node.id}, *(self._inside(part) for part in inside))
            self._charge(len(ids))
            self._ports[node.id] = Ports(tuple(entries or [node]), tuple(exits or [node]), ids)

    def _entries(self, nodes: Iterable[Node]) -> list[Node]:
        """Where work that comes to one of these nodes begins, each node once."""
        return self._each_once(self._ports[node.id].entries if node.id in self._ports else (node,) for node in nodes)

    def _exits(self, nodes: Iterable[Node]) -> list[Node]:
        """Where the work of these nodes comes from, each node once."""
        return self._each_once(self._ports[node.id].exits if node.id in self._ports else (node,) for node in nodes)

    def _inside(self, node: Node) -> frozenset[str]:
        return self._ports[node.id].inside if node.id in self._ports else frozenset((node.id,))

    def _each_once(self, groups: Iterable[tuple[Node, ...]]) -> list[Node]:
        found: dict[str, Node] = {}
        for group in groups:
            self._charge(len(group))
            found.update((node.id, node) for node in group)
        return list(found.values())

    def _join(self, sources: Iterable[Node], targets: Sequence[Node], kind: str):
        for source in sources:
            for target in targets:
                if len(self.edges) >= MOST_EDGES:
                    return
                self._charge()
                self.edges.setdefault(Edge(source.id, target.id, kind))

    def _flow_edges(self, flow: Flow):
        """The edges from stage to stage of a flow, with its entries and exits."""
        self._step_edges(flow)
        if flow.by_name:
            self._link_edges(flow)

    def _step_edges(self, flow: Flow):
        before: dict[str, Node] = {}  # what work may come from: the last certain step, and the conditional ones since
        ran: set[str] = set()
        certain, entering = True, True  # entering: whether no step before is certain to run
        for nodes, skipped in flow.steps:
            entries, exits = self._entries(nodes), self._exits(nodes)
            kind = "conditional" if skipped or len(nodes) > 1 or not certain else "certain"
            for source, target in itertools.product(before.values(), entries):
                self._join([source], [target], "loop" if target.id in ran else kind)
            if entering:
                flow.entries |= {node.id: kind for node in entries if node.id not in flow.entries}
                entering = skipped
            certain = not skipped
            before = {**({} if certain else before), **{node.id: node for node in exits}}
            inside = frozenset().union(*map(self._inside, nodes))
            self._charge(len(before) + len(inside))
            if inside & ran:
                self._lead_back(inside - ran, inside & ran)
            ran |= inside
        if flow.kind == "LoopWorkflow":
            first = [node for nodes, _ in flow.steps[:1] for node in self._entries(nodes)]
            self._join(before.values(), first, "loop")
        last = {node.id for nodes, _ in flow.steps[-1:] for node in self._exits(nodes)}
        flow.exits |= {name: "certain" if name in last else "conditional" for name in before}

    def _lead_back(self, sources: frozenset[str], targets: frozenset[str]):
        """Makes edges of a stage loops where they lead to nodes that an earlier stage has asked already."""
        self._charge(len(self.edges))
        turned = lambda edge: edge.source in sources and edge.target in targets
        self.edges = {dataclasses.replace(edge, kind="loop") if turned(edge) else edge: None for edge in self.edges}

    def _link_edges(self, flow: Flow):
        """The edges of a graph, which lead back where they close a cycle on the way from its entry."""
        after: dict[str, dict[str, str]] = {name: {} for name in flow.by_name}
        leaves: dict[str, str] = {}  # names from which an edge leads out, and the kind of that edge
        for sources, targets, kind in flow.links:
            for source, target in itertools.product(sources, flow.by_name if targets is None else targets):
                self._charge()
                if source in after and source not in flow.finish:
                    if target in after:
                        after[source].setdefault(target, kind)
                    elif target in END:
                        leaves[source] = kind
        for source, target, kind in self._with_loops(after, [*flow.entry, *after]):
            self._join(self._exits(flow.by_name[source]), self._entries(flow.by_name[target]), kind)
        for name in flow.entry or list(after)[:1]:
            if name in after:
                flow.entries |= {node.id: "certain" for node in self._entries(flow.by_name[name])}
        for name, targets in after.items():
            if name in flow.finish or not targets:
                leaves[name] = "certain"
            elif not flow.finish and name not in flow.routed and "certain" not in targets.values():
                leaves.setdefault(name, "conditional")  # the walk ends where no condition holds
        reached = self._led_to(after, flow.entry or list(after)[:1])
        for name, kind in leaves.items():
            if name in reached:
                flow.exits |= {node.id: kind for node in self._exits(flow.by_name[name])}

    def _with_loops(self, after: dict[str, dict[str, str]], starts: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """The links of a graph, of kind "loop" where they lead to a name on the way to their source."""
        seen: set[str] = set()
        for start in starts:
            if start in seen or start not in after:
                continue
            way = {start: iter(after[start].items())}
            seen.add(start)
            while way:
                source, links = next(reversed(way.items()))
                target, kind = next(links, (None, ""))
                self._charge()
                if target is None:
                    del way[source]
                    continue
                yield source, target, "loop" if target in way else kind
                if target not in seen:
                    seen.add(target)
                    way[target] = iter(after[target].items())

    def _led_to(self, after: dict[str, dict[str, str]], starts: Iterable[str]) -> set[str]:
        found, waiting = set(), list(starts)
        while waiting:
            name = waiting.pop()
            if name in after and name not in found:
                self._charge(1 + len(after[name]))
                found.add(name)
                waiting += after[name]
        return found

    def _run_edges(self):
        """The edges from the question to the flows that the script runs, and from the last of them to the answer."""
        entries, exits = self._chain(self._runs)
        for name, kind in entries.items():
            self._outer(Edge(OUTSIDE, name, kind))
        for name, kind in exits.items():
            self._outer(Edge(name, OUTSIDE, kind))

    def _chain(self, runs: Sequence[Run]) -> tuple[dict[str, str], dict[str, str]]:
        """Joins flows that run on each other's results; where work enters the first and leaves the last of them.

        What counts is returned by the flow that runs last, so what depends on a condition may be left to the runs
        before it, back to the last that is certain.
        """
        entries: dict[str, str] = {}
        exits: dict[str, str] = {}
        for run in runs:
            for name, kind in run.flow.entries.items():
                kind = "conditional" if run.conditional else kind
                if not run.fed_by:
                    entries.setdefault(name, kind)
                for source in run.fed_by:
                    came = [self.nodes[source_name] for source_name in source.exits]
                    self._join(came, [self.nodes[name]], "loop" if source is run.flow else kind)
        for run in reversed(runs):
            self._charge(len(run.flow.exits))
            later = bool(exits)
            exits = {name: "conditional" if later else kind for name, kind in run.flow.exits.items()} | exits
            if not run.conditional:
                break
        return entries, exits

    def _own_edges(self, name: str, runs: Sequence[Run]):
        """The edges from nodes of a class of the script to the flows that its methods run, where their work leaves."""
        entries, exits = self._chain(runs)
        for node in [node for node in self.nodes.values() if node.kind == name]:
            self._charge(1 + len(entries) + len(exits))
            for entry, kind in entries.items():
                self._join([node], [self.nodes[entry]], kind)
            left = [self.nodes[exit_] for exit_ in exits] + [node] * all(run.conditional for run in runs)
            self._ports[node.id] = Ports((node,), tuple(left), self._inside(node))

    def _outer(self, edge: Edge):
        self._charge()
        if len(self.outer) < MOST_EDGES:
            self.outer.setdefault(edge)
