"""The shape of a design as built, and as one execution went.

The first is shown by `graph` and `pattern`, the second by `trace`.

The graph is that of the objects which a script makes in dry runs with two unlike questions, their calls answered with
placeholders (see `dry`, `shape`). What only one of them shows depends on a condition; what neither gets to is missing.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Container, Iterable, Iterator, Sequence

from mxjax.mas.check import CheckedDesign
from mxjax.mas.dry import dry_run
from mxjax.mas.execution import ScriptRun
from mxjax.mas.library.nodes import DEBATE, ENSEMBLE, REFLECTION, ROUTER
from mxjax.mas.library.tools import PYTHON
from mxjax.mas.library.workflows import CONDITIONAL, GRAPH, LOOP, WORKFLOW
from mxjax.mas.records import AgentCall
from mxjax.mas.shape import MOST_EDGES, MOST_NODES, MOST_PROMPT, OUTSIDE, Edge, Node, Shape, steps_of
from mxjax.script.values import Instance

_FUEL = 50_000  # of each dry run
_QUESTIONS = (
    ("A placeholder that stands for any question: how many are there in all?", "{0}: the answer is \\boxed{{{0}}}"),
    ("\u00bf?", "{0}"),
)


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes and edges of a design, in the order of the script.

    `outer` are the edges from the question and to the answer, which `OUTSIDE` stands for; there are none where the
    script runs no workflow.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    outer: tuple[Edge, ...] = ()


@dataclasses.dataclass(frozen=True)
class Step:
    """One answered call of an execution.

    `parent` is the call whose conversation it continues, `tokens` its cost.
    """

    id: str
    kind: str
    node: str
    parent: str | None
    prompt: str
    reply: str
    error: str | None
    tokens: int


def graph(checked: CheckedDesign) -> Graph:
    """The nodes and edges of a design.

    It also tells which of them depend on a condition or repeat.
    """
    return _seen(checked)[0]


def describe(checked: CheckedDesign) -> str:
    """A design as text.

    The text has its pattern, its nodes with the start of their prompts, its edges and the check's warnings.
    """
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
    """The answered calls of an execution, in structural order.

    `prompt` is what was newly said to the agent or tool.
    """
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
    """The name of a design's pattern.

    It is single, vote, consensus, reflection, debate, router, graph, pipeline or custom.
    """
    return _seen(checked)[1]


@functools.lru_cache(maxsize=256)
def _seen(checked: CheckedDesign) -> tuple[Graph, str]:
    shapes, ended, made = zip(*itertools.starmap(functools.partial(_looked_at, checked), _QUESTIONS))
    merged = _merged(list(shapes), list(ended))
    return merged, _pattern([instance for instances in made for instance in instances], len(merged.nodes))


def _looked_at(checked: CheckedDesign, question: str, reply: str) -> tuple[Shape, bool, list[Instance]]:
    """What one dry run shows; all else that it held is dropped before the next."""
    run = dry_run(checked.code, checked.doc, checked.limits, _FUEL, question, reply, tools=(PYTHON,))
    return Shape(run), run.ended, [instance for instance, _ in run.made]


def _merged(shapes: list[Shape], ended: list[bool]) -> Graph:
    """One graph from several runs.

    An edge is conditional if a run that ended lacks it.
    """
    nodes: dict[str, Node] = {}
    for shape in shapes:
        for name, node in shape.nodes.items():
            known = nodes.setdefault(name, node)
            if known.prompt != node.prompt and len(known.prompt) + len(node.prompt) < MOST_PROMPT:
                nodes[name] = dataclasses.replace(known, prompt=f"{known.prompt} or {node.prompt}")
    kept = dict(itertools.islice(nodes.items(), MOST_NODES))
    complete = [shape for shape, end in zip(shapes, ended) if end]
    edges = _with_conditions([edge for shape in shapes for edge in shape.edges], [shape.edges for shape in complete])
    shown = complete or shapes
    runs = [{*shape.outer, *_of_unasked(shape, nodes)} for shape in shown]
    outer = _with_conditions([edge for shape in shown for edge in shape.outer], runs)
    inside = [edge for edge in edges if edge.source in kept and edge.target in kept]
    return Graph(tuple(kept.values()), tuple(inside[:MOST_EDGES]), tuple(outer[:MOST_EDGES]))


def _of_unasked(shape: Shape, names: Iterable[str]) -> Iterator[Edge]:
    """Edges to the answer from nodes that a run does not ask.

    Such a run cannot lack these edges.
    """
    asked = {edge.target for edge in (*shape.outer, *shape.edges)}
    return (Edge(name, OUTSIDE, "certain") for name in names if name not in asked)


def _with_conditions(edges: Iterable[Edge], runs: Sequence[Container[Edge]]) -> list[Edge]:
    """The edges, conditional where one of the runs lacks them."""
    found: dict[Edge, None] = {}
    for edge in edges:
        always = edge.kind != "certain" or all(edge in run for run in runs)
        found.setdefault(edge if always else dataclasses.replace(edge, kind="conditional"))
    return list(found)


def _pattern(made: list[Instance], nodes: int) -> str:
    if any(not instance.cls.shared for instance in made):
        return "custom"
    flows = [instance for instance in made if WORKFLOW in instance.cls.mro]
    if any(flow.cls is GRAPH for flow in flows):
        return "graph"
    names = {ROUTER: "router", DEBATE: "debate", REFLECTION: "reflection"}
    found = {names[instance.cls] for instance in made if instance.cls in names}
    strategies = [instance.fields.get("strategy") for instance in made if instance.cls is ENSEMBLE]
    found |= {"consensus" if strategy == "consensus" else "vote" for strategy in strategies}
    if len(found) == 1:
        return found.pop()
    if found or any(flow.cls in (CONDITIONAL, LOOP) for flow in flows) or not nodes:
        return "custom"
    once = all(len(steps_of(flow)) < 2 for flow in flows)
    return "single" if nodes == 1 and once else "pipeline"
