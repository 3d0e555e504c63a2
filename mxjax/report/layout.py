"""Layout of a design's nodes from left to right.

Every node stands one column to the right of the last node that it waits for; edges that would go back are drawn as
loops.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from mxjax.mas import Edge, Graph, Node
from mxjax.mas.shape import OUTSIDE

QUESTION, ANSWER = "question", "answer"  # ids; those of nodes get a prefix, whatever a script calls them
BOX_HEIGHT, ROW_GAP, COLUMN_GAP = 42, 18, 44
MARGIN = 10
BOW = 26  # how much higher and lower the drawing is when edges go around boxes
MOST_NODES, MOST_EDGES, MOST_LETTERS = 40, 160, 18


@dataclasses.dataclass(frozen=True)
class Box:
    """A placed node: left upper corner, width, column, and texts."""

    id: str
    x: float
    y: float
    width: float
    column: int
    name: str
    kind: str
    prompt: str

    @property
    def middle(self) -> float:
        """Vertical middle."""
        return self.y + BOX_HEIGHT / 2


@dataclasses.dataclass(frozen=True)
class Layout:
    """Placed nodes by id, edges, size, and nodes left out."""

    boxes: dict[str, Box]
    edges: tuple[Edge, ...]
    width: float
    height: float
    left_out: int


def place(graph: Graph) -> Layout:
    """The layout of a design between its question and its answer."""
    nodes = [dataclasses.replace(node, id=f"node {node.id}") for node in graph.nodes[:MOST_NODES]]
    kept = {node.id for node in nodes}
    inner = [edge for edge in map(_named, graph.edges) if edge.source in kept and edge.target in kept][:MOST_EDGES]
    outer = [edge for edge in map(_named, graph.outer) if {edge.source, edge.target} & kept]
    forward, edges = _without_cycles(inner)
    edges = _with_ends(nodes, forward, edges, outer)
    forward += [edge for edge in edges if edge.source == QUESTION or edge.target == ANSWER]
    ids = [QUESTION, *[node.id for node in nodes], ANSWER]
    columns = _ordered(_columns(ids, forward), forward)
    at = {name: n for n, names in enumerate(columns) for name in names}
    around = any(at[edge.target] != at[edge.source] + 1 or edge.kind == "loop" for edge in edges)
    margin = MARGIN + BOW if around else MARGIN
    boxes, width, height = _boxes(columns, {node.id: node for node in nodes}, margin)
    return Layout(boxes, tuple(edges), width, height, len(graph.nodes) - len(nodes))


def _named(edge: Edge) -> Edge:
    """An edge of a graph with the ids that boxes have."""
    source = QUESTION if edge.source == OUTSIDE else f"node {edge.source}"
    return Edge(source, ANSWER if edge.target == OUTSIDE else f"node {edge.target}", edge.kind)


def _without_cycles(edges: Iterable[Edge]) -> tuple[list[Edge], list[Edge]]:
    """The forward edges, and all edges with cycles made loops."""
    after: dict[str, set[str]] = {}
    forward, drawn = [], []
    for edge in edges:
        if edge.kind != "loop" and edge.source not in _reached(edge.target, after):
            after.setdefault(edge.source, set()).add(edge.target)
            forward.append(edge)
        elif edge.kind != "loop":
            edge = dataclasses.replace(edge, kind="loop")
        drawn.append(edge)
    return forward, list(dict.fromkeys(drawn))


def _reached(start: str, after: dict[str, set[str]]) -> set[str]:
    """Everything that follows from `start`, itself included."""
    reached, waiting = {start}, [start]
    while waiting:
        new = after.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def _with_ends(
    nodes: Sequence[Node], forward: Sequence[Edge], edges: Sequence[Edge], outer: Sequence[Edge]
) -> list[Edge]:
    """The edges, with those of the question and of the answer.

    From the question to where work starts, and from where it ends to the answer. `outer` are those that are known. They
    are guessed for nodes that none of the known ones leads to or comes from, but for single nodes beside others that
    run: there, nothing says that a node without edges is ever asked.
    """
    entered, left = {edge.target for edge in outer}, {edge.source for edge in outer}
    first = [edge for edge in outer if edge.source == QUESTION]
    last = [edge for edge in outer if edge.target == ANSWER]
    for group in _connected(nodes, edges):
        if len(group) > 1 or not outer or any(edge.source in group for edge in edges):
            if not group & (entered | left):
                starts, ends = _guessed_ends([node.id for node in nodes if node.id in group], forward, edges)
                first += [Edge(QUESTION, name, "certain") for name in starts]
                last += [Edge(name, ANSWER, "certain") for name in ends]
    return [*first, *edges, *last]


def _guessed_ends(names: Sequence[str], forward: Sequence[Edge], edges: Sequence[Edge]) -> tuple[list[str], list[str]]:
    """First and last nodes among those of unknown order.

    Nodes that repeat each other's work in turn (debaters) all start from the question. Nodes that only lead back do not
    lead to the answer unless nothing else does.
    """
    entered, left = {edge.target for edge in forward}, {edge.source for edge in forward}
    loops = {(edge.source, edge.target) for edge in edges if edge.kind == "loop" and edge.source != edge.target}
    mutual = {source for source, target in loops if (target, source) in loops}
    ends = [name for name in names if name not in left]
    back = {source for source, _ in loops}
    starts = [name for name in names if name not in entered or name in mutual]
    return starts, [name for name in ends if name not in back] or ends


def _connected(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[set[str]]:
    """The nodes in groups that edges connect, in order."""
    beside: dict[str, set[str]] = {node.id: {node.id} for node in nodes}
    for edge in edges:
        beside[edge.source].add(edge.target)
        beside[edge.target].add(edge.source)
    groups: list[set[str]] = []
    for node in nodes:
        if not any(node.id in group for group in groups):
            groups.append(_reached(node.id, beside))
    return groups


def _columns(ids: Sequence[str], forward: Sequence[Edge]) -> list[list[str]]:
    """Node ids by column.

    A node's column is one more than the rightmost of those before it; the answer is last.
    """
    column = dict.fromkeys(ids, 1) | {QUESTION: 0}
    for _ in ids:  # the longest path has fewer edges than there are nodes
        for edge in forward:
            column[edge.target] = max(column[edge.target], column[edge.source] + 1)
    column[ANSWER] = max([column[name] + 1 for name in ids if name != ANSWER])
    columns: list[list[str]] = [[] for _ in range(column[ANSWER] + 1)]
    for name in ids:
        columns[column[name]].append(name)
    return columns


def _ordered(columns: list[list[str]], forward: Sequence[Edge]) -> list[list[str]]:
    """Each column sorted to keep edges from crossing.

    Nodes are sorted by the mean row of what leads into them.
    """
    row: dict[str, float] = {}
    ordered = []
    for names in columns:
        unknown = math.inf if row else 0.0  # below what something leads to
        before = {name: [row[e.source] for e in forward if e.target == name and e.source in row] for name in names}
        names = sorted(names, key=lambda name: sum(before[name]) / len(before[name]) if before[name] else unknown)
        row |= {name: n - (len(names) - 1) / 2 for n, name in enumerate(names)}
        ordered.append(names)
    return ordered


def _boxes(columns: list[list[str]], nodes: dict[str, Node], margin: float) -> tuple[dict[str, Box], float, float]:
    tallest = max(map(len, columns))
    inner = tallest * BOX_HEIGHT + (tallest - 1) * ROW_GAP
    boxes, x = {}, float(MARGIN)
    for n, names in enumerate(columns):
        texts = {name: _texts(nodes.get(name), name) for name in names}
        width = max((max(7.6 * len(title), 6.3 * len(kind)) + 22 for title, kind in texts.values()), default=0)
        y = margin + (inner - len(names) * BOX_HEIGHT - (len(names) - 1) * ROW_GAP) / 2
        for name in names:
            prompt = nodes[name].prompt if name in nodes else ""
            title, kind = texts[name]
            boxes[name] = Box(name, x, y, width=width, column=n, name=title, kind=kind, prompt=prompt)
            y += BOX_HEIGHT + ROW_GAP
        x += width + COLUMN_GAP if names else 0
    return boxes, x - COLUMN_GAP + MARGIN, inner + 2 * margin


def _texts(node: Node | None, name: str) -> tuple[str, str]:
    """The text of a box: a name, and the kind of node."""
    if node is None:
        return name, ""
    title = node.name if len(node.name) <= MOST_LETTERS else node.name[: MOST_LETTERS - 1] + "…"
    kind = node.kind.removesuffix("Node").lower() or "node"
    return title, kind[:MOST_LETTERS]
