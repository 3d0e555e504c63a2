"""Draw a design as a graph.

Nodes are boxes, the flow of work is arrows; dashes tell the kinds apart.
"""

from __future__ import annotations

from markupsafe import Markup

from mxjax import mas
from mxjax.report.html import shorten, tag
from mxjax.report.layout import BOX_HEIGHT, Box, Layout, place
from mxjax.report.style import STYLE

KINDS = {"certain": "always", "conditional": "on a condition", "loop": "repeated"}


def draw_design(source: str) -> Markup:
    """The graph of a script, or the reason that it has none."""
    try:
        graph = mas.graph(mas.check(source))
    except mas.DesignError as error:
        return tag("p", f"This design cannot run: {error}", class_="absent")
    if not graph.nodes:
        return tag("p", "The script makes no node when it is run without a model.", class_="absent")
    layout = place(graph)
    used = [kind for kind in KINDS if any(edge.kind == kind for edge in layout.edges)]
    keys = [tag("li", _key(kind), " ", KINDS[kind]) for kind in used]
    if layout.left_out:
        keys.append(tag("li", f"{layout.left_out} more nodes are not drawn"))
    drawing = tag("div", _svg(layout), class_="wide", tabindex="0", role="group", aria_label="design as a graph")
    return tag("div", drawing, tag("ul", *keys, class_="keys"), class_="graph")


def svg_file(graph: mas.Graph) -> str:
    """The graph of a design as an SVG file with its style."""
    layout = place(graph)
    drawing = str(_svg(layout, tag("style", Markup(STYLE)), tag("defs", *_heads())))
    size = f'width="{round(layout.width)}" height="{round(layout.height)}"'
    return drawing.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" {size} class="graph" ', 1) + "\n"


def arrow_defs() -> Markup:
    """A hidden drawing with the arrow heads of the edges."""
    return tag("svg", tag("defs", *_heads()), width=0, height=0, class_="defs", aria_hidden="true")


def _heads() -> list[Markup]:
    return [
        tag(
            "marker",
            tag("path", d="M0 0L8 4L0 8z", class_=f"head {kind}"),
            id=f"arrow-{kind}",
            viewBox="0 0 8 8",
            refX=7,
            refY=4,
            markerWidth=8,
            markerHeight=8,
            orient="auto",
            markerUnits="userSpaceOnUse",
        )
        for kind in KINDS
    ]


def _svg(layout: Layout, *before: Markup) -> Markup:
    edges = [
        _arrow(_route(layout.boxes[edge.source], layout.boxes[edge.target], edge.kind), edge.kind)
        for edge in layout.edges
    ]
    width, height = round(layout.width), round(layout.height)
    return tag(
        "svg",
        *before,
        *edges,
        *map(_box, layout.boxes.values()),
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label="; ".join(_sentence(layout, edge) for edge in layout.edges),
        style=f"width:100%;max-width:{width}px;min-width:{round(0.7 * width)}px",
    )


def _sentence(layout: Layout, edge: mas.Edge) -> str:
    source, target = layout.boxes[edge.source].name, layout.boxes[edge.target].name
    return f"{source} to {target}" + ("" if edge.kind == "certain" else f" ({KINDS[edge.kind]})")


def _box(box: Box) -> Markup:
    x, kind = box.x + box.width / 2, "end" if not box.kind else "node"
    rect = tag("rect", x=box.x, y=box.y, width=box.width, height=BOX_HEIGHT, rx=6 if box.kind else 20)
    texts = [tag("text", box.name, x=x, y=box.y + (19 if box.kind else 26), text_anchor="middle", class_="name")]
    if box.kind:
        texts.append(tag("text", box.kind, x=x, y=box.y + 33, text_anchor="middle", class_="kind"))
    hint = tag("title", shorten(box.prompt, 300)) if box.prompt else None
    return tag("g", hint, rect, *texts, class_=kind)


def _arrow(d: str, kind: str) -> Markup:
    return tag("path", d=d, class_=f"edge {kind}", marker_end=f"url(#arrow-{kind})")


def _key(kind: str) -> Markup:
    return tag("svg", _arrow("M2 7H34", kind), viewBox="0 0 38 14", width=38, height=14, aria_hidden="true")


def _route(a: Box, b: Box, kind: str) -> str:
    """The path of an edge.

    It goes straight to the next column, over what lies between, or back around.
    """
    start, end = a.x + a.width, b.x - 1
    if a.id == b.id:
        x, y, up = a.x + a.width / 2, a.y, 26
        if kind == "loop":
            y, up = a.y + BOX_HEIGHT, -26
        return f"M{x - 14:.1f} {y:.1f}C{x - 20:.1f} {y - up:.1f} {x + 20:.1f} {y - up:.1f} {x + 14:.1f} {y:.1f}"
    if a.column == b.column:
        side, bow = a.x + a.width, 22
        if a.y > b.y:
            side, bow = a.x, -22
        return (
            f"M{side:.1f} {a.middle:.1f}C{side + bow:.1f} {a.middle:.1f} {side + bow:.1f} {b.middle:.1f} "
            f"{side:.1f} {b.middle:.1f}"
        )
    if b.column < a.column or kind == "loop":
        low = b.column < a.column
        y, bow = (BOX_HEIGHT, 30) if low else (0, -30)
        xa, xb = a.x + a.width / 2, b.x + b.width / 2
        shift = -8 if low else 8
        return (
            f"M{xa + shift:.1f} {a.y + y:.1f}C{xa + shift:.1f} {a.y + y + bow:.1f} {xb + shift:.1f} "
            f"{b.y + y + bow:.1f} {xb + shift:.1f} {b.y + y:.1f}"
        )
    if b.column == a.column + 1:
        mid = (start + end) / 2
        return f"M{start:.1f} {a.middle:.1f}C{mid:.1f} {a.middle:.1f} {mid:.1f} {b.middle:.1f} {end:.1f} {b.middle:.1f}"
    top = min(a.y, b.y) - 30
    return (
        f"M{start:.1f} {a.middle - 8:.1f}C{start + 40:.1f} {top:.1f} {end - 40:.1f} {top:.1f} "
        f"{end:.1f} {b.middle - 8:.1f}"
    )
