"""The nodes and edges of a design, from a dry run's objects.

A node made of others is asked through its parts: work enters it where it enters the first of them and leaves it where
its result is made (`Ports`). Whatever a script makes, at most MOST_NODES nodes and MOST_EDGES edges are shown, found in
MOST_STEPS steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mxjax.mas.dry import NUMBER, DryRun, Stage
from mxjax.mas.library.agent import AGENT
from mxjax.mas.library.core import WORKFLOW_NODE
from mxjax.mas.library.nodes import DEBATE, ENSEMBLE, REFLECTION, ROUTER
from mxjax.mas.library.workflows import CONDITIONAL, END, GRAPH, LOOP, WORKFLOW
from mxjax.script.values import Instance

MOST_STEPS = 50_000
MOST_NODES = 512
MOST_EDGES = 2048
MOST_NAME = 80  # characters of the name of a node
MOST_PROMPT = 65_536  # characters of its prompt
_MOST_PARTS = 1024  # of a node made of others
OUTSIDE = ""  # no node has this id
_NATIVE = [cls.members["process"] for cls in (AGENT, ENSEMBLE, REFLECTION, DEBATE, ROUTER)]
UNKNOWN = "{...}"  # stands in a prompt for what only a run knows


@dataclasses.dataclass(frozen=True)
class Node:
    """One node of a design.

    `kind` is its class, `prompt` the constant part of an agent's system prompt.
    """

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


@dataclasses.dataclass(frozen=True)
class Ports:
    """The entries, exits and contents of a node or workflow.

    Entries and exits have the kind of the edge there. All are by the ids of nodes.
    """

    entries: dict[str, str]
    exits: dict[str, str]
    inside: frozenset[str]


class _Enough(Exception):
    """So many steps have been taken that looking ends."""


class Shape:
    """The graph seen in one dry run.

    `nodes` are by id; next to `edges`, `outer` are the edges from the question and to the answer.
    """

    def __init__(self, dry: DryRun):
        self.nodes: dict[str, Node] = {}
        self.edges: dict[Edge, None] = {}
        self.outer: dict[Edge, None] = {}
        self._numbers = frozenset(dry.placeholders[1:])
        self._ids: dict[int, str] = {}  # of nodes, by the identity of the object
        self._ports: dict[int, Ports] = {}  # of nodes and workflows, by the identity of the object
        self._steps = MOST_STEPS
        with contextlib.suppress(_Enough):
            self._add_nodes(dry)
            self._add_edges(dry)
        self._steps = MOST_STEPS
        with contextlib.suppress(_Enough):
            self._run_edges([stage for stage in dry.stages if stage.inside is None])

    def _charge(self, steps: int = 1) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise _Enough

    def _add_nodes(self, dry: DryRun) -> None:
        same: dict[tuple[str, int], int] = {}
        for node, line in dry.made:
            if WORKFLOW_NODE not in node.cls.mro or len(self.nodes) >= MOST_NODES:
                continue
            name, prompt = (node.fields.get(field) for field in ("name", "system_prompt"))
            name = (name if type(name) is str else "")[:MOST_NAME] or node.cls.name
            identity = name
            while identity in self.nodes:
                self._charge(1 + len(name) // 64)
                count = same[name, line] = same.get((name, line), 0) + 1
                identity = f"{name}@{line}" + (f"#{count}" if count > 1 else "")
            prompt = self._constant_part(prompt, dry.placeholders[0]) if type(prompt) is str else ""
            self.nodes[identity] = Node(identity, name, node.cls.name, prompt, line)
            self._ids[id(node)] = identity

    def _add_edges(self, dry: DryRun) -> None:
        made = [instance for instance, _ in dry.made]
        nodes = [node for node in made if id(node) in self._ids]
        for node in nodes:
            self._inner_edges(node)
        own = [node for node in nodes if node.cls.lookup("process") not in _NATIVE]
        stages: dict[int, list[Stage]] = {id(node): [] for node in own}
        for stage in dry.stages:
            if id(stage.inside) in stages and stage.what is not stage.inside:
                stages[id(stage.inside)].append(stage)
        inner = {id(stage.what) for within in stages.values() for stage in within}
        flows = [flow for flow in made if WORKFLOW in flow.cls.mro]
        for flow in flows:
            if id(flow) in inner:
                self._flow_edges(flow)
        for node in own:
            self._own_edges(node, stages[id(node)])
        for flow in flows:
            if id(flow) not in inner:
                self._flow_edges(flow)

    # Nodes

    def _port(self, node: Any) -> Ports:
        """Of a node that is shown, else of nothing."""
        if id(node) in self._ports:
            return self._ports[id(node)]
        names = {self._ids[id(node)]: "certain"} if id(node) in self._ids else {}
        return Ports(names, names, frozenset(names))

    def _entries(self, nodes: Iterable[Any]) -> list[str]:
        """Where work that comes to these nodes begins.

        Each node is named once.
        """
        return self._each_once(self._port(node).entries for node in nodes)

    def _exits(self, nodes: Iterable[Any]) -> list[str]:
        """Where the work of these nodes comes from, each node once."""
        return self._each_once(self._port(node).exits for node in nodes)

    def _each_once(self, groups: Iterable[dict[str, str]]) -> list[str]:
        found: dict[str, None] = {}
        for group in groups:
            self._charge(len(group))
            found.update(dict.fromkeys(group))
        return list(found)

    def _join(self, sources: Iterable[str], targets: Sequence[str], kind: str) -> None:
        for source, target in itertools.product(sources, targets):
            if len(self.edges) >= MOST_EDGES:
                return
            self._charge()
            self.edges.setdefault(Edge(source, target, kind))

    def _inner_edges(self, node: Instance) -> None:
        """Edges between a node and its parts, in asking order."""
        get, name = node.fields.get, self._ids[id(node)]
        process = node.cls.lookup("process")
        parts: list[Instance] = []
        entries, exits = [name], [name]
        if process is ENSEMBLE.members["process"]:
            agents, judge = _nodes_in(get("agents")), _nodes_in(get("consensus_agent"))
            parts = [*agents, *judge]
            always = bool(judge) and get("strategy") == "consensus"
            if not always:
                self._join(self._exits(agents), [name], "certain")
            self._join(self._exits(agents), self._entries(judge), "certain" if always else "conditional")
            self._join(self._exits(judge), [name], "certain" if always else "conditional")
            entries = self._entries(agents)
        elif process is REFLECTION.members["process"]:
            agent = _nodes_in(get("agent"))
            critic = _nodes_in(get("critic_agent")) or agent
            parts = [*agent, *critic]
            self._join(self._exits(agent), self._entries(critic), "certain")
            self._join(self._exits(critic), self._entries(agent), "loop")
            self._join(self._exits(agent), [name], "certain")
            entries = self._entries(agent)
        elif process is DEBATE.members["process"]:
            debaters = _nodes_in(get("debaters"))
            judge = _nodes_in(get("judge")) or debaters[:1]
            parts = [*debaters, *judge]
            for debater in debaters:
                others = [other for other in debaters if other is not debater]
                self._join(self._exits([debater]), self._entries(others), "loop")
            self._join(self._exits(debaters), self._entries(judge), "certain")
            self._join(self._exits(judge), [name], "certain")
            entries = self._entries(debaters)
        elif process is ROUTER.members["process"]:
            parts = _nodes_in(get("routes"))
            self._join([name], self._entries(parts), "conditional")
            exits = self._exits(parts)
        elif process is not AGENT.members["process"]:
            parts = _nodes_in(*itertools.islice(node.fields.values(), _MOST_PARTS))
            self._join([name], self._entries(parts), "conditional")
        self._set_ports(node, entries or [name], exits or [name], parts)

    def _set_ports(self, node: Instance, entries: Iterable[str], exits: Iterable[str], parts: Iterable[Any]) -> None:
        inside = self._port(node).inside.union(*(self._port(part).inside for part in parts))
        self._charge(len(inside))
        self._ports[id(node)] = Ports(dict.fromkeys(entries, "certain"), dict.fromkeys(exits, "certain"), inside)

    def _own_edges(self, node: Instance, stages: Sequence[Stage]) -> None:
        """Edges from a script-defined node to what its `process` runs.

        Work then leaves where it leaves the last workflow run.
        """
        name = self._ids[id(node)]
        asked = [stage.what for stage in stages if WORKFLOW not in stage.what.cls.mro]
        self._join([name], self._entries(asked), "conditional")
        entries, exits = self._chain([stage for stage in stages if WORKFLOW in stage.what.cls.mro])
        for entry, kind in entries.items():
            self._join([name], [entry], kind)
        if exits:
            self._set_ports(node, [name], exits, ())

    # Workflows

    def _flow_edges(self, flow: Instance) -> None:
        """The edges between a workflow's stages, and its entries and exits."""
        find = self._link_edges if GRAPH in flow.cls.mro else self._step_edges
        entries, exits = find(flow)
        self._ports[id(flow)] = Ports(entries, exits, frozenset())

    def _step_edges(self, flow: Instance) -> tuple[dict[str, str], dict[str, str]]:
        found: dict[str, str] = {}
        before: dict[str, None] = {}  # what work may come from: the last certain step, and the conditional ones since
        ran: frozenset[str] = frozenset()
        certain, entering = True, True  # entering: whether no step before is certain to run
        steps = [(self._port(node), skipped) for node, skipped in steps_of(flow)]
        for port, skipped in steps:
            kind = "conditional" if skipped or not certain else "certain"
            for target in port.entries:
                self._join(before, [target], "loop" if target in ran else kind)
            if entering:
                found |= {name: kind for name in port.entries if name not in found}
                entering = skipped
            certain = not skipped
            before = {**({} if certain else before), **dict.fromkeys(port.exits)}
            self._charge(len(before) + len(port.inside))
            if port.inside & ran:
                self._lead_back(port.inside - ran, port.inside & ran)
            ran |= port.inside
        if LOOP in flow.cls.mro:
            self._join(before, [name for port, _ in steps[:1] for name in port.entries], "loop")
        last = {name for port, _ in steps[-1:] for name in port.exits}
        return found, {name: "certain" if name in last else "conditional" for name in before}

    def _lead_back(self, sources: frozenset[str], targets: frozenset[str]) -> None:
        """Turn edges of a stage into loops where they lead back.

        They lead back to nodes that an earlier stage has asked already.
        """
        self._charge(len(self.edges))
        turned = [edge.source in sources and edge.target in targets for edge in self.edges]
        loops = [dataclasses.replace(edge, kind="loop") if back else edge for edge, back in zip(self.edges, turned)]
        self.edges = dict.fromkeys(loops)

    def _link_edges(self, graph: Instance) -> tuple[dict[str, str], dict[str, str]]:
        """The edges of a graph, with loops marked.

        An edge leads back where it closes a cycle on the way from the entry.
        """
        nodes, finish = graph.fields.get("nodes"), graph.fields.get("finish")
        by_name = {name: node for name, node in nodes.items() if type(name) is str} if isinstance(nodes, dict) else {}
        finish = set(filter(lambda name: type(name) is str, finish)) if type(finish) is list else set()
        after: dict[str, dict[str, str]] = {name: {} for name in by_name}
        leaves: dict[str, str] = {}  # names from which an edge leads out, and the kind of that edge
        routes = graph.fields.get("routes")
        routed = routes if isinstance(routes, dict) else {}
        for source, target, kind in _links_of(graph, list(by_name)):
            self._charge()
            if source in after and source not in finish:
                if target in after:
                    after[source].setdefault(target, kind)
                elif target in END:
                    leaves[source] = kind
        entry = graph.fields.get("entry")
        starts = [entry] if type(entry) is str else list(after)[:1]
        for source, target, kind in self._with_loops(after, [*starts, *after]):
            self._join(self._exits([by_name[source]]), self._entries([by_name[target]]), kind)
        for name, targets in after.items():
            if name in finish or not targets:
                leaves[name] = "certain"
            elif not finish and name not in routed and "certain" not in targets.values():
                leaves.setdefault(name, "conditional")  # the walk ends where no condition holds
        reached = self._led_to(after, starts)
        entries = self._entries(by_name[name] for name in starts if name in by_name)
        exits: dict[str, str] = {}
        for name in filter(reached.__contains__, leaves):
            exits |= dict.fromkeys(self._exits([by_name[name]]), leaves[name])
        return dict.fromkeys(entries, "certain"), exits

    def _with_loops(self, after: dict[str, dict[str, str]], starts: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """The links of a graph, with kind "loop" for back edges.

        A back edge leads to a name on the way to its source.
        """
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
        found: set[str] = set()
        waiting = list(starts)
        while waiting:
            name = waiting.pop()
            if name in after and name not in found:
                self._charge(1 + len(after[name]))
                found.add(name)
                waiting += after[name]
        return found

    # Runs

    def _run_edges(self, stages: Sequence[Stage]) -> None:
        """The edges from the question and to the answer.

        The first lead to what the script runs or asks, the second come from the last of it.
        """
        entries, exits = self._chain([stage for stage in stages if WORKFLOW in stage.what.cls.mro])
        for stage in stages:
            if WORKFLOW not in stage.what.cls.mro:
                entries |= self._port(stage.what).entries
                exits |= self._port(stage.what).exits
        self._charge(len(entries) + len(exits))
        outer = [Edge(OUTSIDE, name, kind) for name, kind in entries.items()]
        outer += [Edge(name, OUTSIDE, kind) for name, kind in exits.items()]
        self.outer = dict.fromkeys(outer[:MOST_EDGES])

    def _chain(self, runs: Sequence[Stage]) -> tuple[dict[str, str], dict[str, str]]:
        """Join workflows that run on each other's results.

        Returns where work enters them and where it leaves the last.
        """
        entries: dict[str, str] = {}
        exits: dict[str, str] = {}
        returned: dict[str, Instance] = {}  # the workflow that last returned a reply with this number
        for run in runs:
            sources = {id(flow): flow for number in self._numbers_in(run.text) if (flow := returned.get(number))}
            port = self._port(run.what)
            for name, kind in port.entries.items():
                if not sources:
                    entries.setdefault(name, kind)
                for source in sources.values():
                    self._join(self._port(source).exits, [name], "loop" if source is run.what else kind)
            self._charge(1 + len(port.exits))
            exits = port.exits
            returned |= dict.fromkeys(self._numbers_in(run.returned), run.what)
        return entries, dict(exits)

    # Placeholders

    def _numbers_in(self, text: str) -> list[str]:
        """The replies that a text was made of."""
        self._charge(len(text) // 64)
        return [number for number in NUMBER.findall(text) if number in self._numbers]

    def _constant_part(self, prompt: str, question: str) -> str:
        """A prompt without what only a run knows."""
        prompt = prompt[:MOST_PROMPT]
        self._charge(len(prompt) // 64)
        known = lambda match: UNKNOWN if match[0] in self._numbers else match[0]
        return NUMBER.sub(known, prompt.replace(question, UNKNOWN))


def _nodes_in(*values: Any) -> list[Instance]:
    """The nodes that values are or hold, each once."""
    found: dict[int, Instance] = {}
    seen: set[int] = set()
    waiting = list(reversed(values))
    while waiting and len(seen) < _MOST_PARTS:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is Instance and WORKFLOW_NODE in value.cls.mro:
            found[id(value)] = value
        elif isinstance(value, list | tuple | dict):
            parts = itertools.islice(value.values() if isinstance(value, dict) else value, _MOST_PARTS)
            waiting += reversed(list(parts))
    return list(found.values())


def steps_of(flow: Instance) -> list[tuple[Any, bool]]:
    """The nodes of a workflow, each with whether it may be skipped."""
    nodes = flow.fields.get("nodes")
    steps = nodes[: 2 * MOST_EDGES] if type(nodes) is list else []
    if CONDITIONAL not in flow.cls.mro:
        return [(node, False) for node in steps]
    pairs = [step if type(step) is tuple and len(step) == 2 else (step, None) for step in steps]
    return [(node, condition is not None) for node, condition in pairs]


def _links_of(graph: Instance, names: list[str]) -> Iterator[tuple[Any, Any, str]]:
    """The edges of a graph as (source, target, kind).

    Edges that are not in the library's own form are skipped.
    """
    edges, routes = graph.fields.get("edges"), graph.fields.get("routes")
    for source, leaving in edges.items() if isinstance(edges, dict) else ():
        for link in leaving if type(leaving) is list else ():
            if type(source) is str and type(link) is tuple and len(link) == 2 and type(link[0]) is str:
                yield source, link[0], "certain" if link[1] is None else "conditional"
    for source, route in routes.items() if isinstance(routes, dict) else ():
        mapping = route[1] if type(route) is tuple and len(route) == 2 else None
        for target in mapping.values() if isinstance(mapping, dict) else names:
            if type(source) is str and type(target) is str:
                yield source, target, "conditional"
