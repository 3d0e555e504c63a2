"""Shows the shape of a design: as written (`graph`, `pattern`), and as one execution went (`trace`).

The graph is read from the syntax tree without running anything (see `reading`), so it knows what is certain to happen,
what depends on a condition, and what repeats; nodes that a script computes in ways that cannot be read are missing.
It holds at most `reading.MOST_NODES` nodes and `reading.MOST_EDGES` edges.
"""

from __future__ import annotations

import dataclasses

from mxjax.mas.check import CheckedDesign
from mxjax.mas.execution import ScriptRun
from mxjax.mas.reading import Edge, Node, Reader
from mxjax.mas.records import AgentCall


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes and edges of a design, in the order of the script.

    `outer` are the edges from the question and to the answer, which `reading.OUTSIDE` stands for; there are none where
    the script runs no workflow that can be read.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    outer: tuple[Edge, ...] = ()


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
    reader = Reader(checked.tree)
    return Graph(tuple(reader.nodes.values()), tuple(reader.edges), tuple(reader.outer))


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
    reader = Reader(checked.tree)
    flows = {flow.kind for flow in reader.flows}
    kinds = {node.kind for node in reader.nodes.values()}
    if reader.own_classes:
        return "custom"
    if flows & {"AgentGraph", "create_simple_chain"}:
        return "graph"
    names = {"RouterNode": "router", "create_keyword_router": "router", "DebateNode": "debate"}
    found = {names[kind] for kind in kinds if kind in names}
    found |= {"reflection"} if "ReflectionNode" in kinds else set()
    found |= reader.strategies if "EnsembleNode" in kinds else set()
    if len(found) == 1:
        return found.pop()
    if found or flows & {"ConditionalWorkflow", "LoopWorkflow"} or not kinds:
        return "custom"
    once = not reader.repeated and all(len(flow.steps) < 2 for flow in reader.flows)
    return "single" if len(reader.nodes) == 1 and once else "pipeline"
